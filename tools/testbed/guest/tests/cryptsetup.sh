# The oracle: Linux's own dm-crypt opens the partition without Shoji.
for module in dm-mod cryptd crypto_simd aesni-intel xts dm-crypt; do insmod "/modules/$module.ko" 2>/dev/null; done
mkdir -p /run/cryptsetup /run/lock
value shoji.key | xxd -r -p > /tmp/key
tool cryptsetup open --type plain -c aes-xts-plain64 -s 512 --key-file /tmp/key /dev/sda2 data || fail "cryptsetup open"
case "$(value shoji.oracle)" in
make)
    tool mke2fs -q -F -t ext4 /dev/mapper/data || fail "mke2fs"
    mount -t ext4 /dev/mapper/data /mnt || fail "the new file system does not mount"
    echo "$marker" > /mnt/marker
    ;;
*)
    mount_data /dev/mapper/data
    grep -q "$marker" /mnt/marker || fail "the marker is wrong"
    ;;
esac
umount /mnt
tool cryptsetup close data
