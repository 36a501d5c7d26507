# Nothing at all, for twenty seconds between two marks, for a host that counts exits.
mark() { echo "MARK $* $(cut -d ' ' -f 1 /proc/uptime)"; sleep 1; }
mark idle 0
sleep 20
mark idle 20
