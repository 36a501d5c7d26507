//! The disks that boot this clone's `shoji.elf`, and what they share: configuration and key.

use crate::disk::{Disk, Shoji};
use crate::{Workspace, artifact, demo, small};
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// The small test guest; `plain` is not encrypted and without Shoji, for comparing with the bare machine.
pub fn small(workspace: &Workspace, plain: bool) -> Result<Disk> {
    if plain {
        return small::disk(workspace, "small-plain.img", None, None);
    }
    let parts = Parts::ensure(workspace)?;
    small::disk(workspace, "small.img", Some(parts.shoji()), Some(&parts.key))
}

/// Debian, for the user to play with: what is stored on it stays. `plain` as for [`small`].
pub fn demo(workspace: &Workspace, plain: bool) -> Result<Disk> {
    debian(workspace, plain, ["demo.img", "demo-plain.img"])
}

/// Debian as it was made: tests work on copies.
pub fn demo_for_tests(workspace: &Workspace, plain: bool) -> Result<Disk> {
    debian(workspace, plain, ["debian.img", "debian-plain.img"])
}

fn debian(workspace: &Workspace, plain: bool, [encrypted_file, plain_file]: [&str; 2]) -> Result<Disk> {
    if plain {
        return demo::disk(workspace, plain_file, None, None);
    }
    let parts = Parts::ensure(workspace)?;
    demo::disk(workspace, encrypted_file, Some(parts.shoji()), Some(&parts.key))
}

/// What a disk with Shoji holds besides the guest.
pub struct Parts {
    pub elf: PathBuf,
    pub config: PathBuf,
    pub key: PathBuf,
}

impl Parts {
    pub fn ensure(workspace: &Workspace) -> Result<Self> {
        let elf = workspace.shoji_elf()?;
        ensure!(elf.exists(), "{} is not there: run `cargo xtask build` first", elf.display());
        Ok(Self { elf, config: config(workspace)?, key: key(workspace)? })
    }

    pub fn shoji(&self) -> Shoji<'_> {
        Shoji { elf: &self.elf, config: &self.config }
    }
}

/// The key of the demo disks; made once.
pub fn key(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.output("demo.key")?;
    if !path.exists() {
        let mut key = [0; 64];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut key)?;
        artifact::write(&path, &key)?;
    }
    Ok(path)
}

fn config(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.output("shoji.conf")?;
    if !path.exists() {
        artifact::write(&path, b"")?;
    }
    Ok(path)
}
