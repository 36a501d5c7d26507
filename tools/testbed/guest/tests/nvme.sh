# The second disk is an NVMe drive: two jobs write pieces of many sizes at random places with 32 requests under way, and read each back
# against its CRC; the controller is reset, and its namespaces are looked for again. The digest of what is left is for the host, which looks for the same
# on the raw disk.
wait_for /dev/nvme0n1p2
mount_data /dev/nvme0n1p2
grep -q "$marker" /mnt/marker || fail "the marker on the NVMe drive is wrong"
queue=/sys/block/nvme0n1/queue
echo "NVME queues=$(ls /sys/block/nvme0n1/mq | wc -l) max_kb=$(cat $queue/max_hw_sectors_kb) discard=$(cat $queue/discard_max_bytes)"
mount -t tmpfs tmp /tmp
cd /tmp
tool fio --name=verify --directory=/mnt --size="$(value shoji.fio)" --numjobs=2 --rw=randwrite --bsrange=4k-256k --direct=1 \
    --ioengine=libaio --iodepth=32 --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=3 --end_fsync=1 --group_reporting ||
    fail "fio ends with status $?"
cd /
echo 1 > /sys/class/nvme/nvme0/reset_controller || fail "the controller cannot be reset"
umount /mnt || fail "the data partition does not unmount"
echo 3 > /proc/sys/vm/drop_caches
echo 1 > /sys/class/nvme/nvme0/rescan_controller || fail "the namespaces cannot be looked for again"
wait_for /dev/nvme0n1p2
mount_data /dev/nvme0n1p2
echo "DIGEST $(cat /mnt/verify.* | sha256sum | cut -d' ' -f1)"
no_complaints
umount /mnt
