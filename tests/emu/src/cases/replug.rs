//! A disk goes away and comes back while it is written to.

use super::{fio, nvme};
use crate::case::{Case, Cx};
use anyhow::{Context, Result};
use testbed::disk::Disk;
use testbed::monitor::Monitor;
use testbed::qemu::{Machine, Writes};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("an_ahci_disk_that_the_kernel_lets_go_comes_back_protected", 400, ahci),
        Case::new("an_nvme_drive_that_is_unplugged_comes_back_protected", 400, nvme_drive),
    ]
}

/// QEMU's buses of AHCI disks take none out of a running machine: the kernel does as if.
fn ahci(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy_as(&base, "written.img")?;
    let args = "shoji.test=replug shoji.disk=sda shoji.ways=rescan+scan+delete";
    let qemu = cx.machine(512)?.cpus(2).request(args, cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Kept).start()?;
    cx.expect_pass(&mut machine)?;
    judge(cx, &base, &disk, &machine)
}

fn nvme_drive(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let drive = cx.copy_as(&base, "nvme.img")?;
    let (qemu, mut monitor) = nvme::machine(cx, &drive)?.monitor()?;
    let args = "shoji.test=replug shoji.disk=nvme0n1 shoji.ways=rescan_controller+unplug+remove+unplug";
    let mut machine = qemu.request(args, cx.boot.how()).start()?;
    for time in 1..=2 {
        replug(&mut machine, &mut monitor, &drive, time).with_context(|| format!("time {time}"))?;
    }
    cx.expect_pass(&mut machine)?;
    judge(cx, &base, &drive, &machine)
}

/// Into the slot where it was.
fn replug(machine: &mut Machine, monitor: &mut Monitor, drive: &Disk, time: u32) -> Result<()> {
    machine.expect("UNPLUG\r")?;
    monitor.unplug("nvme")?;
    machine.expect("PLUG\r")?;
    let id = format!("again{time}");
    monitor.add_drive(&id, &drive.path)?;
    monitor.plug(&nvme::device(&id))
}

fn judge(cx: &Cx, base: &Disk, disk: &Disk, machine: &Machine) -> Result<()> {
    cx.expect_starts(&machine.shoji_log(), 1)?;
    fio::judge_with(cx, base, disk, &machine.console.text())
}
