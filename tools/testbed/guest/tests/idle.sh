# Nothing at all for $idle seconds, without a tick: the timer of the local APIC interrupts a few times a second at most.
idle=$(sed -n 's/.*shoji.idle=\([0-9]*\).*/\1/p' /proc/cmdline)
timer() { sed -n 's/^ *LOC: *\([0-9]*\).*/\1/p' /proc/interrupts; }
clock() { sed 's/\..*//' /proc/uptime; }

before=$(timer)
begun=$(clock)
sleep "$idle"
ticks=$(($(timer) - before))
slept=$(($(clock) - begun))
echo "$ticks timer interrupts in $slept seconds"
[ "$ticks" -gt 0 ] || fail "no timer interrupt, though sleep has ended"
[ "$ticks" -lt $((idle * 30)) ] || fail "the kernel ticks: $ticks interrupts in $idle seconds"
[ "$slept" -ge "$idle" ] && [ "$slept" -le $((idle + 2)) ] || fail "sleep $idle took $slept seconds"
mount_data
grep -q "$marker" /mnt/marker || fail "the marker on the data partition is wrong"
