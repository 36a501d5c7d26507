//! Q35's AHCI controller: SeaBIOS, GRUB and Linux use the disk there.

use super::disk_image::judge;
use super::{fio, inside};
use crate::case::{Boot, Case, Cx};
use anyhow::{Context, Result, ensure};
use testbed::disk::Disk;
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("seabios_grub_and_linux_boot_from_an_ahci_disk", 300, boots).beside_others(),
        Case::new("a_reboot_on_an_ahci_disk_comes_back", 300, reboots).only_in_long_runs(),
        Case::new("an_ahci_disk_passes_fio_with_32_commands_queued_and_trim", 600, passes_fio),
    ]
}

const CPUS: u32 = 2;

fn boots(cx: &Cx) -> Result<()> {
    let disk = cx.small_disk()?;
    let qemu = cx.machine(512)?.request("shoji.test=boot", cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Dropped).start()?;
    cx.expect_pass(&mut machine)?;
    if cx.boot == Boot::Shoji {
        let log = machine.shoji_log();
        ensure!(log.contains("(channel 0, unit 0), 262144 sectors"), "the rule is not applied to the AHCI disk");
        // Linux wants PCS of the chipset (92h) to enable ports that the firmware has not; that register stays the firmware's.
        let refused = log.lines().find(|line| line.contains("refused") && !line.contains("(0x92)"));
        ensure!(refused.is_none(), "Shoji has refused something of the firmware's or of Linux's: {refused:?}");
    }
    Ok(())
}

/// The firmware finds the disk again, however the guest has left its controller.
fn reboots(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy_as(&base, "written.img")?;
    let qemu = cx.machine(512)?.cpus(CPUS).request("shoji.test=reboot_once", cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Kept).start()?;
    machine.expect("REBOOTING").context("first boot")?;
    machine.expect("SECOND BOOT").context("after the reboot")?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 2)?;
    judge(cx, &base, &disk, &cx.plaintext(&disk)?)
}

fn passes_fio(cx: &Cx) -> Result<()> {
    let base = inside::disk_with(cx, "trim = true\n")?;
    let disk = cx.copy_as(&base, "written.img")?;
    let args = format!("shoji.test=fio shoji.fio={}m shoji.sizes=512-2m shoji.depth=32 shoji.trim=1", cx.count(16, 48));
    let qemu = cx.machine(512)?.cpus(CPUS).request(&args, cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Kept).start()?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    if cx.boot == Boot::Shoji {
        let empty = empty_mib(&disk)?;
        ensure!(empty >= 24, "only {empty} MiB of the 32 that were trimmed are gone from the disk");
    }
    fio::judge_with(cx, &base, &disk, &machine.console.text())
}

/// Megabytes of zeros on the raw data partition: encrypted ones there are none of.
fn empty_mib(disk: &Disk) -> Result<usize> {
    let empty =
        disk.read_data(0, disk.data.sectors)?.chunks(4096).filter(|block| block.iter().all(|it| *it == 0)).count();
    Ok(empty / 256)
}
