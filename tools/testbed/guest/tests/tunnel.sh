# Traffic to the peer in the tunnel (10.77.0.1, fd77::1), with the driver `shoji.module`. `shoji.net`: who makes the tunnel.
#   shoji: the machine below; this system gets its address by DHCP. plain: nobody, the same traffic goes in the open.
#   wireguard: the kernel, with the keys shoji.key and shoji.peer.
# `shoji.steps=ONE+OTHER`: what happens, in this order; each is told as STEP. What the host is to do is told as HOST.
module=$(value shoji.module)
net=$(value shoji.net)
peer=10.77.0.1
peer6=fd77::1
outer=10.66.0
# Where the packets are as the peer sees them.
inner=eth0
[ "$net" = wireguard ] && inner=wg0

mount -t tmpfs tmp /tmp
# tcpdump asks who it is.
mkdir -p /etc
echo "root:x:0:0:root:/:/bin/sh" > /etc/passwd
cat > /tmp/lease <<'END'
#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface" scope global
ip addr add "$ip/$mask" dev "$interface"
ip route replace default via "$router" dev "$interface"
echo "LEASE $ip mask $mask router $router dns $dns mtu ${mtu:-none}"
END
chmod +x /tmp/lease

load() {
    insmod "/modules/$module.ko" || fail "no driver $module"
    for _ in $(seq 100); do [ -e /sys/class/net/eth0 ] && return; sleep 0.1; done
    fail "no card"
}
link_is() {
    for _ in $(seq 300); do [ "$(cat /sys/class/net/eth0/carrier 2>/dev/null)" = "$1" ] && return; sleep 0.1; done
    fail "the link is not $1"
}
lease() { udhcpc -i eth0 -n -q -t 30 -T 2 -s /tmp/lease > /tmp/lease.log 2>&1 || fail "no lease: $(tail -n 1 /tmp/lease.log)"; grep LEASE /tmp/lease.log; }
up() {
    ip link set eth0 up || fail "eth0 does not come up"
    link_is 1
    if [ "$net" = wireguard ]; then
        ip addr add $outer.2/24 dev eth0 2>/dev/null
    else
        lease
        # busybox has no client of DHCPv6, by which Shoji gives the address. The route is the router's.
        ip -6 addr replace fd77::2/64 dev eth0
    fi
}
wireguard() {
    load_wireguard
    value shoji.key > /tmp/key
    ip link add wg0 type wireguard || fail "the kernel has no WireGuard"
    tool wg set wg0 private-key /tmp/key peer "$(value shoji.peer)" endpoint $outer.1:51820 allowed-ips 0.0.0.0/0,::/0 persistent-keepalive 5 ||
        fail "wg set"
    echo 0 > /proc/sys/net/ipv6/conf/wg0/disable_ipv6
    ip addr add 10.77.0.2/24 dev wg0
    ip -6 addr add fd77::2/64 dev wg0
    ip link set wg0 mtu 1420 up
    ip route add default dev wg0
}
# The host says DONE on the console.
host() { echo "HOST $1"; read -r _ < /dev/console; }
reached() { ping -c 1 -W 2 -s "${1:-56}" $peer > /dev/null 2>&1; }
# For as long as handshakes take, and what was lost is tried again.
reach() {
    for _ in $(seq 60); do reached && return; sleep 0.5; done
    ip addr
    ip route
    fail "$1: the peer is not reached"
}
reach6() { for _ in $(seq 30); do ping6 -c 1 -W 2 $peer6 > /dev/null 2>&1 && return; sleep 0.5; done; fail "$1: the peer is not reached by IPv6"; }

# busybox-static's wget needs libraries for names. The body of an answer:
get() {
    printf 'GET %s HTTP/1.1\r\nUser-Agent: %s\r\n\r\n' "$1" "$2" | nc -w 10 $peer 80 | {
        while read -r line; do [ "${#line}" -le 1 ] && break; done
        cat
    }
}
put() {
    { printf 'PUT %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n' "$1" "$(wc -c < "$2")"; cat "$2"; } | nc -w 10 $peer 80 | grep -q 201
}

# Words that the judge looks for on the wire. Nobody needs to answer.
shout() {
    nslookup "$marker.test" $peer > /dev/null 2>&1 & asks=$!
    get /download/1 "$marker" > /dev/null 2>&1 & loads=$!
    sleep 3
    kill $asks $loads 2>/dev/null
}

