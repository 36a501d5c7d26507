//! Several CPUs: each of them runs in the virtual machine.

use crate::case::{Boot, Case, Cx};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::io::BufRead;
use testbed::bochs::Bochs;
use testbed::qemu::{Chipset, Machine, Qemu, Writes};

/// Only TCG logs world switches.
pub const LOGGED: &str = "only its log names each CPU's control block";
/// VT-x, with as many CPUs as Bochs can be waited for.
const INTEL: &str = "corei7_haswell_4770";
const BOCHS_CPUS: u32 = 2;
/// Twice what a run takes.
const BOCHS_BUDGET_S: u64 = 60;

pub fn cases() -> Vec<Case> {
    let counted = |cpus: u32| {
        Case::new(format!("each_of_{cpus}_cpus_runs_in_the_virtual_machine"), 240, move |cx| {
            every_cpu(cx, |qemu| qemu, cpus)
        })
        .only_by_tcg(LOGGED)
    };
    let mut cases: Vec<Case> = [1, 2, 4, 8].into_iter().map(counted).collect();
    cases.extend([
        Case::new("each_of_2_cpus_of_a_q35_runs_in_the_virtual_machine", 240, |cx| {
            every_cpu(cx, |qemu| qemu.chipset(Chipset::Q35), 2)
        })
        .only_by_tcg(LOGGED),
        Case::new("a_cpu_that_the_guest_does_not_start_runs_nothing", 240, one_of_two).only_by_tcg(LOGGED),
        Case::new(format!("two_cpus_reach_the_guests_shell_on_{INTEL}"), 1200, on_bochs).beside_others(),
    ]);
    cases
}

fn every_cpu(cx: &Cx, change: fn(Qemu) -> Qemu, cpus: u32) -> Result<()> {
    let mut machine = start(cx, change, cpus, &format!("shoji.test=cpus shoji.cpus={cpus}"))?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    judge(cx, &machine, cpus)
}

/// As many CPUs have run in the virtual machine as the guest uses; on the bare machine none.
pub fn judge(cx: &Cx, machine: &Machine, cpus: u32) -> Result<()> {
    let expected = if cx.boot == Boot::Shoji { cpus as usize } else { 0 };
    let found = control_blocks(machine.exit_log()?)?;
    ensure!(
        found.len() == expected,
        "{} CPUs ran in the virtual machine instead of {expected}: {found:?}",
        found.len()
    );
    Ok(())
}

/// Shows that the count above counts: the machine has another CPU, but the guest leaves it alone.
fn one_of_two(cx: &Cx) -> Result<()> {
    let mut machine = start(cx, |qemu| qemu, 2, "shoji.test=cpus shoji.cpus=1 maxcpus=1")?;
    cx.expect_pass(&mut machine)?;
    judge(cx, &machine, 1)
}

/// The small guest on the unchanged disk, world switches logged.
fn start(cx: &Cx, change: fn(Qemu) -> Qemu, cpus: u32, args: &str) -> Result<Machine> {
    let disk = cx.small_disk()?;
    let qemu = change(cx.machine(512)?).cpus(cpus).log_exits().request(args, cx.boot.how());
    qemu.ide_disk(0, &disk.path, Writes::Dropped).start()
}

/// Control blocks that VMRUN was executed with: lines `vmrun! ADDRESS`. Each CPU in a virtual machine has its own; a CPU
/// that the guest has started by itself has none, whatever the guest counts.
fn control_blocks(log: impl BufRead) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for line in log.split(b'\n') {
        if let Some(address) = line?.strip_prefix(b"vmrun! ") {
            found.insert(String::from_utf8_lossy(address).trim().to_owned());
        }
    }
    Ok(found)
}

/// Nobody can type or ask here: the disk says what to do, and the log is read afterwards.
fn on_bochs(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    disk.request(&format!("shoji.test=cpus shoji.cpus={BOCHS_CPUS}"), cx.boot.how())?;
    let logs = cx.dir.join("bochs");
    let machine = Bochs::new(&logs, INTEL, 512)?.cpus(BOCHS_CPUS).disk(&disk.path, Writes::Dropped);
    cx.pass_on_bochs(machine, &logs, BOCHS_BUDGET_S)?;
    let log = std::fs::read(logs.join("shoji.log")).unwrap_or_default();
    cx.expect_starts(&String::from_utf8_lossy(&log), 1)
}

#[cfg(test)]
mod tests {
    use super::control_blocks;

    #[test]
    fn a_cpu_outside_of_the_virtual_machine_is_missed() {
        let log = "vmrun! 000000001f095000\nvmexit(00000072, 0, 0, 7c00)!\nvmrun! 000000001f095000\n";
        assert_eq!(control_blocks(log.as_bytes()).unwrap().len(), 1);
        let both = log.to_owned() + "vmrun! 000000001f096000\nvmrun! 0000";
        assert_eq!(control_blocks(both.as_bytes()).unwrap().len(), 3);
        assert!(control_blocks(&b"Injecting(5)\n"[..]).unwrap().is_empty());
    }
}
