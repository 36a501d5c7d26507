# A partition of the IDE disk (encrypted) and one of an NVMe drive (plain) may only be read. Their first bytes are for the host.
wait_for /dev/nvme0n1p2
refuses() {
    size_kib=$(($(cat "/sys/class/block/${1##*/}/size") / 2))
    for at_kib in 0 4096 $((size_kib - 4)); do
        dd if=/dev/zero of="$1" bs=4k seek=$((at_kib / 4)) count=1 oflag=direct 2>/dev/null && fail "$1 is written at KiB $at_kib"
    done
    # Through the page cache the error comes with the flush.
    dd if=/dev/zero of="$1" bs=64k seek=3 count=4 conv=notrunc,fsync 2>/dev/null && fail "$1 is written through the cache"
    blkdiscard -o 1048576 -l 1048576 "$1" 2>/dev/null && fail "$1 is discarded"
    echo 3 > /proc/sys/vm/drop_caches
    echo "READ ${1##*/} $(dd if="$1" bs=64k count=32 iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1)"
}
refuses /dev/sda2
refuses /dev/nvme0n1p2
# What lies beside it is written as ever.
for partition in sda2 nvme0n1p2; do
    disk=${partition%2}
    disk=${disk%p}
    at=$(($(cat /sys/class/block/$partition/start) - 8))
    dd if=/dev/urandom of=/tmp/beside bs=4k count=1 2>/dev/null
    dd if=/tmp/beside of=/dev/$disk bs=512 seek=$at count=8 conv=notrunc oflag=direct 2>/dev/null || fail "beside the range of $disk"
    dd if=/dev/$disk bs=512 skip=$at count=8 iflag=direct 2>/dev/null | cmp - /tmp/beside || fail "what was written beside"
done
# ext4 is used to disks that may only be read.
mount -r -t ext4 -o noload /dev/sda2 /mnt || fail "the partition does not mount to be read"
grep -q "$marker" /mnt/marker || fail "the marker is wrong"
umount /mnt
mount -t ext4 /dev/sda2 /mnt 2>/dev/null && { echo no > /mnt/no 2>/dev/null; sync; umount /mnt; }
echo "SAID $(dmesg | grep -m 1 'nvme0n1.*sct')"
echo "SAID $(dmesg | grep -m 1 'error: { ')"
no_complaints
