//! ext2 and ext4 file systems, made and checked by e2fsprogs without mounting.

use crate::mbr::Extent;
use crate::program::{command, command_as_root, run};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;

/// A file system in `image` at `extent`, filled from the folder `tree`.
///
/// `as_root` when the tree belongs to root (a Debian).
pub fn make(kind: &str, label: &str, image: &Path, extent: Extent, tree: &Path, as_root: bool) -> Result<()> {
    let mut mke2fs = if as_root { command_as_root("mke2fs") } else { command("mke2fs") };
    mke2fs.args(["-q", "-F", "-t", kind, "-L", label, "-b", "4096"]).arg("-d").arg(tree);
    // 64-byte checksummed descriptors and lazy tables would write in the background long after the first mount.
    mke2fs.args(["-E", &format!("offset={},lazy_itable_init=0,lazy_journal_init=0", extent.offset_bytes())]);
    mke2fs.arg(image).arg((extent.sectors / 8).to_string());
    run(&mut mke2fs).map(drop)
}

/// What `e2fsck` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Check {
    Clean,
    Corrected,
    Broken(String),
}

/// `e2fsck -f -y`-free check as at boot: `-p` repairs only what is safe without questions.
pub fn repair(image: &Path) -> Result<Check> {
    fsck(image, "-p")
}

/// Full check that changes nothing.
pub fn check(image: &Path) -> Result<Check> {
    fsck(image, "-fn")
}

fn fsck(image: &Path, how: &str) -> Result<Check> {
    let output = command("e2fsck").arg(how).arg(image).output().context("cannot run e2fsck")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(Check::Clean),
        Some(1) => Ok(Check::Corrected),
        Some(_) => Ok(Check::Broken(said)),
        None => bail!("e2fsck was killed"),
    }
}

/// Replaces or makes the file `name` in the file system at `extent` of `image` by the host's file `from`.
pub fn replace_file(image: &Path, extent: Extent, name: &str, from: &Path) -> Result<()> {
    let at = format!("{}?offset={}", image.display(), extent.offset_bytes());
    for request in [format!("rm {name}"), format!("write {} {name}", from.display())] {
        let output = command("debugfs").args(["-w", "-R", &request, &at]).output().context("cannot run debugfs")?;
        // Its status does not tell; what it complains about comes after its banner.
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_new = request.starts_with("rm ") && said.contains("File not found");
        ensure!(is_new || said.lines().count() <= 1, "debugfs {request}: {said}");
    }
    Ok(())
}

/// The content of a file inside the file system `image`.
pub fn read_file(image: &Path, name: &str) -> Result<Vec<u8>> {
    let output =
        command("debugfs").args(["-R", &format!("cat {name}")]).arg(image).output().context("cannot run debugfs")?;
    if !output.status.success() || String::from_utf8_lossy(&output.stderr).contains("File not found") {
        bail!("{} is not in {}: {}", name, image.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.stdout)
}
