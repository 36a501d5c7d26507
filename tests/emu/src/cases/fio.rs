//! fio in the small guest writes and verifies; then the raw disk is judged.

use super::disk_image::judge;
use crate::case::{Case, Cx};
use anyhow::{Context, Result, ensure};
use testbed::bochs::Bochs;
use testbed::disk::Disk;
use testbed::ext;
use testbed::program::{command, run};
use testbed::qemu::Writes;

/// VT-x with EPT and unrestricted guest.
const INTEL: &str = "corei7_haswell_4770";
/// AMD-V with nested paging, and next-RIP save, which QEMU has not.
const AMD: &str = "trinity_apu";
/// Twice what a run takes: 2.0 G instructions, of which 0.7 G until the kernel is unpacked.
const BUDGET_S: u64 = 80;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("the_small_guest_passes_fio", 180, by_qemu).beside_others(),
        on_bochs(INTEL),
        on_bochs(AMD).only_in_long_runs(),
    ]
}

fn on_bochs(model: &'static str) -> Case {
    Case::new(format!("the_small_guest_passes_fio_on_{model}"), 1200, |cx| by_bochs(cx, model)).beside_others()
}

fn by_qemu(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy(&base)?;
    let mut machine = cx.small_guest(&disk, Writes::Kept, "shoji.test=fio shoji.fio=16m")?;
    cx.expect_pass(&mut machine)?;
    judge_with(cx, &base, &disk, &machine.console.text())
}

/// Nobody can type or ask here: the disk says what to do, and the logs are read afterwards.
fn by_bochs(cx: &Cx, model: &str) -> Result<()> {
    let base = cx.copy(&cx.small_disk()?)?;
    base.request("shoji.test=fio shoji.fio=2m", cx.boot.how())?;
    let disk = cx.copy_as(&base, "written.img")?;
    let logs = cx.dir.join("bochs");
    let machine = Bochs::new(&logs, model, 512)?.disk(&disk.path, Writes::Kept);
    let said = cx.pass_on_bochs(machine, &logs, BUDGET_S)?;
    judge_with(cx, &base, &disk, &said)
}

/// The file that fio left, read on the host, is what the guest has read; and all that is true of every disk.
pub fn judge_with(cx: &Cx, base: &Disk, disk: &Disk, said: &str) -> Result<()> {
    let digest = said.lines().find_map(|line| line.trim().strip_prefix("DIGEST "));
    let digest = digest.context("the guest gave no digest")?;
    let plain = cx.plaintext(disk)?;
    let file = cx.dir.join("fio");
    std::fs::write(&file, ext::read_file(&plain, "/fio")?)?;
    ensure!(
        run(command("sha256sum").arg(&file))?.starts_with(digest),
        "fio's file on the disk is not what the guest read"
    );
    judge(cx, base, disk, &plain)
}
