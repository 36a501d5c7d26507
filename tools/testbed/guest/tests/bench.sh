# Work between marks, for a host that counts instructions. It reads its counter in the pauses, when nothing runs.
mark() { echo "MARK $* $(cut -d ' ' -f 1 /proc/uptime)"; sleep 1; }

for range in /sys/firmware/memmap/*; do
    echo "MEMMAP $(cat "$range/start") $(cat "$range/end") $(cat "$range/type")"
done

# Operations of a size on the data partition, past the page cache: few, then many, so that what does not depend on their
# number can be taken off. $1 name, $2 size, $3 few, $4 many, then dd's other arguments.
measure() {
    name=$1 size=$2 few=$3 many=$4
    shift 4
    mark "$name 0"
    for count in "$few" "$many"; do
        dd "$@" bs="$size" count="$count" 2>/dev/null || fail "dd $*"
        mark "$name $count"
    done
}
measure write_4k 4k 64 576 if=/dev/zero of=/dev/sda2 oflag=direct
measure read_4k 4k 64 576 if=/dev/sda2 of=/dev/null iflag=direct
measure write_1m 1M 4 36 if=/dev/zero of=/dev/sda2 oflag=direct
measure read_1m 1M 4 36 if=/dev/sda2 of=/dev/null iflag=direct
