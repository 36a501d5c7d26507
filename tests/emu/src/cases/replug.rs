//! A disk goes away while it is written to, and comes back.
//!
//! QEMU takes no disk out of an AHCI port, so the guest's kernel lets go of one and of its port. A whole controller can be unplugged;
//! a guest that places its registers elsewhere afterwards does not find it again, as `pci::MemoryGuard` tells.

use super::disk_image::no_plaintext;
use super::power_cut::come_back;
use super::{fio, nvme};
use crate::case::{Boot, Case, Cx};
use anyhow::Result;
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("an_ahci_disk_that_the_kernel_lets_go_comes_back_protected", 400, ahci),
        Case::new("a_guest_survives_that_its_nvme_drive_is_unplugged_in_mid_write", 300, unplugged),
    ]
}

fn ahci(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy_as(&base, "written.img")?;
    let args = "shoji.test=replug shoji.disk=sda shoji.ways=rescan+scan+delete+delete";
    let qemu = cx.machine(512)?.cpus(2).request(args, cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Kept).start()?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    fio::judge_with(cx, &base, &disk, &machine.console.text())
}

fn unplugged(cx: &Cx) -> Result<()> {
    let drive = cx.copy_as(&cx.small_disk()?, "nvme.img")?;
    let (qemu, mut monitor) = nvme::machine(cx, &drive)?.monitor()?;
    let args = "shoji.test=replug shoji.disk=nvme0n1 shoji.ways=rescan_controller+unplug";
    let mut machine = qemu.request(args, cx.boot.how()).start()?;
    machine.expect("UNPLUG\r")?;
    monitor.unplug("nvme")?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    come_back(&cx.plaintext(&drive)?)?;
    if cx.boot == Boot::Shoji { no_plaintext(&drive) } else { Ok(()) }
}
