//! Defects of Shoji itself: it stops, tells what it knows, and the record of it outlives a warm reboot.

use crate::case::{Case, Cx, On};
use anyhow::{Context, Result, ensure};
use guest_images::TinyGuest;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testbed::accel::Accelerator;
use testbed::bochs::{Bochs, End, expect};
use testbed::program::{command, run};
use testbed::qemu::{Machine, Writes, debug_exit_status};

/// What the tiny guest `defect` provokes, one after another, and how Shoji's words for it begin.
const DEFECTS: [(&str, &str); 3] = [
    ("a panic", "Shoji: defect in the VMM: panicked at "),
    ("a read of the null page", "Shoji: defect in the VMM: exception 14, error code 0x0"),
    ("a write to the VMM's code", "Shoji: defect in the VMM: exception 14, error code 0x3"),
];
const STOPPED: &str = "\nStopped.";
const RECORD: &str = "has left this record";
/// CR4 (SDM Vol. 3A s. 2.5).
const SMEP_SMAP: u64 = 1 << 20 | 1 << 21;
const PASS: u8 = 0x10;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("a_defect_of_the_vmm_leaves_a_record_over_a_warm_reboot", 300, record)
            .on(On::ShojiOnly)
            .beside_others(),
        Case::new("a_full_stack_of_the_vmm_is_told_on_vt_x", 300, full_stack).on(On::ShojiOnly).beside_others(),
    ]
}

fn record(cx: &Cx) -> Result<()> {
    let (disk, medium) = media(cx, "defect")?;
    let cd = format!("file={},format=raw,if=ide,index=2,media=cdrom", medium.to_string_lossy().replace(',', ",,"));
    let qemu = cx.machine(512)?.debug_exit().ide_disk(0, &disk, Writes::Dropped);
    let (qemu, mut monitor) = qemu.args(["-drive", &cd, "-boot", "order=d"]).monitor()?;
    let mut machine = qemu.start()?;
    for n in 1..=DEFECTS.len() {
        until_stopped(cx, &machine, n)?;
        monitor.reset()?;
    }
    let status = machine.wait(cx.left())?;
    ensure!(status.code() == Some(debug_exit_status(PASS)), "the guest does not pass: {status}");

    let log = machine.shoji_log().replace('\r', "");
    let runs: Vec<&str> = log.split(STOPPED).collect();
    ensure!(runs.len() == DEFECTS.len() + 1, "Shoji has stopped {} times", runs.len() - 1);
    ensure!(!runs[0].contains(RECORD), "a record of nothing");
    for (pair, (what, words)) in runs.windows(2).zip(DEFECTS) {
        let (told, next) = (pair[0], pair[1]);
        told_all(cx, told, words).with_context(|| format!("after {what}"))?;
        recorded(next, words).with_context(|| format!("in the record of {what}"))?;
    }
    Ok(())
}

/// Disk and boot medium.
fn media(cx: &Cx, name: &str) -> Result<(PathBuf, PathBuf)> {
    let guest: &TinyGuest = guest_images::guest(name).context("there is such a guest")?;
    let (disk, medium) = (cx.dir.join("guest.img"), cx.dir.join("medium.iso"));
    guest_images::write_disk(&guest_images::build_programs(cx.workspace.root())?, guest, &disk)?;
    guest_images::boot_media(&cx.workspace.shoji_elf()?, &guest_images::blob(guest)?, None, &medium)?;
    Ok((disk, medium))
}

fn until_stopped(cx: &Cx, machine: &Machine, times: usize) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120).min(cx.left());
    while machine.shoji_log().matches(STOPPED).count() < times {
        ensure!(Instant::now() < end, "Shoji has not stopped for the {times}. time");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// COM1 has everything: registers of an exception, back trace down to the exit, last exits.
fn told_all(cx: &Cx, log: &str, words: &str) -> Result<()> {
    let (_, told) = log.split_once(words).with_context(|| format!("no words \"{words}\""))?;
    let has = |start: &str| told.lines().any(|line| line.starts_with(start));
    ensure!(has("rax ") == words.contains("exception"), "registers of an exception, and of nothing else");
    ensure!(has("last exits of CPU 0"), "no exits");
    if words.contains("exception") && cx.accelerator == Accelerator::Tcg {
        let cr4 =
            told.split_once(" cr4 0x").and_then(|(_, rest)| u64::from_str_radix(rest.lines().next()?.trim(), 16).ok());
        ensure!(cr4.is_some_and(|cr4| cr4 & SMEP_SMAP == SMEP_SMAP), "the CPU has SMEP and SMAP, but CR4 is {cr4:x?}");
    }
    ensure!(
        told.lines().any(|line| line.starts_with("VMMCALL (0x81)") || line.starts_with("VMCALL (0x12)")),
        "no hypercall among the exits"
    );
    ensure!(
        callers(cx, told)?.contains("switch_stack"),
        "the back trace does not reach the beginning of the CPU's stack"
    );
    Ok(())
}

/// Names of the functions in the back trace.
fn callers(cx: &Cx, told: &str) -> Result<String> {
    let addresses: Vec<&str> =
        told.lines().filter_map(|line| line.strip_prefix("called from ")).map(str::trim).collect();
    ensure!(!addresses.is_empty(), "no back trace");
    run(command("addr2line").args(["-f", "-C", "-i", "-e"]).arg(cx.workspace.shoji_elf()?).args(addresses))
}

/// The next start has logged the same, but for the registers.
fn recorded(log: &str, words: &str) -> Result<()> {
    ensure!(log.matches(RECORD).count() == 1, "no record, or several");
    let recorded: Vec<&str> = log.lines().filter_map(|line| Some(line.split_once(" | ")?.1)).collect();
    let has = |start: &str| recorded.iter().any(|line| line.starts_with(start));
    ensure!(has(words) && has("called from ") && has("last exits of CPU 0"), "it is not all there");
    ensure!(!has("rax "), "general purpose registers, which may hold secrets");
    Ok(())
}

/// The guard page ends the recursion, and the double fault has a stack of its own.
fn full_stack(cx: &Cx) -> Result<()> {
    let (disk, medium) = media(cx, "stack_overflow")?;
    let logs = cx.dir.join("machine");
    let bochs = Bochs::new(&logs, "corei7_haswell_4770", 512)?.disk(&disk, Writes::Dropped).cd(&medium);
    expect(bochs.last_word("Stopped.").until(cx.deadline).run()?, End::LastWord)?;
    let log = String::from_utf8_lossy(&fs::read(logs.join("shoji.log"))?).replace('\r', "");
    let words = "Shoji: defect in the VMM: exception 8, error code 0x0";
    let (_, told) = log.split_once(words).with_context(|| format!("no words \"{words}\""))?;
    ensure!(told.lines().any(|line| line.starts_with("rax ")), "no registers");
    ensure!(told.lines().any(|line| line.starts_with("VMCALL (0x12)")), "no hypercall among the exits");
    // Hundreds of frames lie before the exit: the trace does not come so far.
    ensure!(callers(cx, told)?.contains("overflow"), "the back trace is not that of the recursion");
    Ok(())
}
