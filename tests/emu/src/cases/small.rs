//! The small guest boots and uses its disk.

use crate::case::{Case, Cx, On, Tier};
use anyhow::{Context, Result, ensure};
use testbed::ext::{self, Check};
use testbed::qemu::{Qemu, Writes};

pub fn cases() -> Vec<Case> {
    vec![
        Case { name: "small_guest_boots_and_reads_its_disk", tier: Tier::Ci, on: On::Both, timeout_s: 120, run: boots },
        Case {
            name: "a_boot_with_smm_off_works_too",
            tier: Tier::Ci,
            on: On::Both,
            timeout_s: 120,
            run: boots_without_smm,
        },
        Case {
            name: "small_guest_boots_with_6_gib",
            tier: Tier::Ci,
            on: On::Both,
            timeout_s: 180,
            run: boots_with_6_gib,
        },
        Case {
            name: "small_guest_boots_with_3_gib",
            tier: Tier::Long,
            on: On::Both,
            timeout_s: 180,
            run: boots_with_3_gib,
        },
        Case {
            name: "pieces_of_all_sizes_read_back_as_written",
            tier: Tier::Ci,
            on: On::Both,
            timeout_s: 300,
            run: writes_and_reads_back,
        },
        Case {
            name: "a_reboot_inside_the_guest_comes_back",
            tier: Tier::Ci,
            on: On::Both,
            timeout_s: 240,
            run: reboots,
        },
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
