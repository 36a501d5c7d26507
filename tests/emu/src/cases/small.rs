//! The small guest boots and uses its disk.

use crate::case::{Case, Cx, On};
use anyhow::{Context, Result, ensure};
use testbed::ext::{self, Check};
use testbed::qemu::{Qemu, Writes};

pub fn cases() -> Vec<Case> {
    let cases = vec![
        Case::new("small_guest_boots_and_reads_its_disk", 120, boots),
        Case::new("a_boot_with_smm_off_works_too", 120, boots_without_smm),
        Case::new("small_guest_boots_with_6_gib", 180, boots_with_6_gib),
        Case::new("small_guest_boots_with_3_gib", 180, boots_with_3_gib).only_in_long_runs(),
        Case::new("pieces_of_all_sizes_read_back_as_written", 300, writes_and_reads_back),
        Case::new("a_boot_by_multiboot_1_works_too", 120, boots_by_multiboot1).on(On::ShojiOnly),
        Case::new("reboot_typed_in_grub_comes_back_under_shoji", 180, grub_reboots).on(On::ShojiOnly),
        Case::new("a_reboot_inside_the_guest_comes_back", 240, reboots),
    ];
    cases.into_iter().map(Case::beside_others).collect()
}

fn boots_by_multiboot1(cx: &Cx) -> Result<()> {
    let disk = cx.small_disk()?;
    let qemu = cx.machine(512)?.request("shoji.test=boot", "multiboot1");
    cx.expect_pass(&mut qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?)
}

/// GRUB's `reboot` switches A20 off before it resets the machine.
fn grub_reboots(cx: &Cx) -> Result<()> {
    let disk = cx.small_disk()?;
    let qemu = cx.machine(512)?.request("shoji.test=boot", "prompt");
    let mut machine = qemu.ide_disk(0, &disk.path, Writes::Dropped).start()?;
    machine.expect("Starting Shoji")?;
    machine.expect("*Small guest").context("GRUB's menu in the second pass")?;
    machine.console.send("c")?;
    machine.expect("grub>")?;
    machine.console.send("reboot\r")?;
    machine.expect("Starting Shoji").context("after GRUB's reboot")?;
    machine.expect("*Small guest").context("after GRUB's reboot")?;
    machine.console.send("\r")?;
    cx.expect_pass(&mut machine)
}

fn boots(cx: &Cx) -> Result<()> {
    let mut machine = cx.small_guest(&cx.small_disk()?, Writes::Dropped, "shoji.test=boot")?;
    cx.expect_pass(&mut machine)
}

fn boots_without_smm(cx: &Cx) -> Result<()> {
    cx.expect_pass(&mut cx.small_guest_in(512, Qemu::without_smm, "shoji.test=boot")?)
}

fn boots_with_6_gib(cx: &Cx) -> Result<()> {
    cx.expect_pass(&mut cx.small_guest_in(6144, |qemu| qemu, "shoji.test=boot")?)
}

fn boots_with_3_gib(cx: &Cx) -> Result<()> {
    cx.expect_pass(&mut cx.small_guest_in(3072, |qemu| qemu, "shoji.test=boot")?)
}

fn writes_and_reads_back(cx: &Cx) -> Result<()> {
    let args = format!("shoji.test=write_verify shoji.rounds={}", cx.count(60, 1000));
    let mut machine = cx.small_guest(&cx.small_disk()?, Writes::Dropped, &args)?;
    cx.expect_pass(&mut machine)
}

fn reboots(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    let mut machine = cx.small_guest(&disk, Writes::Kept, "shoji.test=reboot_once")?;
    machine.expect("REBOOTING").context("first boot")?;
    machine.expect("SECOND BOOT").context("after the reboot")?;
    cx.expect_pass(&mut machine)?;
    let found = ext::check(&cx.plaintext(&disk)?)?;
    ensure!(found == Check::Clean, "e2fsck after an orderly end: {found:?}");
    Ok(())
}
