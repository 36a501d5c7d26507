//! The boot medium: a CD with GRUB, Shoji and its configuration.
//!
//! A firmware that boots from CD leaves the numbers of the hard disks alone, so that the guest's disk is 80h with and
//! without Shoji, in QEMU and in Bochs. The whole CD is one tar archive, which GRUB reads as a file system; its first
//! member holds what the firmware looks for: boot record, boot catalog, and GRUB with the few commands to run. No
//! installer, no loop device.
//! "El Torito" Bootable CD-ROM Format Specification 1.0; GNU GRUB 2.06 manual, s. 5.3 (multiboot2).

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

const SECTOR: usize = 512;
/// A sector of a CD.
const CD_SECTOR: usize = 2048;
/// Where an ISO 9660 volume would have its primary descriptor; the boot record follows it. (El Torito s. 2.0)
const PRIMARY_DESCRIPTOR: usize = 16;
const BOOT_RECORD: usize = 17;
const CATALOG: usize = 18;
const GRUB: usize = 19;
/// GRUB reads this much at once, and fails where a CD ends before.
const GRUB_READS: usize = 32768;
const MODULES: [&str; 3] = ["biosdisk", "tar", "multiboot2"];
// `multiboot2` asks for the best graphics mode; it shall be what `mode` says, or text.
const COMMANDS: &str = "\
set root=(cd)
multiboot2 /shoji.elf
module2 /shoji.cfg
set gfxpayload=$mode
";

/// Name of the key file on the medium.
const KEY: &str = "shoji.key";

/// What Shoji is given.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The configuration; see [`crate::blob`].
    pub blob: &'a [u8],
    /// A key file that opens it.
    pub key: Option<&'a [u8]>,
}

/// What GRUB does before it starts Shoji: a command, and the module that has it.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    pub module: &'static str,
    pub command: &'static str,
}

/// Writes a CD image that starts Shoji.
///
/// # Errors
/// When `grub-mkimage` or its BIOS images are missing (Debian: grub-common, grub-pc-bin), or a file cannot be read or
/// written.
pub fn boot_media(shoji_elf: &Path, files: &Files<'_>, before: Option<Before>, medium: &Path) -> io::Result<()> {
    let boot_area = boot_area(core_image(files, before, medium)?)
        .ok_or_else(|| io::Error::other("GRUB's image is none for a CD"))?;
    let mut archive = Vec::new();
    append_file(&mut archive, "boot", boot_area.get(SECTOR..).unwrap_or_default()); // its header comes before it
    append_file(&mut archive, "shoji.elf", &fs::read(shoji_elf)?);
    append_file(&mut archive, "shoji.cfg", files.blob);
    if let Some(key) = files.key {
        append_file(&mut archive, KEY, key);
    }
    archive.resize((archive.len() + 2 * SECTOR).next_multiple_of(GRUB_READS), 0); // the end mark of an archive
    fs::write(medium, archive)
}

/// The CD from its first byte to the end of GRUB.
fn boot_area(mut grub: Vec<u8>) -> Option<Vec<u8>> {
    // The boot information table, by which GRUB's first sector finds the others.
    let table = [PRIMARY_DESCRIPTOR, GRUB, grub.len()].map(|value| (value as u32).to_le_bytes());
    grub.get_mut(8..20)?.copy_from_slice(table.as_flattened());

    let mut area = vec![0; GRUB * CD_SECTOR];
    let mut put = |at: usize, bytes: &[u8]| area[at..at + bytes.len()].copy_from_slice(bytes);
    let record = BOOT_RECORD * CD_SECTOR; // El Torito figure 7
    put(record + 1, b"CD001\x01EL TORITO SPECIFICATION");
    put(record + 0x47, &(CATALOG as u32).to_le_bytes());
    let catalog = CATALOG * CD_SECTOR; // El Torito figures 2 and 3
    put(catalog, &[1]); // validation entry, for x86
    put(catalog + 0x1c, &[0xaa, 0x55, 0x55, 0xaa]); // makes the sum of its words 0 with the first one
    put(catalog + 0x20, &[0x88]); // bootable, without emulation of a disk, at the usual address
    put(catalog + 0x26, &4u16.to_le_bytes()); // sectors of 512 bytes to load: GRUB's first one
    put(catalog + 0x28, &(GRUB as u32).to_le_bytes());
    area.extend(grub);
    Some(area)
}

fn core_image(files: &Files<'_>, before: Option<Before>, medium: &Path) -> io::Result<Vec<u8>> {
    let commands = medium.with_extension("grub");
    let core = medium.with_extension("core");
    let first = before.map_or(String::new(), |before| format!("{}\n", before.command));
    let key = files.key.map_or(String::new(), |_| format!("module2 /{KEY}\n"));
    fs::write(&commands, first + COMMANDS + &key + "boot\n")?;
    let status = Command::new("grub-mkimage")
        .args(["--format=i386-pc-eltorito", "--prefix=(cd)", "--config"])
        .arg(&commands)
        .arg("--output")
        .arg(&core)
        .args(MODULES.into_iter().chain(before.map(|before| before.module)))
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("grub-mkimage failed: {status}")));
    }
    let image = fs::read(&core)?;
    fs::remove_file(&commands)?;
    fs::remove_file(&core)?;
    Ok(image)
}

/// Appends a file to an archive. IEEE Std 1003.1-2017, pax, "ustar Interchange Format".
fn append_file(archive: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut header = [0u8; SECTOR];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend(header);
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(SECTOR), 0);
}

#[cfg(test)]
mod tests {
    use super::append_file;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn the_archive_is_read_by_tar() {
        let mut archive = Vec::new();
        append_file(&mut archive, "one", b"first");
        append_file(&mut archive, "two", &[b'x'; 1000]);
        archive.resize(archive.len() + 1024, 0);
        let mut tar = Command::new("tar")
            .args(["-xO", "-f", "-", "two", "one"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        tar.stdin.take().expect("piped").write_all(&archive).expect("tar reads");
        let out = tar.wait_with_output().expect("tar ends");
        assert!(out.status.success());
        assert_eq!(out.stdout, [b"first".as_slice(), &[b'x'; 1000]].concat());
    }
}
