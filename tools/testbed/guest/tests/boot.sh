# The data partition mounts and its marker can be read.
mount_data
grep -q "$marker" /mnt/marker || fail "the marker on the data partition is wrong"
