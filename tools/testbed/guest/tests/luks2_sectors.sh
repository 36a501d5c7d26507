# A LUKS2 volume with crypto sectors of 4096 bytes on an NVMe drive of 512: single sectors and odd runs, seven at a time, so that
# several of them change one crypto sector at once. The digest is for the host.
wait_for /dev/nvme0n1p2
disk=/dev/nvme0n1p2
queue=/sys/block/nvme0n1/queue
[ "$(cat $queue/logical_block_size)" = 512 ] || fail "logical sectors of $(cat $queue/logical_block_size)"
[ "$(cat $queue/minimum_io_size)" = 4096 ] || fail "the guest is not told to write 4096 bytes at a time"
mount -t tmpfs tmp /tmp
cd /tmp
sectors() {
    tool fio --name="$1" --filename=$disk --rw="$1" --bsrange="$2" --offset="$3" --size=256k --direct=1 --ioengine=libaio \
        --iodepth=7 --verify=crc32c --do_verify=1 --verify_fatal=1 --randseed=5 --end_fsync=1 ||
        fail "fio $1 ends with status $?"
}
sectors write 512-512 0
sectors randwrite 512-512 512k
sectors randwrite 512-5632 1049088
cd /
echo 3 > /proc/sys/vm/drop_caches
echo "DIGEST $(dd if=$disk bs=64k count=32 iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1)"
no_complaints
