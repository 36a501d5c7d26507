//! A second disk on an NVMe controller, used by a guest with several CPUs; then the raw disk is judged.

use super::disk_image::judge;
use super::inside;
use crate::case::{Case, Cx};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use testbed::disk::Disk;
use testbed::qemu::{Qemu, Writes};
use testbed::{disks, ext, program};

pub const SERIAL: &str = "SHOJI-NVME";
pub const CPUS: u32 = 2;

pub fn cases() -> Vec<Case> {
    vec![Case::new("an_nvme_drive_passes_fio_on_two_cpus_and_its_raw_sectors_are_encrypted", 600, fio)]
}

fn fio(cx: &Cx) -> Result<()> {
    let base = cx.small_disk()?;
    let drive = cx.copy_as(&base, "nvme.img")?;
    let args = format!("shoji.test=nvme shoji.fio={}m", cx.count(8, 24));
    let mut machine = machine(cx, &drive)?.request(&args, cx.boot.how()).start()?;
    cx.expect_pass(&mut machine)?;
    cx.expect_starts(&machine.shoji_log(), 1)?;
    let said = machine.console.text();
    let digest = said.lines().find_map(|line| line.trim().strip_prefix("DIGEST "));
    let digest = digest.context("the guest gave no digest")?;
    let plain = cx.plaintext(&drive)?;
    let files = cx.dir.join("fio");
    let parts: Result<Vec<Vec<u8>>> = (0..2).map(|n| ext::read_file(&plain, &format!("/verify.{n}.0"))).collect();
    std::fs::write(&files, parts?.concat())?;
    let sum = program::run(program::command("sha256sum").arg(&files))?;
    ensure!(sum.starts_with(digest), "what fio left on the disk is not what the guest read");
    judge(cx, &base, &drive, &plain)
}

/// A machine with two CPUs that boots from its IDE disk, whose configuration protects the NVMe drive too.
pub fn machine(cx: &Cx, drive: &Disk) -> Result<Qemu> {
    let disk = inside::disk_of(cx, &configuration(cx)?, "")?;
    let qemu = cx.machine(512)?.cpus(CPUS);
    Ok(qemu.ide_disk(0, &disk.path, Writes::Dropped).nvme_disk(&drive.path, SERIAL, Writes::Kept))
}

pub fn configuration(cx: &Cx) -> Result<String> {
    let key = cx.key_file()?;
    Ok(disks::configuration(&key) + &rule(&key))
}

/// Protects the second partition of the drive.
pub fn rule(key: &Path) -> String {
    format!(
        "[[disk]]\nname = \"nvme\"\ndisk = {{ model = \"QEMU NVMe Ctrl\", serial = \"{SERIAL}\" }}\n\
         range = {{ partition = 2 }}\ncipher = \"aes-xts-plain64\"\nkey-file = {:?}\n",
        key.to_string_lossy()
    )
}
