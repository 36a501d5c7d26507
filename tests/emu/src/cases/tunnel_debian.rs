//! An ordinary Debian system behind a tunnel, with the programs that people use.

use super::debian;
use super::tunnel_rig::{By, Card, STATIC, Scenario, WIRE_BY_DHCP, disk_for};
use crate::case::Cx;
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use testbed::disk::MARKER;
use testbed::qemu::Writes;
use testbed::shell::Shell;
use wire::http;
use wire::oracle::judge;
use wire::pcapng::Reader;
use wire::peer::{self, GUEST, GUEST_IPV6, INNER, INNER_IPV6, NAME, OUTER, PORT, Rig};

const MINUTE: Duration = Duration::from_secs(60);
const DOWNLOAD_BYTES: u64 = 200_000_000;

pub fn reaches(cx: &Cx, card: Card) -> Result<()> {
    let scenario = Scenario { by: By::of(cx), ..Scenario::new(card) };
    let rig = Rig::start(&cx.dir.join("wire"))?;
    let disk = disk_for(cx, &cx.debian_disk()?, &rig.wg_quick(peer::ENDPOINT_NAME), WIRE_BY_DHCP)?;
    let qemu = debian::IDE.machine(cx, &disk, Writes::Dropped, cx.boot.how())?.chipset(card.chipset);
    let mut machine = qemu.network_card(card.model, &rig.netdev(), &cx.dir.join("qemu.pcap")).start()?;
    let mut shell = Shell::login(&mut machine)?;
    match scenario.by {
        By::Kernel => tunnel_of_kernel(&mut shell, &rig)?,
        _ => lease(&mut shell)?,
    }
    shell.run(&format!("until ping -c 1 -W 2 {INNER}; do sleep 1; done"), 2 * MINUTE)?;
    talks(cx, &mut shell)?;
    shell.power_off()?;
    drop(machine);
    let capture = rig.capture();
    rig.end()?;
    let verdict = judge(scenario.rules(), Reader::open(&capture)?)?;
    verdict.accept()?;
    ensure!(verdict.data() > 1000, "hardly anything went through: {verdict:?}");
    Ok(())
}

const CARD: &str = "card=$(cd /sys/class/net && ls -d e*)";

/// As on any network.
fn lease(shell: &mut Shell<'_>) -> Result<()> {
    shell.run(&format!("{CARD}; dhclient -1 -v $card"), 3 * MINUTE)?;
    let addresses = shell.run("ip -o address", MINUTE)?;
    ensure!(addresses.contains(GUEST), "the guest has other addresses than the tunnel's file says: {addresses}");
    let servers = shell.run("cat /etc/resolv.conf", MINUTE)?;
    ensure!(servers.contains(INNER), "the guest asks another name server: {servers}");
    Ok(())
}

fn tunnel_of_kernel(shell: &mut Shell<'_>, rig: &Rig) -> Result<()> {
    let lines = [
        // Outside, the kernel is to say nothing of its own.
        format!(
            "{CARD}; echo 1 > /proc/sys/net/ipv6/conf/$card/disable_ipv6; ip address add {STATIC}/24 dev $card; ip link set $card up"
        ),
        format!("umask 077; echo {} > /root/key; ip link add wg0 type wireguard", rig.guest.private),
        format!(
            "wg set wg0 private-key /root/key peer {} endpoint {OUTER}:{PORT} allowed-ips 0.0.0.0/0,::/0 persistent-keepalive 5",
            rig.peer.public
        ),
        format!("ip address add {GUEST}/24 dev wg0; ip -6 address add {GUEST_IPV6}/64 dev wg0"),
        "ip link set wg0 mtu 1420 up && ip route add default dev wg0".into(),
        format!("echo nameserver {INNER} > /etc/resolv.conf"),
    ];
    lines.iter().try_for_each(|line| shell.run(line, MINUTE).map(drop))
}

/// Everything that the issue names; what is long is shorter in the lower tier.
fn talks(cx: &Cx, shell: &mut Shell<'_>) -> Result<()> {
    shell.run(&format!("ping -c 10 -i 0.2 -s 1300 {INNER} && ping -6 -c 5 -i 0.2 {INNER_IPV6}"), 2 * MINUTE)?;
    let answer = shell.run(&format!("dig +short {NAME} && getent ahosts {NAME}"), MINUTE)?;
    ensure!(answer.contains(INNER) && answer.contains(INNER_IPV6), "{NAME} is {answer}");
    // The words that the judge looks for; the console shows no plain text of them.
    let marker: String = MARKER.trim().chars().rev().collect();
    shell.run(
        &format!("marker=$(echo {marker} | rev); dig +tries=1 $marker.test; curl -s -A $marker http://{NAME}/download/1 | wc -c"),
        MINUTE,
    )?;
    let seconds = cx.count(3, 20);
    for way in ["", "-R", "-u -b 3M -l 1300", "-u -b 3M -l 1300 -R", "-6"] {
        let said =
            shell.run(&format!("iperf3 -c {NAME} -t {seconds} {way}"), 3 * MINUTE).with_context(|| way.to_owned())?;
        ensure!(said.contains("receiver"), "iperf3 {way}: {said}");
    }
    let bytes = if cx.count(0, 1) == 1 { DOWNLOAD_BYTES } else { DOWNLOAD_BYTES / 50 };
    let sum = shell.run(&format!("curl -sf http://{NAME}/download/{bytes} | sha256sum"), 40 * MINUTE)?;
    ensure!(sum.starts_with(&http::checksum(bytes)), "a download of {bytes} bytes has another checksum: {sum}");
    Ok(())
}
