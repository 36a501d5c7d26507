# fio writes pieces of many sizes (shoji.sizes) at random places past the page cache, by DMA, and reads each back against its CRC. The
# digest of what it has left is for the host, which looks for the same on the raw disk. With shoji.trim=1 the disk is told what a file
# that is gone has left unused, as well.
mode=$(cat /sys/class/ata_device/dev1.0/xfer_mode)
case "$mode" in *DMA*) ;; *) fail "the disk runs by $mode, not by DMA" ;; esac
mount_data
depth=$(value shoji.depth)
depth=${depth:-4}
queue=$(cat /sys/block/sda/device/queue_depth)
[ "$depth" -lt 32 ] || [ "$queue" -ge 31 ] || fail "the disk takes $queue commands at once"
sizes=$(value shoji.sizes)
mount -t tmpfs tmp /tmp
cd /tmp
tool fio --name=verify --filename=/mnt/fio --size="$(value shoji.fio)" --rw=randwrite --bsrange="${sizes:-4k-64k}" --direct=1 \
    --ioengine=libaio --iodepth="$depth" --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=3 --end_fsync=1 ||
    fail "fio ends with status $?"
cd /
if [ "$(value shoji.trim)" = 1 ]; then
    dd if=/dev/urandom of=/mnt/gone bs=1M count=32 2>/dev/null || fail "the file that shall go"
    sync
    rm /mnt/gone
    sync
    echo "TRIMMED $(fstrim -v /mnt)" || fail "fstrim ends with status $?"
fi
echo 3 > /proc/sys/vm/drop_caches
echo "DIGEST $(sha256sum < /mnt/fio | cut -d' ' -f1)"
no_complaints
! dmesg | grep -qE 'ata[0-9.]+: (exception|failed command)' || fail "the kernel says: $(dmesg | grep -m 1 -E 'ata[0-9.]+: (exception|failed)')"
