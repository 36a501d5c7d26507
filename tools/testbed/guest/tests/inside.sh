# What the command `shoji` asks of the Shoji under this system. Its configuration allows "status" and "log" to any program.
shoji=/boot/tools/shoji

$shoji status || fail "status: $?"
$shoji status | grep -q '^Shoji [0-9.]*, up [0-9]* ' || fail "status does not begin with version and uptime"
$shoji status | grep -q "^  .data.: [0-9]* sectors from LBA [0-9]*, aes-xts-plain64" || fail "status knows no rule"
cpus=$(grep -c ^processor /proc/cpuinfo)
[ "$($shoji status | grep -c '^CPU [0-9]* (APIC ID [0-9]*): [0-9]* exits')" = "$cpus" ] || fail "status tells of other CPUs"
# An exit more is counted as one more.
count() { $shoji status --json | sed -n '/"exits"/,/}/s/.*"hypercall": \([0-9]*\).*/\1/p' | awk '{ sum += $1 } END { print sum }'; }
before=$(count)
for i in 1 2 3 4 5 6 7 8 9 10; do $shoji status > /dev/null; done
after=$(count)
# Version, name and call of ten commands, and of the two that counted.
[ $((after - before)) = 33 ] || fail "of 33 hypercalls $((after - before)) are counted"
echo PROMETHEUS BEGIN; $shoji status --prometheus || fail "metrics"; echo PROMETHEUS END

$shoji log > /tmp/log || fail "log: $?"
grep -q '^\[ *[0-9]*\.[0-9]*\] INFO  the guest starts' /tmp/log || fail "the log does not tell of the guest's start"
$shoji log --level warn > /tmp/warn || fail "log --level warn"
grep -q INFO /tmp/warn && fail "level warn shows INFO"
$shoji log --previous | grep -q 'no record of a defect' || fail "a defect that nobody knows of"

# The shell wants its key; a wrong one costs a pause, and opens nothing.
key=/boot/tools/dbgsh.key
$shoji sh --key-file $key -c help | grep -q '^heap' || fail "the shell does not know help"
said=$($shoji sh --key-file $key -c heap -c '' -c nonsense) || fail "three lines: $?"
echo "$said" | grep -q '^heap: [0-9]* KiB of [0-9]* KiB in use' || fail "no heap in: $said"
[ "$(echo "$said" | grep -c 'no command .nonsense.')" = 1 ] || fail "what nobody knows: $said"
[ "$(printf 'help\nheap\nexit\nheap\n' | $shoji sh --key-file $key 2>/dev/null | grep -c '^heap: ')" = 1 ] || fail "lines by pipe"
head -c 32 /dev/urandom > /tmp/wrong
# The third pause is long enough for two programs to start in it, however slow the machine.
for pause in 1 2 4; do
    said=$($shoji sh --key-file /tmp/wrong -c help 2>&1)
    [ $? = 4 ] || fail "a wrong key: $said"
    case $said in *"not the key"*) ;; *) fail "a wrong key: $said" ;; esac
    [ $pause = 4 ] || sleep $pause.5
done
for k in /tmp/wrong $key; do
    said=$($shoji sh --key-file $k -c help 2>&1) && fail "no pause after a wrong key"
    case $said in *"wants no other for "[1-4]" s"*) ;; *) fail "no pause, but: $said" ;; esac
done
sleep 4.5
$shoji sh --key-file $key -c heap | grep -q '^heap: ' || fail "the right key after the pause"
$shoji log --level warn | grep -q 'dbgsh: a wrong proof' || fail "the log does not tell of the wrong key"
