# A LUKS2 volume under Shoji: the payload is at the partition's first sector, the header nowhere, and behind the payload
# nothing answers. On the bare machine (shoji.phrase) cryptsetup opens the same volume. shoji.luks2: make, look, add; keep: the
# volume holds a marker and is written to. shoji.header: the partition that the header lies on by itself.
# shoji.tail=first looks behind the payload before anything else, which must not slow the disk down.
payload_kib=$(value shoji.payload_kib)
phrase=$(value shoji.phrase)
tail=$(value shoji.tail)
volume=/dev/sda2
nothing_behind() {
    size_kib=$(($(cat /sys/class/block/sda2/size) / 2))
    for at_kib in "$payload_kib" $(((payload_kib + size_kib) / 8 * 4)) $((size_kib - 4)); do
        dd if=$volume of=/dev/null bs=4k skip=$((at_kib / 4)) count=1 2>/dev/null && fail "KiB $at_kib is read"
        dd if=/dev/zero of=$volume bs=4k seek=$((at_kib / 4)) count=1 oflag=direct 2>/dev/null && fail "KiB $at_kib is written"
    done
    # What udev does at every start. Linux would take a disk that aborts commands for a bad one.
    for _ in $(seq 12); do
        dd if=$volume of=/dev/null bs=4k skip=$(((size_kib - 4) / 4)) count=1 iflag=direct 2>/dev/null && fail "the end is read"
    done
    # Across the payload's end the sectors before it are read.
    echo 3 > /proc/sys/vm/drop_caches
    got=$(dd if=$volume bs=4k skip=$((payload_kib / 4 - 2)) count=4 2>/dev/null | wc -c)
    [ "$got" = 8192 ] || fail "$got bytes are read before the payload's end"
    dmesg | grep -q 'error: { UNC }' || fail "no read has failed as one of a bad sector"
    dmesg | grep -q 'error: { IDNF }' || fail "no write has failed as one of a sector that is not found"
    ! dmesg | grep -q 'error: { ABRT }' || fail "the kernel says: $(dmesg | grep -m 1 -B 4 'error: { ABRT }')"
    slower=$(dmesg | grep -m 1 -E 'configured for PIO|limiting speed|speed down|NCQ disabled')
    [ -z "$slower" ] || fail "the kernel says: $slower"
    echo "SAID $(dmesg | grep 'configured for' | tail -n 1)"
}
if [ -n "$phrase" ]; then
    for module in dm-mod cryptd crypto_simd aesni-intel xts dm-crypt; do insmod "/modules/$module.ko" 2>/dev/null; done
    mkdir -p /run/cryptsetup /run/lock
    printf %s "$phrase" | tool cryptsetup open --type luks2 --key-file - /dev/sda2 data || fail "cryptsetup open"
    volume=/dev/mapper/data
else
    magic=$(printf 'LUKS\272\276' | xxd -p)
    [ "$(dd if=$volume bs=6 count=1 2>/dev/null | xxd -p)" != "$magic" ] || fail "the header is to be seen"
    dd if=$volume of=/dev/null bs=4k skip=$((payload_kib / 4 - 1)) count=1 iflag=direct 2>/dev/null || fail "the payload's end"
    [ "$tail" != first ] || nothing_behind
    header=$(value shoji.header)
    if [ -n "$header" ]; then
        dd if="/dev/sda$header" of=/dev/null bs=4k count=1 2>/dev/null && fail "the detached header is read"
        dd if=/dev/zero of="/dev/sda$header" bs=4k count=1 oflag=direct 2>/dev/null && fail "the detached header is written"
        # All of the partition is the volume's.
        tail=none
    fi
fi
case "$(value shoji.luks2)" in
make)
    # Not aligned to crypto sectors of 4096 bytes, and across several of them.
    for at in 3 9 17 31; do
        bs=$((at * 512))
        dd if=/dev/urandom of=/tmp/odd bs=$bs count=1 2>/dev/null
        dd if=/tmp/odd of=$volume bs=$bs seek=1 count=1 conv=notrunc oflag=direct 2>/dev/null || fail "an odd write at $at"
        dd if=$volume bs=$bs skip=1 count=1 iflag=direct 2>/dev/null | cmp - /tmp/odd || fail "an odd read at $at"
    done
    tool mke2fs -q -F -t ext4 -b 4096 $volume "${payload_kib}k" || fail "mke2fs"
    mount_data $volume
    dd if=/dev/urandom of=/mnt/file bs=64k count=64 2>/dev/null
    ;;
keep)
    mount_data $volume
    grep -q "$marker" /mnt/marker || fail "the marker that the volume came with"
    echo "$marker" > /mnt/second
    dd if=/dev/urandom of=/mnt/file bs=64k count=64 2>/dev/null
    ;;
add) mount_data $volume; echo "$marker" > /mnt/second ;;
*) mount_data $volume; grep -q "$marker" /mnt/second || fail "what the other one has written" ;;
esac
[ -e /mnt/marker ] || echo "$marker" > /mnt/marker
[ -e /mnt/digest ] || sha256sum /mnt/file > /mnt/digest
sync
echo 3 > /proc/sys/vm/drop_caches
grep -q "$marker" /mnt/marker || fail "the marker is wrong"
sha256sum -c -s /mnt/digest || fail "the file is not what was written"
umount /mnt
if [ -n "$phrase" ]; then tool cryptsetup close data; elif [ -z "$tail" ] || [ "$tail" = last ]; then nothing_behind; fi
no_complaints
