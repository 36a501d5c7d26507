# Takes the disk shoji.disk from the kernel and gives it back, in each of the ways shoji.ways=ONE+OTHER, while it is written to. What was
# on it before is there afterwards; the host looks at the raw disk. What is unplugged stays away.
disk=$(value shoji.disk)
case $disk in nvme*) part=${disk}p2 ;; *) part=${disk}2 ;; esac
umount /boot
mount_data /dev/$part
head -c $((4 << 20)) /dev/urandom > /tmp/copy
cp /tmp/copy /mnt/file
cp /tmp/copy /mnt/busy
sync

wait_until_gone() { for _ in $(seq 600); do [ -e /sys/block/$disk ] || return; sleep 0.1; done; fail "$disk does not go"; }
pending() { kill -0 $writer 2>/dev/null; }

for way in $(value shoji.ways | tr + ' '); do
    rm -f /tmp/written
    # Past the page cache, until it fails.
    (while dd if=/tmp/copy of=/mnt/busy bs=64k oflag=direct conv=notrunc 2>/tmp/error; do : > /tmp/written; done) &
    writer=$!
    for _ in $(seq 600); do [ -e /tmp/written ] && break; sleep 0.1; done
    gone=yes
    case $way in
        rescan) gone=; for _ in 1 2 3; do echo 1 > /sys/block/$disk/device/rescan; done ;;
        rescan_controller) gone=; for _ in 1 2 3; do echo 1 > /sys/block/$disk/device/rescan_controller; done ;;
        scan) gone=; for host in /sys/class/scsi_host/*/scan; do echo '- - -' > $host; done ;;
        # The kernel lets go of the disk, and of its port.
        delete) echo 1 > /sys/block/$disk/device/delete ;;
        # The host takes the disk's function out.
        unplug) echo "UNPLUG" ;;
        *) fail "no way is called $way" ;;
    esac || fail "$way: status $?"
    if [ -n "$gone" ]; then
        wait_until_gone
        for _ in $(seq 600); do pending || break; sleep 0.1; done
        ! pending || fail "$way: a write neither ends nor fails"
    else
        sleep 1
        pending || fail "$way: a write failed: $(cat /tmp/error)"
        kill $writer
    fi
    wait $writer
    umount /mnt || umount -l /mnt
    [ $way != unplug ] || { no_complaints; verdict pass; }
    [ $way != delete ] || for host in /sys/class/scsi_host/*/scan; do echo '- - -' > $host; done
    wait_for /dev/$part
    echo 3 > /proc/sys/vm/drop_caches
    mount_data /dev/$part
    cmp /tmp/copy /mnt/file || fail "$way: the file differs"
    echo "BACK after $way"
done
cp /tmp/copy /mnt/last
sync
echo 3 > /proc/sys/vm/drop_caches
cmp /tmp/copy /mnt/last || fail "the last file differs"
cp /mnt/last /mnt/fio
echo "DIGEST $(sha256sum < /mnt/fio | cut -d' ' -f1)"
no_complaints
umount /mnt
