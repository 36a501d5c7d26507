# CPU 1 is taken out and put back, shoji.rounds times, while another process keeps the disk busy; after each return a
# process on CPU 1 reads back what CPU 0 has written meanwhile.
mount_data
online=/sys/devices/system/cpu/online
switch=/sys/devices/system/cpu/cpu1/online
round=0
while :; do dd if=/dev/zero of=/mnt/bulk bs=64k count=16 conv=fsync 2>/dev/null; done &
writer=$!
while [ "$round" -lt "$(value shoji.rounds)" ]; do
    round=$((round + 1))
    echo 0 > $switch || fail "CPU 1 stays"
    [ "$(cat $online)" = 0 ] || fail "online without CPU 1: $(cat $online)"
    sum=$(head -c 65536 /dev/urandom | tee /mnt/piece | sha256sum)
    sync /mnt/piece
    echo 1 > $switch || fail "CPU 1 does not come back"
    [ "$(cat $online)" = 0-1 ] || fail "online with CPU 1: $(cat $online)"
    echo 3 > /proc/sys/vm/drop_caches
    [ "$(taskset -c 1 sha256sum < /mnt/piece)" = "$sum" ] || fail "CPU 1 reads something else"
    echo "ROUND $round"
done
kill $writer
no_complaints
