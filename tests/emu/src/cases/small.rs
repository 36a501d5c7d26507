//! The small guest boots and uses its disk.

use crate::case::{Case, Cx};
use anyhow::{Context, Result, ensure};
use testbed::ext::{self, Check};
use testbed::qemu::{Qemu, Writes};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("small_guest_boots_and_reads_its_disk", 120, boots),
        Case::new("a_boot_with_smm_off_works_too", 120, boots_without_smm),
        Case::new("small_guest_boots_with_6_gib", 180, boots_with_6_gib),
        Case::new("small_guest_boots_with_3_gib", 180, boots_with_3_gib).only_in_long_runs(),
        Case::new("pieces_of_all_sizes_read_back_as_written", 300, writes_and_reads_back),
        Case::new("a_reboot_inside_the_guest_comes_back", 240, reboots),
    ]
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
