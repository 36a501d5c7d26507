//! The machine sleeps (ACPI S3) and is woken up, and the guest goes on under Shoji.

use super::disk_image::judge;
use super::nvme;
use crate::case::{Boot, Case, Cx, last_failure};
use anyhow::{Context, Result, ensure};
use testbed::bochs::{self, Bochs, End, TICKS_PER_SECOND};
use testbed::qemu::{Chipset, Machine, Qemu, Writes};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("the_guest_sleeps_and_uses_its_disk_after_waking_up", 300, |cx| sleeps(cx, 1)).beside_others(),
        Case::new("the_guest_sleeps_on_vt_x", 1200, sleeps_in_bochs).beside_others(),
        Case::new("the_guest_sleeps_with_4_cpus_and_has_them_again", 600, |cx| sleeps(cx, 4)),
        Case::new("the_guest_sleeps_on_a_q35", 300, sleeps_on_a_q35),
        Case::new("the_guest_sleeps_and_uses_its_ahci_disk_after_waking_up", 400, with_ahci).only_in_long_runs(),
        Case::new("the_guest_sleeps_and_uses_its_nvme_drive_after_waking_up", 300, with_nvme).only_in_long_runs(),
    ]
}

/// VT-x with EPT and unrestricted guest. Bochs wakes a machine up as soon as it sleeps, by a reset.
const INTEL: &str = "corei7_haswell_4770";
/// Bochs seconds; the guest needs less than half.
const BUDGET: u64 = 160 * TICKS_PER_SECOND;

/// Nobody can type or ask here: the disk says what to do, and the logs are read afterwards.
fn sleeps_in_bochs(cx: &Cx) -> Result<()> {
    let base = cx.copy(&cx.small_disk()?)?;
    // After a reset Bochs 2.7 counts TSC deadlines from another zero than the TSC itself, unless TSC_ADJUST is written, which
    // Shoji keeps from the CPU: the timer would fire at once, without end.
    let args = "shoji.test=sleep shoji.rounds=2 shoji.cpus=1 cryptomgr.notests lapic=notscdeadline";
    base.request(args, cx.boot.how())?;
    let disk = cx.copy_as(&base, "written.img")?;
    let logs = cx.dir.join("bochs");
    let machine = Bochs::new(&logs, INTEL, 512)?.with_unknown_msrs().disk(&disk.path, Writes::Kept);
    let ended = machine.ticks(BUDGET).until(cx.deadline).run()?;
    let said = String::from_utf8_lossy(&std::fs::read(logs.join("com2.log")).unwrap_or_default()).into_owned();
    bochs::expect(ended, End::PowerOff)?;
    ensure!(said.contains("VERDICT pass"), "the guest says: {}", last_failure(&said));
    woke_up(cx, 2, &std::fs::read_to_string(logs.join("shoji.log")).unwrap_or_default())?;
    judge(cx, &base, &disk, &cx.plaintext(&disk)?)
}

/// Shoji, not the firmware alone, has woken the guest up: as often as it slept. Linux has no need of the registers that sleep
/// relies on.
fn woke_up(cx: &Cx, rounds: u32, log: &str) -> Result<()> {
    let woken = log.matches("the machine is awake").count();
    let right = cx.boot == Boot::Bare || woken == rounds as usize;
    ensure!(right, "the guest slept {rounds} times, but Shoji woke up {woken} times");
    let refused = log.lines().find(|line| line.contains("ignored, as it would"));
    ensure!(refused.is_none(), "{refused:?}");
    Ok(())
}

/// The guest compares and writes a file in each round; then the raw disk is judged: what was written after a sleep is encrypted.
fn sleeps(cx: &Cx, cpus: u32) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy(&base)?;
    let rounds = cx.count(3, 200);
    let qemu = cx.machine(512)?.ide_disk(0, &disk.path, Writes::Kept);
    let mut machine = sleep(cx, qemu, cpus, rounds, "sda2")?;
    cx.expect_pass(&mut machine)?;
    woke_up(cx, rounds, &machine.shoji_log())?;
    judge(cx, &base, &disk, &cx.plaintext(&disk)?)
}

fn sleeps_on_a_q35(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    q35(cx, cx.machine(512)?.ide_disk(0, &disk.path, Writes::Kept))
}

/// SeaBIOS does not set the power management registers of a Q35 up again when it wakes up: the bare machine neither sleeps nor
/// switches off afterwards. Shoji puts them back.
fn q35(cx: &Cx, qemu: Qemu) -> Result<()> {
    let rounds = if cx.boot == Boot::Bare { 1 } else { cx.count(3, 200) };
    let mut machine = sleep(cx, qemu.chipset(Chipset::Q35), 2, rounds, "sda2")?;
    match cx.boot {
        Boot::Bare => machine.expect("VERDICT pass").map(drop)?,
        Boot::Shoji => cx.expect_pass(&mut machine).map(drop)?,
    }
    woke_up(cx, rounds, &machine.shoji_log())
}

fn with_ahci(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy(&base)?;
    q35(cx, cx.machine(512)?.ahci_disk(0, &disk.path, Writes::Kept))?;
    judge(cx, &base, &disk, &cx.plaintext(&disk)?)
}

fn with_nvme(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let drive = cx.copy_as(&base, "nvme.img")?;
    let rounds = cx.count(3, 200);
    let mut machine = sleep(cx, nvme::machine(cx, &drive)?, nvme::CPUS, rounds, "nvme0n1p2")?;
    cx.expect_pass(&mut machine)?;
    woke_up(cx, rounds, &machine.shoji_log())?;
    judge(cx, &base, &drive, &cx.plaintext(&drive)?)
}

/// The guest sleeps and is woken up so often; what it writes goes to `partition`.
fn sleep(cx: &Cx, qemu: Qemu, cpus: u32, rounds: u32, partition: &str) -> Result<Machine> {
    let (qemu, mut monitor) = qemu.cpus(cpus).monitor()?;
    let args = format!("shoji.test=sleep shoji.rounds={rounds} shoji.cpus={cpus} shoji.partition={partition}");
    let mut machine = qemu.request(&args, cx.boot.how()).start()?;
    for round in 1..=rounds {
        machine.expect(&format!("SLEEPING {round}\r"))?;
        monitor.wake_up().with_context(|| format!("round {round}"))?;
        let (awake, seen) = machine.expect_any(&[&format!("AWAKE {round}\r"), "VERDICT fail"])?;
        ensure!(awake == 0, "round {round}: {seen}");
    }
    Ok(machine)
}
