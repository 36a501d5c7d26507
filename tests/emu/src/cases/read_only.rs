//! Ranges that may only be read, on an IDE disk and an NVMe drive: the guest is told so by each in its own way, and lives with it.

use super::disk_image::changed_sectors;
use super::luks2::configure;
use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::fs;
use testbed::disk::Disk;
use testbed::disks;
use testbed::program::{command, run};
use testbed::qemu::Writes;

const SERIAL: &str = "SHOJI-RO";
/// What the guest reads for the host.
const READ_BYTES: usize = 2 << 20;

pub fn cases() -> Vec<Case> {
    vec![Case::new("read_only_ranges_of_ide_and_nvme_are_read_and_never_written", 500, read_only).on(On::ShojiOnly)]
}

fn read_only(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let (ide, nvme) = (cx.copy_as(&base, "ide.img")?, cx.copy_as(&base, "nvme.img")?);
    let rule = format!(
        "access = \"read-only\"\n[[disk]]\nname = \"nvme\"\ndisk = {{ serial = \"{SERIAL}\" }}\nrange = {{ partition = 2 }}\n\
         format = \"plain\"\naccess = \"read-only\"\n"
    );
    configure(cx, &ide, &(disks::configuration(&cx.key_file()?) + &rule))?;
    let before = cx.copy_as(&ide, "before.img")?;
    let qemu = cx.machine(512)?.request("shoji.test=read_only", Boot::Shoji.how());
    let mut machine = qemu.ide_disk(0, &ide.path, Writes::Kept).nvme_disk(&nvme.path, SERIAL, Writes::Kept).start()?;
    cx.expect_pass(&mut machine)?;
    let log = machine.shoji_log();
    cx.expect_starts(&log, 1)?;
    ensure!(log.matches(", read-only").count() == 2, "two rules: {log}");
    let said = machine.console.text();
    // NVMe figure 98: attempted write to read only range.
    ensure!(said.contains("(sct 0x1 / sc 0x82)"), "the NVMe drive does not say why it was not written");
    ensure!(said.contains("error: { UNC }"), "the IDE disk does not say that it has aborted a write");
    let plain = fs::read(cx.plaintext(&ide)?)?;
    let raw = nvme.read_data(0, READ_BYTES as u64 / 512)?;
    for (name, expected) in [("sda2", &plain[..READ_BYTES]), ("nvme0n1p2", &raw)] {
        let file = cx.dir.join(name);
        fs::write(&file, expected)?;
        let sum = run(command("sha256sum").arg(&file))?;
        let told =
            said.lines().find_map(|line| line.trim().strip_prefix(&format!("READ {name} "))).context("no READ")?;
        ensure!(sum.starts_with(told), "{name} reads as something else");
    }
    unchanged(&before, &ide)?;
    unchanged(&base, &nvme)
}

/// All but the eight sectors in front of the range, where the guest may write.
fn unchanged(before: &Disk, after: &Disk) -> Result<()> {
    let beside = after.data.first_lba - 8..after.data.first_lba;
    let changed = changed_sectors(before, after, 0..after.all_sectors()?)?;
    ensure!(changed == Vec::from_iter(beside), "these sectors have changed: {changed:?}");
    Ok(())
}
