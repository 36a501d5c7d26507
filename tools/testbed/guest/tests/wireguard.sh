# A peer: the kernel's WireGuard at 10.66.0.1, with the private key shoji.key, for the guest whose key is shoji.peer. Inside it is 10.77.0.1 and
# fd77::1, answers pings, iperf3 and HTTP, until the host is done with it.
insmod "/modules/$(value shoji.module).ko" || fail "no driver"
for _ in $(seq 100); do [ -e /sys/class/net/eth0 ] && break; sleep 0.1; done
load_wireguard
mount -t tmpfs tmp /tmp
value shoji.key > /tmp/key
ip addr add 10.66.0.1/24 dev eth0
ip link set eth0 up
ip link set lo up
ip link add wg0 type wireguard || fail "the kernel has no WireGuard"
tool wg set wg0 listen-port 51820 private-key /tmp/key peer "$(value shoji.peer)" allowed-ips 10.77.0.2/32,fd77::2/128 || fail "wg set"
ip addr add 10.77.0.1/24 dev wg0
ip -6 addr add fd77::1/64 dev wg0
ip link set wg0 mtu 1420 up
mkdir /tmp/www /tmp/www/download
bytes=$(value shoji.bytes)
head -c "$bytes" /dev/urandom > "/tmp/www/download/$bytes"
echo "SUM $(sha256sum "/tmp/www/download/$bytes" | cut -d' ' -f1)"
httpd -p 80 -h /tmp/www || fail "httpd"
tool iperf3 -s > /tmp/iperf.log 2>&1 &
echo "SERVING"
# A line on the console ends it.
read -r _ < /dev/console
tool wg show wg0 | sed 's/^/WG /'
no_complaints
