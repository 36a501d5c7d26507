//! A network card under rules: `pass` works as without Shoji, `block` lets nothing out, and no card is forgotten.

use super::inside;
use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;
use testbed::program::{command, run};
use testbed::qemu::{CARD_MAC, Chipset, Qemu, Writes};

/// QEMU's word for a card, what the machine around it is, and the guest's driver.
#[derive(Clone, Copy)]
struct Card {
    model: &'static str,
    chipset: Chipset,
    driver: &'static str,
}

const E1000: Card = Card { model: "e1000", chipset: Chipset::Pc, driver: "e1000" };
const E1000E: Card = Card { model: "e1000e", chipset: Chipset::Q35, driver: "e1000e" };
/// One that Shoji has no driver for.
const RTL8139: Card = Card { model: "rtl8139", chipset: Chipset::Pc, driver: "none" };

/// What the guest loads from the host, and back.
const BYTES: usize = 3 << 20;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for card in [E1000, E1000E] {
        let model = card.model;
        cases.push(Case::new(format!("a_card_that_passes_works_with_the_guests_own_driver_{model}"), 400, move |cx| {
            passes(cx, card)
        }));
        cases.push(
            Case::new(format!("a_card_that_passes_works_after_sleep_{model}"), 400, move |cx| sleeps(cx, card))
                .only_in_long_runs(),
        );
        cases.push(Case::new(format!("nothing_of_a_card_that_is_blocked_is_on_the_cable_{model}"), 240, move |cx| {
            is_blocked(cx, card)
        }));
    }
    cases.push(
        Case::new("a_blocked_card_that_nobody_drives_is_not_found_by_ports", 240, |cx| is_hidden(cx, RTL8139))
            .on(On::ShojiOnly),
    );
    let on_q35 = Card { chipset: Chipset::Q35, ..RTL8139 };
    cases.push(
        Case::new("a_blocked_card_that_nobody_drives_is_not_found_in_memory", 240, move |cx| is_hidden(cx, on_q35))
            .on(On::ShojiOnly),
    );
    cases.push(
        Case::new("a_rule_without_a_card_is_told_and_the_guest_does_not_start", 120, |cx| {
            refuses(cx, E1000, &rule("other", "02:00:00:00:00:01", "pass"), "names no card of this machine")
        })
        .on(On::ShojiOnly),
    );
    cases
}

/// A rule of the configuration.
fn rule(name: &str, mac: &str, policy: &str) -> String {
    format!("[[network]]\nname = \"{name}\"\ncard = {{ mac = \"{mac}\" }}\npolicy = \"{policy}\"\n")
}

/// The small disk, with these rules, in a machine with the card; `network` as [`Qemu::network_card`] has it.
fn machine(cx: &Cx, card: Card, network: &str, rules: &str, capture: &Path) -> Result<Qemu> {
    let disk = inside::disk_with(cx, rules)?;
    let qemu = cx.machine(512)?.chipset(card.chipset).network_card(card.model, network, capture);
    Ok(qemu.ide_disk(0, &disk.path, Writes::Dropped))
}

fn request(card: Card, net: &str) -> String {
    format!("shoji.test=net shoji.module={} shoji.net={net}", card.driver)
}

fn passes(cx: &Cx, card: Card) -> Result<()> {
    let (sent, back, capture) = (cx.dir.join("sent"), cx.dir.join("back"), cx.dir.join("cable.pcap"));
    // Nothing that compresses, or repeats.
    run(command("dd")
        .args(["if=/dev/urandom", "bs=1M", "count=3", "status=none"])
        .arg(format!("of={}", sent.display())))?;
    let served =
        |port: u16, command: String| format!(",guestfwd=tcp:10.0.2.100:{port}-cmd:{}", command.replace(',', ",,"));
    let network = format!(
        "user,restrict=on{}{}",
        served(7001, format!("cat {}", sent.display())),
        served(7002, format!("dd status=none of={}", back.display()))
    );
    let (qemu, mut monitor) = machine(cx, card, &network, &rule("lan", CARD_MAC, "pass"), &capture)?.monitor()?;
    let mut machine = qemu.request(&request(card, "pass"), cx.boot.how()).start()?;
    let (unplug, seen) = machine.expect_any(&["UNPLUG", "VERDICT fail"])?;
    ensure!(unplug == 0, "{}", crate::case::last_failure(&seen));
    monitor.set_link("card", false)?;
    let (plug, seen) = machine.expect_any(&["PLUG\r", "VERDICT fail"])?;
    ensure!(plug == 0, "{}", crate::case::last_failure(&seen));
    monitor.set_link("card", true)?;
    cx.expect_pass(&mut machine)?;
    let said = machine.console.text();
    let digest = run(command("sha256sum").arg(&sent))?;
    let digest = digest.split(' ').next().context("no digest")?;
    let told = said.lines().filter(|line| line.trim() == format!("DIGEST {digest} {BYTES}")).count();
    ensure!(told == 2, "the guest has got another file than was sent");
    ensure!(fs::read(&back)? == fs::read(&sent)?, "the host has got another file than it sent");
    told_of(cx, &machine.shoji_log(), card, "pass")
}

