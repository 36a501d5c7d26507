# write_verify, and then the digest of the whole partition as the guest reads it.
. /tests/write_verify
rm -f /mnt/file
sync
umount /mnt
echo 3 > /proc/sys/vm/drop_caches
echo "DIGEST $(sha256sum < /dev/sda2 | cut -d' ' -f1)"
echo "END OF DIGEST"
