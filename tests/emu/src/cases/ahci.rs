//! The small guest on Q35's AHCI controller: SeaBIOS and GRUB read its disk there, Linux queues its commands.

use super::fio::judge_with;
use crate::case::{Boot, Case, Cx};
use anyhow::{Result, ensure};
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![Case::new("the_small_guest_passes_fio_on_ahci_with_32_requests_at_a_time", 240, fio).beside_others()]
}

fn fio(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let disk = cx.copy(&base)?;
    let args = format!("shoji.test=fio shoji.depth=32 shoji.fio={}m", cx.count(16, 64));
    let qemu = cx.machine(512)?.request(&args, cx.boot.how());
    let mut machine = qemu.ahci_disk(0, &disk.path, Writes::Kept).start()?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    let taken = machine.shoji_log().contains("ahci 00:1f.2");
    ensure!(taken == (cx.boot == Boot::Shoji), "Shoji's log does not tell of the controller");
    judge_with(cx, &base, &disk, &machine.console.text())
}
