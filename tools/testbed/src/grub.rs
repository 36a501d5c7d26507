//! GRUB for BIOS machines, put in place by hand: `boot.img` in sector 0, `core.img` from sector 1 on, where its own
//! defaults expect it.

use crate::mbr::{self, Extent};
use crate::program::{command, run};
use anyhow::{Context, Result, anyhow, ensure};
use shoji::grub::{Entry, GrubPath, HeaderFile};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

/// Where Debian and its relatives keep GRUB's images.
const IMAGES: &str = "/usr/lib/grub/i386-pc";
/// What the disk's configuration uses besides the menu that the `shoji` tool makes; embedded, so that no module has to be
/// looked for at boot.
const MODULES: [&str; 13] = [
    "biosdisk",
    "part_msdos",
    "part_gpt",
    "ext2",
    "configfile",
    "linux",
    "multiboot",
    "serial",
    "terminal",
    "smbios",
    "boot",
    "reboot",
    "halt",
];
/// The guest owns COM2 and GRUB its console.
const CONSOLE: &str = "serial --unit=1 --speed=115200\nterminal_input serial console\nterminal_output serial console\n";

/// How kernels are started, and other ways to boot.
pub const ENTRIES: &str = include_str!("../guest/entries.cfg");

/// What the boot menu says and hands to the kernel.
pub struct Menu<'a> {
    pub name: &'a str,
    pub kernel_args: &'a str,
    pub timeout_s: u32,
}

impl Menu<'_> {
    /// The whole `grub.cfg`. `headers` are the paths of LUKS2 headers that GRUB loads.
    pub fn configuration(&self, headers: &[&str]) -> Result<String> {
        let path = |path: &str| GrubPath::from_str(path).map_err(|why| anyhow!("{path}: {why}"));
        let (image, config) = (path("/shoji/shoji.elf")?, path("/shoji/shoji.conf")?);
        let entries = ENTRIES.replace("@NAME@", self.name).replace("@KERNEL_ARGS@", self.kernel_args);
        let headers =
            headers.iter().map(|header| HeaderFile::from_str(header).map_err(|why| anyhow!("{header}: {why}")));
        let headers = headers.collect::<Result<_>>()?;
        let menu = shoji::grub::standalone(&Entry { image, config, headers, timeout_s: self.timeout_s }, &entries);
        Ok(CONSOLE.to_owned() + &menu)
    }
}

/// A request as a file that `grub.cfg` reads, where no SMBIOS carries it; see `Qemu::request`.
pub const REQUEST: &str = "/boot/grub/request.cfg";

/// What is in that file.
pub fn request(kernel_args: &str, how: &str) -> String {
    format!("set request=\"{kernel_args}\"\nset way=\"{how}\"\n")
}

/// `boot/grub` below `tree`: configuration, no request, and an empty environment block.
pub fn write_configuration(tree: &Path, menu: &Menu<'_>) -> Result<()> {
    let dir = tree.join("boot/grub");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("grub.cfg"), menu.configuration(&[])?)?;
    fs::write(dir.join("request.cfg"), "")?;
    fs::write(dir.join("grubenv"), shoji::grub::environment_block()).context("cannot write grubenv")
}

/// Boot code and partition table: sectors 0 up to the first partition.
pub fn install(disk: &File, partitions: &[Extent], scratch: &Path) -> Result<()> {
    let core = scratch.join("core.img");
    let mut mkimage = command("grub-mkimage");
    // "(,msdos1)": the first partition of the disk that the firmware booted, whatever its number.
    mkimage
        .args(["-O", "i386-pc", "-p", "(,msdos1)/boot/grub", "-o"])
        .arg(&core)
        .args(MODULES)
        .args(shoji::grub::MODULES);
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
