# fio writes pieces of many sizes at random places past the page cache, by DMA, and reads each back against its CRC. The
# digest of what it has left is for the host, which looks for the same on the raw disk.
mode=$(cat /sys/class/ata_device/dev1.0/xfer_mode)
case "$mode" in *DMA*) ;; *) fail "the disk runs by $mode, not by DMA" ;; esac
mount_data
depth=$(value shoji.depth)
mount -t tmpfs tmp /tmp
cd /tmp
tool fio --name=verify --filename=/mnt/fio --size="$(value shoji.fio)" --rw=randwrite --bsrange=4k-64k --direct=1 \
    --ioengine=libaio --iodepth="${depth:-4}" --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=3 --end_fsync=1 ||
    fail "fio ends with status $?"
cd /
echo 3 > /proc/sys/vm/drop_caches
echo "DIGEST $(sha256sum < /mnt/fio | cut -d' ' -f1)"
