# The machine is reset in the way that shoji.reboot names (as in /sys/kernel/reboot/type), shoji.rounds times; each boot
# counts on the disk.
mount_data
round=$(cat /mnt/round 2>/dev/null)
round=${round:-0}
no_complaints
echo "ROUND $round cpus=$(grep -c ^processor /proc/cpuinfo) svm=$(grep -cw -e svm -e vmx /proc/cpuinfo)"
if [ "$round" -lt "$(value shoji.rounds)" ]; then
    echo $((round + 1)) > /mnt/round
    umount /mnt
    value shoji.reboot > /sys/kernel/reboot/type
    [ "$(cat /sys/kernel/reboot/type)" = "$(value shoji.reboot)" ] || fail "the kernel knows no such reboot"
    sleep 0.2 # the UART sends what it holds
    reboot -f
fi
