# Shoji itself reads its disk number 1, here shoji.disk, beside this system, which reads that and the first one, too. The host compares
# the checksums.
disk=$(value shoji.disk)
case $disk in nvme*) part=${disk}p2 ;; *) part=${disk}2 ;; esac
wait_for /dev/$part
first=$(cat /sys/class/block/$part/start)
sh="/boot/tools/shoji sh --key-file /boot/tools/dbgsh.key"
$sh -c disk | grep -q "^disk 1: [0-9]* sectors of 512 bytes" || fail "no second disk: $($sh -c disk)"
load() { while :; do dd if=/dev/$1 of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null || echo "DD FAILED"; done; }
load $part & one=$!
load sda2 & other=$!
for bytes in 512 4096 100000; do
    said=$($sh -c "disk 1 $first $bytes") || fail "status $? of $bytes bytes"
    echo "OWN $said"
done
kill $one $other
$sh -c "disk 1 999999999999 512" | grep -q "makes no sense" || fail "sectors that are not there"
$sh -c "disk 7 0 512" | grep -q "makes no sense" || fail "a disk that is not there"
no_complaints
amiss='nvme.*timeout|ata[0-9.]+: (exception|failed command|lost interrupt|.*reset)|irq [0-9]+: nobody cared'
! dmesg | grep -qE "$amiss" || fail "the kernel says: $(dmesg | grep -E -m 1 "$amiss")"
