# A network card, with the driver `shoji.module`. `shoji.net`: what of it works.
#   pass: all. sleep: before and after sleep. block: the driver, but nothing comes. none: there is no card.
module=$(value shoji.module)
net=$(value shoji.net)

load() {
    insmod "/modules/$module.ko" || fail "no driver $module"
    for _ in $(seq 100); do [ -e /sys/class/net/eth0 ] && break; sleep 0.1; done
    ip link set eth0 up || fail "eth0 does not come up"
}
link_is() {
    for _ in $(seq 200); do [ "$(cat /sys/class/net/eth0/carrier)" = "$1" ] && return; sleep 0.1; done
    fail "the link is not $1"
}
count() { cat "/sys/class/net/eth0/statistics/$1"; }

cat > /tmp/lease <<'END'
#!/bin/sh
[ "$1" = bound ] && ip addr add "$ip/$mask" dev "$interface" && ip route add default via "$router"
exit 0
END
chmod +x /tmp/lease
lease() { udhcpc -i eth0 -n -q -t 5 -T 1 -s /tmp/lease > /dev/null 2>&1; }
address() { echo "LINK $(cat /sys/class/net/eth0/address)"; }

works() {
    link_is 1
    ip addr flush dev eth0
    lease || fail "$1: no lease"
    ping -c 3 -i 0.2 -W 5 10.0.2.2 > /dev/null || fail "$1: no answer to ping"
}
# What comes from the host by one port is sent back by another, and its digest told.
loads() {
    nc 10.0.2.100 7001 > /tmp/came < /dev/null || fail "$1: nothing comes"
    nc 10.0.2.100 7002 < /tmp/came > /dev/null || fail "$1: nothing goes"
    echo "DIGEST $(sha256sum /tmp/came | cut -d ' ' -f 1) $(wc -c < /tmp/came)"
}

case $net in
none)
    for function in /sys/bus/pci/devices/*; do
        read -r class < "$function/class"
        case $class in 0x02*) fail "there is a card: $function" ;; esac
    done
    ;;
block)
    load
    address
    link_is 1
    lease && fail "a lease came"
    ip addr add 10.0.2.15/24 dev eth0
    ping -c 3 -i 0.2 -W 1 10.0.2.2 > /dev/null && fail "an answer came"
    sent=$(count tx_packets)
    [ "$sent" -gt 5 ] || fail "the driver has sent $sent frames only"
    [ "$(count rx_packets)" = 0 ] || fail "frames came"
    ;;
sleep)
    load
    works "first"
    for round in 1 2 3; do
        echo "SLEEPING $round"
        echo mem > /sys/power/state || fail "suspend of round $round"
        echo "AWAKE $round"
        works "after sleep $round"
    done
    ;;
pass)
    load
    address
    works "first"
    loads "first"
    echo "UNPLUG"
    link_is 0
    echo "PLUG"
    works "plugged in again"
    rmmod "$module" || fail "the driver does not go"
    load
    works "driver loaded again"
    loads "driver loaded again"
    ;;
esac
no_complaints
