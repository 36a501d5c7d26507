# Idle, and at work like a kernel's build, between marks, for a host that counts instructions and exits. It reads its
# counters in the pauses.
mark() { echo "MARK $* $(cut -d ' ' -f 1 /proc/uptime)"; sleep 1; }

# Nothing at all, for ten seconds.
mark idle 0
sleep 10
mark idle 10

# As a kernel's build: the compiler proper over files of C, with the small processes that a build has around it. Where the
# files lie is $2: the plain boot partition or the encrypted one.
source_file() {
    awk -v seed="$1" 'BEGIN {
        srand(seed)
        for (f = 0; f < 12; f++) {
            printf "struct s%d { struct s%d *next; int key, count; char name[%d]; };\n", f, f, 8 + int(rand() * 40)
            printf "static int f%d(struct s%d *list, int key)\n{\n    int sum = %d;\n", f, f, int(rand() * 1000)
            printf "    for (; list; list = list->next) {\n        switch (list->key %% 8) {\n"
            for (c = 0; c < 8; c++)
                printf "        case %d: sum += list->count * %d ^ key; break;\n", c, 1 + int(rand() * 99)
            printf "        }\n        for (unsigned i = 0; i < sizeof list->name; i++)\n"
            printf "            sum = sum * %d + list->name[i];\n    }\n    return sum;\n}\n", 3 + 2 * int(rand() * 20)
        }
        print "int all(void *list, int key)\n{\n    int sum = 0;"
        for (f = 0; f < 12; f++) printf "    sum += f%d(list, key + sum);\n", f
        print "    return sum;\n}"
    }'
}
compile() {
    for file in $(seq "$1"); do
        source_file "$file" > "$2/$file.c"
        tool cc1 -quiet -ffreestanding -O2 "$2/$file.c" -o "$2/$file.s" || fail "cc1"
        sed -n 's/.*call[[:space:]]*\([^[:space:]]*\).*/\1/p' "$2/$file.s" | sort -u > "$2/$file.d"
        gzip -c "$2/$file.s" > "$2/$file.gz"
        rm "$2/$file.c" "$2/$file.s"
    done
    sync
}
build() {
    mkdir "$2/build" || fail "mkdir $2/build"
    # What happens once only: the compiler is read from the disk.
    compile 1 "$2/build"
    mark "$1" 0
    for count in 1 5; do
        compile "$count" "$2/build"
        mark "$1" "$count"
    done
    rm -r "$2/build"
}
mount -o remount,rw /boot || fail "the boot partition cannot be written to"
build build_plain /boot
mount_data
build build_encrypted /mnt