step() {
    case $1 in
        ping)
            reach "first"
            ping -c 5 -i 0.2 -s 1300 -W 5 $peer > /dev/null || fail "no answer to long pings"
            ;;
        ping6) reach6 "first" ;;
        dns) nslookup peer.test $peer | grep -q "Address.*: $peer$" || fail "no name" ;;
        shout) shout ;;
        download)
            sum=$(get "/download/$(value shoji.bytes)" guest | sha256sum | cut -d' ' -f1)
            echo "SUM $sum"
            ;;
        iperf)
            # No faster than tcpdump on an emulated CPU.
            for way in "-b 4M" "-b 4M -R" "-u -b 2M -l 1300" "-u -b 2M -l 1300 -R"; do
                tool iperf3 -c $peer -t "$(value shoji.seconds)" $way > /tmp/iperf 2>&1 || fail "iperf3 $way: $(tail -n 3 /tmp/iperf)"
                echo "IPERF $way: $(grep -E 'receiver' /tmp/iperf)"
            done
            ;;
        # Between these, what this system sends and gets is the same as what the peer gets and sends.
        capture)
            host capture
            ethtool_off
            exec_tool tcpdump -i $inner -B 16384 -s 2048 -Z root -w /tmp/inner.pcap 2> /tmp/tcpdump.log & capture=$!
            for _ in $(seq 100); do grep -q "listening on" /tmp/tcpdump.log && break; sleep 0.1; done
            reached 999 || reached 999 || reached 999 || fail "the first ping of the capture"
            ;;
        deliver)
            reached 998 || reached 998 || reached 998 || fail "the last ping of the capture"
            sleep 1
            kill $capture
            wait $capture
            grep -q "^0 packets dropped" /tmp/tcpdump.log || fail "tcpdump has missed packets: $(cat /tmp/tcpdump.log)"
            put /inner /tmp/inner.pcap || fail "the capture is not taken"
            host delivered
            ;;
        promiscuous)
            ip link set eth0 promisc on
            ifconfig eth0 allmulti || fail "allmulti"
            reach "promiscuous"
            ip link set eth0 promisc off
            ifconfig eth0 -allmulti
            ;;
        reset)
            for _ in $(seq "$(value shoji.rounds)"); do
                ip link set eth0 down
                ip link set eth0 up
            done
            up
            [ "$net" = wireguard ] && ip route replace default dev wg0
            reach "after resets"
            ;;
        reload)
            for _ in $(seq "$(value shoji.rounds)"); do
                ip link set eth0 down
                rmmod "$module" || fail "the driver does not go"
                load
            done
            up
            reach "after the driver was loaded again"
            ;;
        unplug)
            host unplug
            link_is 0
            host plug
            up
            reach "plugged in again"
            ;;
        sleep)
            grep -q '\[deep\]' /sys/power/mem_sleep || fail "mem does not mean S3 here"
            echo "HOST sleep"
            echo mem > /sys/power/state || fail "suspend"
            echo "AWAKE"
            up
            reach "after sleep"
            ;;
        # The host does something to the peer, and then it answers again.
        restart)
            host restart
            reach "after the peer's restart"
            ;;
        bad_wire)
            host bad_wire
            ping -c 100 -i 0.05 -s 600 $peer > /tmp/ping 2>&1
            grep "packets transmitted" /tmp/ping
            host good_wire
            reach "after a bad wire"
            ;;
        # Long enough for a session to be replaced (120 s), under traffic.
        rekey) ping -c 260 -i 0.5 $peer > /tmp/ping 2>&1; grep "packets transmitted" /tmp/ping; reach "after the rekey" ;;
        # Nobody answers, and still this system tries.
        silence)
            reached && fail "an answer came"
            shout
            reached && fail "an answer came"
            ;;
        # Past the tunnel, if there were a way.
        past)
            ip addr add $outer.77/24 dev eth0
            ping -c 2 -W 1 $outer.1 > /dev/null 2>&1 && [ "$net" = shoji ] && fail "the network outside has answered"
            arping -c 2 -w 2 -I eth0 $outer.1 > /dev/null 2>&1
            ping6 -c 2 -W 1 -I eth0 ff02::1 > /dev/null 2>&1
            udhcpc -i eth0 -n -q -t 2 -T 1 -s /bin/true -x "hostname:$marker" > /dev/null 2>&1
            ip addr del $outer.77/24 dev eth0
            ;;
        *) fail "no step is called $1" ;;
    esac
}
# In the background: signals reach the program, not a shell around it.
exec_tool() { program=$1; shift; exec /boot/tools/ld.so --library-path /boot/tools "/boot/tools/$program" "$@"; }
# Segments of TCP as they are on the wire.
ethtool_off() { tool ethtool -K $inner tso off gso off gro off > /dev/null 2>&1; }

# The kernel's own words outside of the tunnel are not wanted where it makes the tunnel itself.
[ "$net" = wireguard ] && echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
load
echo "LINK $(cat /sys/class/net/eth0/address)"
up
[ "$net" = wireguard ] && wireguard
for step in $(value shoji.steps | tr + ' '); do
    echo "STEP $step"
    step "$step"
done
no_complaints
