# Writes records for ever and announces each one only after fsync; meanwhile bulk writes keep the disk busy. The emulator
# is killed from outside.
mount_data
# Records of a run that was killed before must all be there: the host passes the number of the last announced one.
last=$(value shoji.synced)
record=${last:-0}
i=1
while [ "$i" -le "$record" ]; do
    [ "$(dd if=/mnt/records bs=512 skip=$i count=1 2>/dev/null | head -c 16)" = "$(printf 'record %09d' $i)" ] || fail "record $i is lost"
    i=$((i + 1))
done
echo "READBACK $record"
[ "$(value shoji.only)" = "check" ] && verdict pass
( while :; do dd if=/dev/urandom of=/mnt/bulk.$((i = (i + 1) % 4)) bs=64k count=32 conv=fsync 2>/dev/null; done ) &
while :; do
    record=$((record + 1))
    printf 'record %09d%-495s\n' $record filler | dd of=/mnt/records bs=512 seek=$record conv=notrunc,fsync 2>/dev/null || fail "write"
    echo "SYNCED $record"
done
