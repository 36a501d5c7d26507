# Every CPU is there, takes timer interrupts, and runs a process of its own that uses the disk.
cpus=$(value shoji.cpus)
found=$(grep -c ^processor /proc/cpuinfo)
[ "$found" = "$cpus" ] || fail "$found CPUs instead of $cpus"
mount_data
# The number is the CPU that runs the program which reads it.
work='
    dd if=/dev/urandom of=/mnt/of$0 bs=64k count=8 conv=fsync 2>/dev/null || exit
    sum=$(sha256sum < /mnt/of$0)
    echo "RAN $(cut -d" " -f39 /proc/self/stat)"
    echo 3 > /proc/sys/vm/drop_caches
    [ "$(sha256sum < /mnt/of$0)" = "$sum" ]'
workers=
for cpu in $(seq 0 $((cpus - 1))); do
    taskset -c "$cpu" sh -c "$work" "$cpu" > "/tmp/ran$cpu" &
    workers="$workers $!"
done
for worker in $workers; do wait "$worker" || fail "a worker"; done
for cpu in $(seq 0 $((cpus - 1))); do
    [ "$(cat "/tmp/ran$cpu")" = "RAN $cpu" ] || fail "the process for CPU $cpu: $(cat "/tmp/ran$cpu")"
done
# Columns: name of the row, one for each CPU.
awk -v cpus="$cpus" '/LOC:/ { for (i = 2; i < 2 + cpus; i++) if ($i == 0) exit 1 }' /proc/interrupts ||
    fail "a CPU without timer interrupts"
no_complaints
