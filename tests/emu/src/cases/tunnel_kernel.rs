//! The peer is another implementation: WireGuard of a Debian kernel, in a second machine, with the relay between the two.

use super::tunnel_rig::{E1000, WIRE_STATIC, disk_for, static_rules};
use crate::case::{Boot, Cx, last_failure};
use anyhow::{Context, Result, ensure};
use testbed::disks;
use testbed::qemu::{Machine, Writes};
use wire::oracle::judge;
use wire::pcapng::Reader;
use wire::peer::{Keys, OUTER, netdev, wg_quick};
use wire::port::Port;
use wire::relay::Relay;

const BYTES: u64 = 500_000;

pub fn reaches(cx: &Cx) -> Result<()> {
    let (guest, peer) = (Keys::new()?, Keys::new()?);
    let ends = ["guest", "peer"].map(|end| format!("shoji-{end}-{}", std::process::id()));
    let capture = cx.dir.join("wire.pcapng");
    let relay = Relay::start(Port::stream(&ends[0])?, Port::stream(&ends[1])?, &capture)?;

    let mut other = other_machine(cx, &ends[1], &peer, &guest)?;
    other.expect("SERVING").context("the second machine")?;
    let mut machine = machine(cx, &ends[0], &guest, &peer)?;
    cx.expect_pass(&mut machine)?;
    let said = machine.console.text();
    let (served, got) = (sum_of(&other.console.text())?, sum_of(&said)?);
    ensure!(served == got, "the download has another checksum than what was served");
    other.console.send_line("DONE")?;
    cx.expect_pass(&mut other)?;
    drop((machine, other));
    relay.stop()?;

    let verdict = judge(static_rules(), Reader::open(&capture)?)?;
    verdict.accept()?;
    ensure!(verdict.data() > 100, "hardly anything went through: {verdict:?}");
    ensure!(said.contains("IPERF"), "the guest says: {}", last_failure(&said));
    Ok(())
}

/// The checksum that a guest tells.
fn sum_of(said: &str) -> Result<String> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix("SUM ")).context("no checksum was told")?;
    Ok(line.to_owned())
}

/// A plain small guest that is the peer.
fn other_machine(cx: &Cx, end: &str, keys: &Keys, guest: &Keys) -> Result<Machine> {
    let disk = disks::small(&cx.workspace, true)?;
    let args = format!(
        "shoji.test=wireguard shoji.module=e1000 shoji.bytes={BYTES} shoji.key={} shoji.peer={}",
        keys.private, guest.public
    );
    let qemu = cx.machine(512)?.network_card(E1000.model, &netdev(end), &cx.dir.join("peer.pcap"));
    qemu.request(&args, Boot::Bare.how()).ide_disk(0, &disk.path, Writes::Dropped).start()
}

fn machine(cx: &Cx, end: &str, keys: &Keys, peer: &Keys) -> Result<Machine> {
    let disk = disk_for(cx, &cx.small_disk()?, &wg_quick(keys, peer, OUTER), WIRE_STATIC)?;
    let by = match cx.boot {
        Boot::Bare => format!("wireguard shoji.key={} shoji.peer={}", keys.private, peer.public),
        Boot::Shoji => "shoji".to_owned(),
    };
    let args = format!(
        "shoji.test=tunnel shoji.module=e1000 shoji.steps=ping+ping6+shout+iperf+download shoji.bytes={BYTES} \
         shoji.seconds={} shoji.net={by}",
        cx.count(2, 20)
    );
    let qemu = cx.machine(512)?.network_card(E1000.model, &netdev(end), &cx.dir.join("guest.pcap"));
    qemu.request(&args, cx.boot.how()).ide_disk(0, &disk.path, Writes::Dropped).start()
}
