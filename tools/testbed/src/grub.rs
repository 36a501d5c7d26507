//! GRUB for BIOS machines, put in place by hand: `boot.img` in sector 0, `core.img` from sector 1 on, where its own
//! defaults expect it.

use crate::mbr::{self, Extent};
use crate::program::{command, run};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where Debian and its relatives keep GRUB's images.
const IMAGES: &str = "/usr/lib/grub/i386-pc";
/// All that the generated configurations use, so that no module has to be looked for at boot.
const MODULES: [&str; 19] = [
    "biosdisk",
    "part_msdos",
    "part_gpt",
    "ext2",
    "normal",
    "configfile",
    "linux",
    "multiboot",
    "multiboot2",
    "serial",
    "terminal",
    "memrw",
    "smbios",
    "loadenv",
    "test",
    "echo",
    "boot",
    "reboot",
    "halt",
];
/// Byte of the BIOS data area by which GRUB knows that it runs inside Shoji, and its value as GRUB prints it.
pub const FLAG_ADDRESS: &str = "0x4f0";
pub const FLAG_VALUE: &str = "53";

/// What the boot menu says and hands to the kernel.
pub struct Menu<'a> {
    pub name: &'a str,
    pub kernel_args: &'a str,
}

/// `boot/grub` below `tree`: configuration and an empty environment block.
pub fn write_configuration(tree: &Path, menu: &Menu<'_>) -> Result<()> {
    let dir = tree.join("boot/grub");
    fs::create_dir_all(&dir)?;
    let text = include_str!("../guest/grub.cfg")
        .replace("@NAME@", menu.name)
        .replace("@KERNEL_ARGS@", menu.kernel_args)
        .replace("@FLAG_ADDRESS@", FLAG_ADDRESS)
        .replace("@FLAG_VALUE@", FLAG_VALUE);
    fs::write(dir.join("grub.cfg"), text)?;
    let mut environment = b"# GRUB Environment Block\n".to_vec();
    environment.resize(1024, b'#');
    fs::write(dir.join("grubenv"), environment).context("cannot write grubenv")
}

/// Boot code and partition table: sectors 0 up to the first partition.
pub fn install(disk: &File, partitions: &[Extent], scratch: &Path) -> Result<()> {
    let core = scratch.join("core.img");
    let mut mkimage = command("grub-mkimage");
    // "(,msdos1)": the first partition of the disk that the firmware booted, whatever its number.
    mkimage.args(["-O", "i386-pc", "-p", "(,msdos1)/boot/grub", "-o"]).arg(&core).args(MODULES);
    run(&mut mkimage)?;
    let core = fs::read(core)?;
    let room = partitions.first().map_or(0, |boot| boot.first_lba.saturating_sub(1) * 512);
    ensure!(
        core.len() as u64 <= room,
        "GRUB's core.img has {} bytes, the gap before partition 1 only {room}",
        core.len()
    );
    let boot = Path::new(IMAGES).join("boot.img");
    let boot = fs::read(&boot).with_context(|| format!("cannot read {}: is grub-pc-bin installed?", boot.display()))?;
    disk.write_all_at(&mbr::encode(&boot, partitions)?, 0)?;
    disk.write_all_at(&core, 512).context("cannot write GRUB's core.img")
}