/// On a PC: the bare Q35 does not come back right.
fn sleeps(cx: &Cx, card: Card) -> Result<()> {
    let (card, capture) = (Card { chipset: Chipset::Pc, ..card }, cx.dir.join("cable.pcap"));
    let rules = rule("lan", CARD_MAC, "pass");
    let (qemu, mut monitor) = machine(cx, card, "user,restrict=on", &rules, &capture)?.monitor()?;
    let mut machine = qemu.request(&request(card, "sleep"), cx.boot.how()).start()?;
    for round in 1..=3 {
        let (asleep, seen) = machine.expect_any(&[&format!("SLEEPING {round}\r"), "VERDICT fail"])?;
        ensure!(asleep == 0, "{}", crate::case::last_failure(&seen));
        monitor.wake_up()?;
    }
    cx.expect_pass(&mut machine)?;
    told_of(cx, &machine.shoji_log(), card, "pass")
}

fn is_blocked(cx: &Cx, card: Card) -> Result<()> {
    let capture = cx.dir.join("cable.pcap");
    let rules = rule("lan", CARD_MAC, "block");
    let qemu = machine(cx, card, "user,restrict=on", &rules, &capture)?;
    let mut machine = qemu.request(&request(card, "block"), cx.boot.how()).start()?;
    if cx.boot == Boot::Bare {
        // The guest gets answers, and the capture sees its frames: both would be noticed.
        machine.expect("FAILED: a lease came")?;
        ensure!(!is_empty(&capture)?, "the capture sees nothing");
        return Ok(());
    }
    cx.expect_pass(&mut machine)?;
    ensure!(is_empty(&capture)?, "there are frames in {}", capture.display());
    told_of(cx, &machine.shoji_log(), card, "block")
}

/// No frame in a file of pcap: nothing but its header.
fn is_empty(capture: &Path) -> Result<bool> {
    const HEADER_BYTES: u64 = 24;
    Ok(fs::metadata(capture).with_context(|| format!("no {}", capture.display()))?.len() <= HEADER_BYTES)
}

/// Shoji has told what it does with the card.
fn told_of(cx: &Cx, log: &str, card: Card, policy: &str) -> Result<()> {
    cx.expect_starts(log, 1)?;
    let line = log.lines().find(|line| line.contains("network card 00:03.0"));
    let right = line.is_some_and(|line| line.contains(CARD_MAC) && line.ends_with(&format!("e1000, policy {policy}")));
    ensure!(cx.boot == Boot::Bare || right, "of the card {} Shoji says {line:?}", card.model);
    // Of configuration space Linux tries what it does not get: errors of PCI Express, and more of it by ports.
    let mut refusals = log.lines().filter(|line| line.contains("e1000 00:03.0: refused"));
    let refused = refusals.find(|line| !line.contains("refused: configuration"));
    ensure!(refused.is_none(), "{refused:?}");
    Ok(())
}

fn is_hidden(cx: &Cx, card: Card) -> Result<()> {
    let capture = cx.dir.join("cable.pcap");
    let rules = "[[network]]\nname = \"lan\"\ncard = { function = \"00:03.0\" }\npolicy = \"block\"\n";
    let qemu = machine(cx, card, "user,restrict=on", rules, &capture)?;
    let mut machine = qemu.request(&request(card, "none"), cx.boot.how()).start()?;
    cx.expect_pass(&mut machine)?;
    ensure!(is_empty(&capture)?, "there are frames in {}", capture.display());
    cx.expect_starts(&machine.shoji_log(), 1)
}

/// Shoji stops with `sentence`, and tells the card with its address.
fn refuses(cx: &Cx, card: Card, rules: &str, sentence: &str) -> Result<()> {
    let capture = cx.dir.join("cable.pcap");
    let qemu = machine(cx, card, "user,restrict=on", rules, &capture)?;
    let mut machine = qemu.request(&request(card, "block"), cx.boot.how()).start()?;
    machine.expect_log("Stopped.", Duration::from_secs(60))?;
    let log = machine.shoji_log();
    ensure!(log.contains(sentence) && log.contains(CARD_MAC), "no word of \"{sentence}\" in: {log}");
    ensure!(!machine.console.text().contains("INIT"), "the operating system was started");
    ensure!(is_empty(&capture)?, "there are frames in {}", capture.display());
    Ok(())
}
