//! A disk goes away while it is written to, and comes back.
//!
//! QEMU takes no disk out of an AHCI port, so the guest's kernel lets go of one and of its port. Of both kinds it lets go of the whole
//! controller, and finds it again, perhaps at another address. An NVMe controller is really taken out; the same one comes back, or
//! another.

use super::disk_image::no_plaintext;
use super::power_cut::come_back;
use super::{fio, nvme};
use crate::case::{Boot, Case, Cx};
use anyhow::{Result, ensure};
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("an_ahci_disk_that_the_kernel_lets_go_comes_back_protected", 400, ahci),
        Case::new("a_guest_survives_that_its_nvme_drive_is_unplugged_in_mid_write", 300, unplugged),
        Case::new("an_nvme_drive_that_is_plugged_in_again_is_served_and_another_one_is_not", 400, replugged),
    ]
}

fn ahci(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy_as(&base, "written.img")?;
    let args = "shoji.test=replug shoji.disk=sda shoji.ways=rescan+scan+delete+delete+remove+remove";
    let qemu = cx.machine(512)?.cpus(2).request(args, cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Kept).start()?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    fio::judge_with(cx, &base, &disk, &machine.console.text())
}

fn unplugged(cx: &Cx) -> Result<()> {
    let drive = cx.copy_as(&cx.small_disk()?, "nvme.img")?;
    let (qemu, mut monitor) = nvme::machine(cx, &drive)?.monitor()?;
    let args = "shoji.test=replug shoji.disk=nvme0n1 shoji.ways=rescan_controller+remove+remove+unplug";
    let mut machine = qemu.request(args, cx.boot.how()).start()?;
    machine.expect("UNPLUG ")?;
    monitor.unplug("nvme")?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    come_back(&cx.plaintext(&drive)?)?;
    if cx.boot == Boot::Shoji { no_plaintext(&drive) } else { Ok(()) }
}

fn replugged(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let drive = cx.copy_as(&base, "nvme.img")?;
    let other = cx.copy_as(&base, "other.img")?;
    let (qemu, mut monitor) = nvme::machine(cx, &drive)?.monitor()?;
    let is_guarded = cx.boot == Boot::Shoji;
    // On the bare machine another disk is a disk.
    let last = if is_guarded { "exchange" } else { "replug" };
    let args = format!("shoji.test=replug shoji.disk=nvme0n1 shoji.ways=replug+{last}");
    let mut machine = qemu.request(&args, cx.boot.how()).start()?;
    for (way, id, image, serial) in
        [("REPLUG", "again", &drive, nvme::SERIAL), ("EXCHANGE", "other", &other, "ANOTHER")]
    {
        machine.expect("UNPLUG 0000:00:")?;
        let slot = machine.expect(".0")?;
        let slot = slot.trim_end_matches(".0");
        let slot = slot.get(slot.len().saturating_sub(2)..).unwrap_or_default().to_owned();
        monitor.unplug(if id == "again" { "nvme" } else { "again" })?;
        let (way, image, serial) = if is_guarded { (way, image, serial) } else { ("REPLUG", &drive, nvme::SERIAL) };
        machine.expect(way)?;
        monitor.plug_nvme(id, &image.path, serial, &slot)?;
    }
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    come_back(&cx.plaintext(&drive)?)?;
    if !is_guarded {
        return Ok(());
    }
    ensure!(machine.shoji_log().contains("another disk than"), "Shoji tells nothing of the other disk");
    ensure!(std::fs::read(&other.path)? == std::fs::read(&base.path)?, "something was written to the other disk");
    no_plaintext(&drive)
}
