#!/bin/busybox sh
# First program of the small guest: loads the disk driver, runs the test that the kernel command line names, gives a
# verdict and powers off. /tools (cryptsetup, mke2fs, fio and their libraries) lies on the plain boot partition.
echo STARTED
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo 4 > /proc/sys/kernel/printk
for module in @MODULES@; do insmod "/modules/$module" 2>/dev/null; done

verdict() {
    sync
    echo "VERDICT $1"
    umount -a -r 2>/dev/null
    sleep 0.2 # the UART sends what it holds
    poweroff -f
}
fail() { echo "FAILED: $*"; verdict fail; }
# What a kernel says when time, other CPUs or itself went wrong.
no_complaints() {
    complaint=$(dmesg | grep -m 1 -E 'WARNING: CPU|BUG:|Oops|lockup|LOCKUP|self-detected stall|detected stalls|blocked for more')
    [ -z "$complaint" ] || fail "the kernel says: $complaint"
}
# The kernel creates the nodes when the drive has answered.
wait_for() { for _ in $(seq 300); do [ -b "$1" ] && return; sleep 0.1; done; fail "$1 did not appear"; }
value() { sed -n "s/.*\b$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

# Backwards, so that this script is not what the search for plaintext finds.
marker=$(echo 0d55e1c7-REKRAM-TXETNIALP-IJOHS | rev)

wait_for /dev/sda2
mkdir -p /mnt /boot /tmp
mount -r -t ext4 /dev/sda1 /boot || fail "the boot partition does not mount"
tool() { program=$1; shift; /boot/tools/ld.so --library-path /boot/tools "/boot/tools/$program" "$@"; }
load_wireguard() { for it in @WIREGUARD@; do insmod "/modules/$it.ko" 2>/dev/null; done; }
mount_data() { mount -t ext4 "${1:-/dev/sda2}" /mnt || fail "the data partition does not mount"; }

test=$(value shoji.test)
echo "INIT test=${test:-none} cpus=$(grep -c ^processor /proc/cpuinfo)"
[ -z "$test" ] && { echo "SHELL"; exec setsid cttyhack sh; }
[ -f "/tests/$test" ] || fail "no test is called $test"
. "/tests/$test"
verdict pass
