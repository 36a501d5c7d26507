# Runs inside the fresh Debian tree: root's password, serial login, a small initrd, nothing that only costs space.
set -e
echo root:shoji | chpasswd
echo shoji-demo > /etc/hostname
echo '127.0.0.1 localhost shoji-demo' > /etc/hosts
echo 'LABEL=root / ext4 errors=remount-ro 0 1' > /etc/fstab
# The VMM owns COM1, so the console is COM2; its getty comes from console=ttyS1 on the kernel command line.
mkdir -p /etc/initramfs-tools/conf.d
printf 'MODULES=list\nCOMPRESS=gzip\n' > /etc/initramfs-tools/conf.d/shoji
printf '%s\n' ata_piix ahci sd_mod nvme crc32c_generic ext4 > /etc/initramfs-tools/modules
# Of the usual kernel's modules, 380 MB, only those that disks, their encryption and the network cards need; the cloud kernel's are few,
# and have no such card.
version=$(ls /usr/lib/modules | grep -v cloud)
keep='^(block|crypto|lib|arch/x86/crypto|drivers/ata|drivers/nvme|fs/ext4|fs/jbd2|fs/autofs|fs/mbcache.ko)(/|$)'
keep="$keep|^drivers/scsi/(scsi_common|scsi_mod|sd_mod).ko$|^drivers/md/(dm-mod|dm-crypt).ko$"
keep="$keep|^drivers/net/ethernet/intel/(e1000|e1000e)/"
# WireGuard as a second opinion.
keep="$keep|^drivers/net/wireguard/|^net/ipv4/udp_tunnel.ko$|^net/ipv6/ip6_udp_tunnel.ko$"
(cd "/usr/lib/modules/$version/kernel" && find . -name '*.ko' -printf '%P\n' | grep -vE "$keep" | xargs rm)
depmod "$version"
update-initramfs -u -k all
# No network card yet, no schedule: they would only lengthen a boot on an emulated CPU.
systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer dpkg-db-backup.timer \
    systemd-networkd-wait-online.service systemd-pstore.service e2scrub_reap.service
# A reboot is one through the firmware, not into a kernel that kexec-tools would load for it.
echo LOAD_KEXEC=false > /etc/default/kexec
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /usr/share/info/*
rm -f /etc/machine-id && : > /etc/machine-id
