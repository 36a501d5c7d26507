# Boots, leaves a note, reboots; the second boot finds the note.
mount_data
if [ -f /mnt/rebooted ]; then
    echo "SECOND BOOT"
else
    echo note > /mnt/rebooted
    umount /mnt
    echo "REBOOTING"
    sleep 0.2
    reboot -f
fi
