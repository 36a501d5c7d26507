# Takes the disk shoji.disk from the kernel and gives it back, in each of the ways shoji.ways=ONE+OTHER, while it is written to. What was
# on it before is there afterwards; the host looks at the raw disk. What is unplugged stays away, but what is replugged comes back;
# what is exchanged for another disk is there, and has no sectors.
disk=$(value shoji.disk)
case $disk in nvme*) part=${disk}p2 ;; *) part=${disk}2 ;; esac
umount /boot
mount_data /dev/$part
head -c $((4 << 20)) /dev/urandom > /tmp/copy
cp /tmp/copy /mnt/file
cp /tmp/copy /mnt/busy
sync

wait_until_gone() { for _ in $(seq 600); do [ -e /sys/block/$disk ] || return; sleep 0.1; done; fail "$disk does not go"; }
# Of the function on bus 0 that the disk hangs on.
function_of() { readlink -f /sys/block/$1 | sed 's,^\(/sys/devices/pci0000:00/[^/]*\)/.*,\1,'; }
bars() { cut -d ' ' -f 1 $function/resource | grep -v '0x0*$' | tr '\n' ' '; }
function=$(function_of $disk)
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
        # The kernel lets go of the function, and finds it again.
        remove) bars=$(bars); echo 1 > $function/remove ;;
        # The host takes the disk's function out.
        unplug | replug | exchange) echo "UNPLUG ${function##*/}" ;;
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
    case $way in
        remove) echo 1 > /sys/bus/pci/rescan; echo "BARS ${function##*/} before: $bars after: $(bars)" ;;
        replug) echo "REPLUG" ;;
        exchange)
            echo "EXCHANGE"
            wait_for /dev/$disk
            ! dd if=/dev/$disk of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null || fail "another disk is read"
            ! dd if=/tmp/copy of=/dev/$disk bs=4k count=1 seek=600 oflag=direct 2>/dev/null || fail "another disk is written"
            no_complaints
            verdict pass
            ;;
    esac
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
