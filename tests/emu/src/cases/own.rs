//! Shoji itself reads a second disk while the guest does.

use super::{inside, nvme};
use crate::case::{Case, Cx, On};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use testbed::disk::Disk;
use testbed::disks;
use testbed::qemu::{Qemu, Writes};

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("shoji_itself_reads_an_nvme_drive_beside_the_guest", 240, of_nvme).on(On::ShojiOnly),
        Case::new("shoji_itself_reads_an_ide_disk_beside_the_guest", 240, of_ide).on(On::ShojiOnly),
    ]
}

fn of_nvme(cx: &Cx) -> Result<()> {
    let add = |qemu: Qemu, drive: &Disk| qemu.nvme_disk(&drive.path, nvme::SERIAL, Writes::Kept);
    reads(cx, "nvme0n1", &nvme::configuration(cx)?, add)
}

/// Both disks are on one channel, which takes one command at a time.
fn of_ide(cx: &Cx) -> Result<()> {
    let key = cx.key_file()?;
    let configuration = disks::configuration(&key) + &second(&key);
    reads(cx, "sdb", &configuration, |qemu, drive| qemu.ide_disk(1, &drive.path, Writes::Kept))
}

/// Protects the second partition of the primary slave.
fn second(key: &Path) -> String {
    format!(
        "[[disk]]\nname = \"second\"\ndisk = {{ channel = 0, unit = 1 }}\nrange = {{ partition = 2 }}\n\
         cipher = \"aes-xts-plain64\"\nkey-file = {:?}\n",
        key.to_string_lossy()
    )
}

/// What a program in ring 3 reads, while the guest reads the same drive, is the partition's plaintext.
fn reads(cx: &Cx, name: &str, configuration: &str, add: impl Fn(Qemu, &Disk) -> Qemu) -> Result<()> {
    let disk = inside::disk_of(cx, configuration, inside::ALLOWED)?;
    // Whichever of the two the guest takes for its boot partition, the shell's key is there.
    let drive = cx.copy_as(&disk, "second.img")?;
    let args = format!("shoji.test=own shoji.disk={name}");
    let qemu = cx.machine(512)?.cpus(nvme::CPUS).request(&args, cx.boot.how());
    let mut machine = add(qemu.ide_disk(0, &disk.path, Writes::Dropped), &drive).start()?;
    cx.expect_pass(&mut machine)?;
    let said = machine.console.text();
    ensure!(!said.contains("DD FAILED"), "the guest could not read meanwhile");
    let plain = std::fs::read(cx.plaintext(&drive)?)?;
    for bytes in [512, 4096, 100_000] {
        let sum = adler32(plain.get(..bytes).context("a short partition")?);
        let line = format!("Adler-32 {sum:08x}");
        let told = said.lines().any(|told| told.starts_with(&format!("OWN {bytes} bytes ")) && told.contains(&line));
        ensure!(told, "no `{line}` of {bytes} bytes");
    }
    Ok(())
}

/// RFC 1950 s. 8.2.
fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}
