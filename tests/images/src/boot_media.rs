//! The boot medium: a disk with GRUB, Shoji and its configuration.
//!
//! GRUB's own boot sector and core image lie in the sectors before a partition that holds a plain tar archive, which
//! GRUB reads as a file system; the core image carries the few commands to run. No installer, no loop device.
//! GNU GRUB 2.06 manual, s. 3.4 (BIOS installation), 5.3 (multiboot2).

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

const SECTOR: usize = 512;
const PARTITION_LBA: u32 = 2048;
const GRUB_IMAGES: &str = "/usr/lib/grub/i386-pc";
const COMMANDS: &str = "\
set root=(hd0,msdos1)
multiboot2 /shoji.elf
module2 /shoji.cfg
boot
";

/// Writes a disk image that starts Shoji with a configuration (see [`crate::blob`]). It must be the machine's first disk (BIOS 80h).
///
/// # Errors
/// When `grub-mkimage` or its BIOS images are missing (Debian: grub-common, grub-pc-bin), or a file cannot be read or
/// written.
pub fn boot_media(shoji_elf: &Path, blob: &[u8], medium: &Path) -> io::Result<()> {
    let mut archive = Vec::new();
    append_file(&mut archive, "shoji.elf", &fs::read(shoji_elf)?);
    append_file(&mut archive, "shoji.cfg", blob);
    archive.resize(archive.len() + 2 * SECTOR, 0); // the end mark of an archive

    let mut disk = boot_sector(archive.len().div_ceil(SECTOR) as u32)?;
    disk.extend(core_image(medium)?);
    let partition = PARTITION_LBA as usize * SECTOR;
    if disk.len() > partition {
        return Err(io::Error::other(format!("GRUB's core image is too long: {} bytes", disk.len())));
    }
    disk.resize(partition, 0);
    disk.extend(archive);
    disk.resize(disk.len().next_multiple_of(1 << 20), 0);
    fs::write(medium, disk)
}

/// GRUB's boot sector (which loads sector 1) with a partition table of one entry.
fn boot_sector(partition_sectors: u32) -> io::Result<Vec<u8>> {
    let mut sector = fs::read(Path::new(GRUB_IMAGES).join("boot.img"))?;
    sector.resize(SECTOR, 0);
    sector[446..510].fill(0);
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&PARTITION_LBA.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&partition_sectors.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    Ok(sector)
}

fn core_image(medium: &Path) -> io::Result<Vec<u8>> {
    let commands = medium.with_extension("grub");
    let core = medium.with_extension("core");
    fs::write(&commands, COMMANDS)?;
    let status = Command::new("grub-mkimage")
        .args(["--format=i386-pc", "--prefix=(hd0,msdos1)", "--config"])
        .arg(&commands)
        .arg("--output")
        .arg(&core)
        .args(["biosdisk", "part_msdos", "tar", "multiboot2"])
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
