# Writes pieces of 512 B to 2 MiB at random places of a file, and the same to a copy in memory; then compares past the page
# cache. shoji.rounds=N writes N pieces, each size in turn, every third one with fsync.
mount_data
size_kib=16384
dd if=/dev/urandom of=/tmp/copy bs=64k count=$((size_kib / 64)) 2>/dev/null
cp /tmp/copy /mnt/file
rounds=$(value shoji.rounds)
round=0
while [ "$round" -lt "${rounds:-60}" ]; do
    bs=$((512 << (round % 13)))
    [ $((round % 3)) -eq 0 ] && sync=,fsync || sync=
    seek=$((0x$(head -c 4 /dev/urandom | xxd -p) % (size_kib * 1024 / bs)))
    head -c "$bs" /dev/urandom > /tmp/piece
    for file in /tmp/copy /mnt/file; do
        dd if=/tmp/piece of=$file bs="$bs" seek="$seek" conv=notrunc$sync 2>/dev/null || fail "write of $bs bytes"
    done
    round=$((round + 1))
    [ $((round % 20)) -eq 0 ] && { sync; echo 3 > /proc/sys/vm/drop_caches; cmp /tmp/copy /mnt/file || fail "round $round"; }
done
sync
echo 3 > /proc/sys/vm/drop_caches
cmp /tmp/copy /mnt/file || fail "the file differs from its copy in memory"
echo "WRITTEN $round"
