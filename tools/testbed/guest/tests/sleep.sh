# Suspends to RAM, is woken from outside, and uses the disk, in shoji.rounds=N rounds, each of which ends with shoji.cpus=N CPUs. The file is written before the first
# round and compared past the page cache after each; each writes a part of it anew.
grep -q mem /sys/power/state || fail "this kernel or machine has no S3"
grep -q '\[deep\]' /sys/power/mem_sleep || fail "mem does not mean S3 here"
partition=$(value shoji.partition)
wait_for "/dev/${partition:=sda2}"
mount_data "/dev/$partition"
size_kib=4096
head -c $((size_kib * 1024)) /dev/urandom > /tmp/copy
cp /tmp/copy /mnt/file
sync
rounds=$(value shoji.rounds)
round=0
while [ "$round" -lt "${rounds:-3}" ]; do
    round=$((round + 1))
    echo "SLEEPING $round"
    echo mem > /sys/power/state || fail "suspend of round $round"
    echo "AWAKE $round"
    cpus=$(grep -c ^processor /proc/cpuinfo)
    [ "$cpus" = "$(value shoji.cpus)" ] || fail "$cpus CPUs after round $round"
    echo 3 > /proc/sys/vm/drop_caches
    cmp /tmp/copy /mnt/file || fail "the file differs after round $round"
    head -c 65536 /dev/urandom > /tmp/piece
    for file in /tmp/copy /mnt/file; do
        dd if=/tmp/piece of=$file bs=65536 seek=$((round % 64)) conv=notrunc,fsync 2>/dev/null || fail "write in round $round"
    done
done
mode=$(cat /sys/class/ata_device/dev1.0/xfer_mode)
case "$mode" in *DMA*) ;; *) fail "after sleep the disk runs by $mode, not by DMA" ;; esac
echo 3 > /proc/sys/vm/drop_caches
cmp /tmp/copy /mnt/file || fail "the file differs in the end"
