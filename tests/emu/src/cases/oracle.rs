//! Linux's own dm-crypt as judge: `cryptsetup open --type plain -c aes-xts-plain64 -s 512` on a machine without Shoji.

use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result};
use testbed::disks;
use testbed::qemu::Writes;

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("cryptsetup_opens_a_disk_encrypted_on_the_host", 180, opens_host_made).on(On::BareOnly),
        Case::new("cryptsetup_opens_what_was_written_under_shoji", 300, opens_written_under_shoji).on(On::ShojiOnly),
        Case::new("shoji_reads_what_cryptsetup_has_made", 300, shoji_reads_cryptsetup).on(On::ShojiOnly),
    ]
}

fn opens_host_made(cx: &Cx) -> Result<()> {
    let disk = disks::small(&cx.workspace, false)?;
    cryptsetup(cx, &disk, Writes::Dropped, "open")
}

fn opens_written_under_shoji(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    let mut machine = cx.small_guest(&disk, Writes::Kept, "shoji.test=write_verify shoji.rounds=20")?;
    cx.expect_pass(&mut machine)?;
    cryptsetup(cx, &disk, Writes::Dropped, "open")
}

fn shoji_reads_cryptsetup(cx: &Cx) -> Result<()> {
    let disk = cx.copy(&cx.small_disk()?)?;
    cryptsetup(cx, &disk, Writes::Kept, "make")?;
    let mut machine = cx.small_guest(&disk, Writes::Dropped, "shoji.test=boot")?;
    cx.expect_pass(&mut machine)
}

fn cryptsetup(cx: &Cx, disk: &testbed::disk::Disk, writes: Writes, what: &str) -> Result<()> {
    let key = std::fs::read(cx.key_file()?)?;
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let args = format!("shoji.test=cryptsetup shoji.oracle={what} shoji.key={key}");
    let mut machine = cx.boot_with(disk, writes, &args, Boot::Bare)?;
    cx.expect_pass(&mut machine).context("bare machine with cryptsetup")
}
