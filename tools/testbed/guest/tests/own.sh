# Shoji itself reads the NVMe drive beside this system, which reads it, too. The host compares the checksum.
wait_for /dev/nvme0n1p2
first=$(cat /sys/class/block/nvme0n1p2/start)
sh="/boot/tools/shoji sh --key-file /boot/tools/dbgsh.key"
$sh -c disk | grep -q "^disk 1: [0-9]* sectors of 512 bytes" || fail "no second disk: $($sh -c disk)"
(while :; do dd if=/dev/nvme0n1p2 of=/dev/null bs=64k count=64 iflag=direct 2>/dev/null || echo "DD FAILED"; done) &
for bytes in 512 4096 100000; do
    said=$($sh -c "disk 1 $first $bytes") || fail "status $? of $bytes bytes"
    echo "OWN $said"
done
kill $!
$sh -c "disk 1 999999999999 512" | grep -q "makes no sense" || fail "sectors that are not there"
$sh -c "disk 7 0 512" | grep -q "makes no sense" || fail "a disk that is not there"
no_complaints
! dmesg | grep -q 'nvme.*timeout' || fail "the kernel says: $(dmesg | grep -m 1 'nvme.*timeout')"
