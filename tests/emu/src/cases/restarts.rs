//! What stops a CPU or the whole machine, again and again, with I/O between: a CPU taken out by the guest, another kernel by
//! kexec, resets of each kind.

use super::smp::{LOGGED, judge};
use crate::case::{Boot, Case, Cx};
use anyhow::{Context, Result, ensure};
use std::io::BufRead;
use testbed::ext::{self, Check};
use testbed::qemu::{Chipset, Machine, Qemu, Writes};

const CPUS: u32 = 2;

/// A way to reset the machine.
struct Reset {
    /// In /sys/kernel/reboot/type.
    linux: &'static str,
    name: &'static str,
    /// One that has it.
    chipset: Chipset,
}

const fn reset(linux: &'static str, name: &'static str, chipset: Chipset) -> Reset {
    Reset { linux, name, chipset }
}

const TRIPLE_FAULT: &str = "triple";
const RESETS: [Reset; 4] = [
    reset("kbd", "the_keyboard_controller", Chipset::Pc),
    reset("pci", "port_cf9", Chipset::Pc),
    reset("acpi", "acpi", Chipset::Q35),
    reset(TRIPLE_FAULT, "a_triple_fault", Chipset::Pc),
];

pub fn cases() -> Vec<Case> {
    let resets = RESETS.iter().map(|reset| {
        Case::new(format!("a_reset_by_{}_comes_back_under_shoji", reset.name), 600, move |cx| resets(cx, reset))
    });
    [
        Case::new("a_cpu_that_the_guest_takes_out_comes_back", 240, hotplug),
        Case::new("a_kernel_started_by_kexec_is_under_shoji_too", 300, kexec),
    ]
    .into_iter()
    .chain(resets)
    .map(|case| case.only_by_tcg(LOGGED))
    .collect()
}

fn hotplug(cx: &Cx) -> Result<()> {
    let rounds = cx.count(3, 100);
    let machine = run(cx, Qemu::log_exits, "hotplug", rounds)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    judge(cx, &machine, CPUS)
}

fn kexec(cx: &Cx) -> Result<()> {
    let rounds = cx.count(3, 50);
    let machine = run(cx, Qemu::log_exits, "kexec", rounds)?;
    every_kernel_is_inside(cx, &machine, rounds)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    judge(cx, &machine, CPUS)
}

/// With Linux, which takes its time to boot; the many resets are those of the tiny guest `triple_fault`.
fn resets(cx: &Cx, reset: &Reset) -> Result<()> {
    let rounds = cx.count(3, 10);
    let test = format!("reboots shoji.reboot={}", reset.linux);
    let machine = run(cx, |qemu| qemu.chipset(reset.chipset).log_exits(), &test, rounds)?;
    every_kernel_is_inside(cx, &machine, rounds)?;
    cx.expect_starts(&machine.shoji_log(), rounds as usize + 1)?;
    if cx.boot == Boot::Shoji {
        // It went the way that was asked for: only this one is left to Shoji.
        let expected = if reset.linux == TRIPLE_FAULT { rounds } else { 0 };
        let found = triple_faults(machine.exit_log()?)?;
        ensure!(found == expected, "{found} triple faults instead of {expected}");
    }
    Ok(())
}

/// Boots the small guest on a copy of its disk, in a machine that `change` has made different, to do `test` so many times;
/// what it leaves on the disk is in order.
fn run(cx: &Cx, change: impl FnOnce(Qemu) -> Qemu, test: &str, rounds: u32) -> Result<Machine> {
    let disk = cx.copy(&cx.small_disk()?)?;
    let qemu = change(cx.machine(512)?.cpus(CPUS));
    let qemu = qemu.request(&format!("shoji.test={test} shoji.rounds={rounds}"), cx.boot.how());
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Kept).start()?;
    cx.expect_pass(&mut machine).with_context(|| progress(&machine))?;
    let found = ext::check(&cx.plaintext(&disk)?)?;
    ensure!(found == Check::Clean, "e2fsck after an orderly end: {found:?}");
    Ok(machine)
}

/// For a loop that has come to an end too early.
fn progress(machine: &Machine) -> String {
    let text = machine.console.text();
    let last = text.lines().rev().find(|line| line.starts_with("ROUND ")).unwrap_or("no round");
    format!("the last that the guest has announced: {}", last.trim())
}

/// The guest has booted once before the first round and once in each, and no time did it see the CPU's virtualization,
/// which under Shoji is Shoji's own: lines `ROUND number svm=CPUs that have it`.
fn every_kernel_is_inside(cx: &Cx, machine: &Machine, rounds: u32) -> Result<()> {
    let text = machine.console.text();
    let found: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("ROUND ")).collect();
    let svm = if cx.boot == Boot::Shoji { 0 } else { CPUS };
    let expected: Vec<String> = (0..=rounds).map(|round| format!("{round} cpus={CPUS} svm={svm}")).collect();
    ensure!(found == expected, "the guest's boots were {found:?} instead of {expected:?}");
    Ok(())
}

/// Exits by SHUTDOWN (APM Vol. 2, appendix C: 7Fh).
fn triple_faults(log: impl BufRead) -> Result<u32> {
    let mut found = 0;
    for line in log.split(b'\n') {
        found += u32::from(line?.starts_with(b"vmexit(0000007f,"));
    }
    Ok(found)
}
