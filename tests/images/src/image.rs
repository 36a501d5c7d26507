//! From the programs `tiny` and `attack` to bootable disks.

use crate::TinyGuest;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of a guest's disk, in sectors: 32 MiB, a sparse file.
pub const DISK_SECTORS: u64 = 65536;

/// Where the boot sector keeps its parameters: name, first LBA and number of sectors of the encrypted range.
const NAME: std::ops::Range<usize> = 4..20;
const RANGE: std::ops::Range<usize> = 20..28;

/// Builds the programs that hold all guests; gives the folder of their flat images (boot sector first).
///
/// # Errors
/// When cargo cannot be run, or the build fails (cargo has said why on standard error).
pub fn build_programs(workspace: &Path) -> io::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace)
        .env("RUSTC_BOOTSTRAP", "1") // build-std and the target file are unstable options of a pinned stable compiler
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "tiny",
            "--target",
            "x86_64-vmm.json",
            "-Zjson-target-spec",
        ])
        .args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"])
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("building the tiny guests failed: {status}")));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    Ok(target.join("x86_64-vmm/release"))
}

/// Writes the disk of one guest, from the folder of the programs.
///
/// # Errors
/// When the program cannot be read, has no boot sector, would reach into the encrypted range, or the disk cannot be
/// written.
pub fn write_disk(programs: &Path, guest: &TinyGuest, disk: &Path) -> io::Result<()> {
    let program = programs.join(guest.program);
    let image = for_guest(fs::read(&program)?, guest)
        .ok_or_else(|| io::Error::other(format!("{} is no program of guests", program.display())))?;
    let mut file = File::create(disk)?;
    file.write_all(&image)?;
    file.set_len(DISK_SECTORS * 512)
}

fn for_guest(mut image: Vec<u8>, guest: &TinyGuest) -> Option<Vec<u8>> {
    let range = guest.encrypted.map_or([0, 0], |s| [s.first, s.count]);
    let end = if range[1] == 0 { DISK_SECTORS } else { u64::from(range[0]) };
    if image.get(510..512)? != [0x55, 0xaa] || image.len() as u64 > end * 512 || guest.name.len() > NAME.len() {
        return None;
    }
    image.get_mut(NAME)?[..guest.name.len()].copy_from_slice(guest.name.as_bytes());
    for (bytes, value) in image.get_mut(RANGE)?.chunks_exact_mut(4).zip(range) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
    Some(image)
}

#[cfg(test)]
mod tests {
    use super::for_guest;
    use crate::all;

    fn program(len: usize) -> Vec<u8> {
        let mut program = vec![0; len];
        program[510..512].copy_from_slice(&[0x55, 0xaa]);
        program
    }

    #[test]
    fn the_boot_sector_names_the_guest_and_its_encrypted_range() {
        let guest = all().find(|g| g.encrypted.is_some()).expect("a guest with an encrypted range");
        let range = guest.encrypted.expect("just asked");
        let image = for_guest(program(1024), guest).expect("a good program");
        assert!(image[4..20].starts_with(guest.name.as_bytes()));
        assert_eq!(image[20..24], range.first.to_le_bytes());
        assert_eq!(image[24..28], range.count.to_le_bytes());
    }

    #[test]
    fn a_program_without_boot_signature_or_too_long_is_refused() {
        let guest = all().find(|g| g.encrypted.is_some()).expect("a guest with an encrypted range");
        let first = guest.encrypted.expect("just asked").first as usize;
        assert!(for_guest(vec![0; 1024], guest).is_none());
        assert!(for_guest(vec![0; 100], guest).is_none());
        assert!(for_guest(program(first * 512), guest).is_some());
        assert!(for_guest(program(first * 512 + 1), guest).is_none());
    }

    #[test]
    fn every_guest_has_a_name_that_fits_and_a_range_on_the_disk() {
        for guest in all() {
            assert!(!guest.name.is_empty() && guest.name.len() <= 16, "{}", guest.name);
            assert!(!guest.purpose.is_empty() && guest.timeout_s > 0, "{}", guest.name);
            assert_eq!(all().filter(|g| g.name == guest.name).count(), 1, "{}", guest.name);
            if let Some(range) = guest.encrypted {
                assert!(u64::from(range.first) + u64::from(range.count) < super::DISK_SECTORS, "{}", guest.name);
            }
        }
    }
}
