//! The demo disk: a Debian 12 whose root partition is encrypted on disk.

use crate::disk::{Disk, Recipe, Shoji};
use crate::{Workspace, artifact, debian, grub, guest_tools, progress};
use anyhow::Result;
use std::fs;
use std::path::Path;

const BOOT_MIB: u64 = 64;
/// Holds the system (about 500 MiB) and leaves room for tests.
const ROOT_MIB: u64 = 1200;
/// Shoji decrypts below the kernel, so the root is a plain ext4 to it and no key is in the initrd.
const KERNEL_ARGS: &str = "root=/dev/sda2 ro console=tty0";

/// The Debian disk; plain (for the bare machine) without a key.
pub fn disk(workspace: &Workspace, file: &str, shoji: Option<Shoji<'_>>, key: Option<&Path>) -> Result<Disk> {
    let archive = debian::archive()?;
    let dir = workspace.output("debian")?;
    let inputs = format!("{} {ROOT_MIB}", archive.display());
    artifact::ensure(&dir, &inputs, |part| {
        artifact::remove(&dir)?;
        artifact::require_space(&workspace.output("")?, ROOT_MIB + 800, "Making Debian's file system")?;
        build(&archive, part)
    })?;
    let recipe = Recipe {
        file,
        boot_mib: BOOT_MIB,
        menu: grub::Menu { name: "Debian", kernel_args: KERNEL_ARGS, timeout_s: 1 },
        kernel: &dir.join("vmlinuz"),
        initrd: &dir.join("initrd.img"),
        extra: None,
        command: &guest_tools::build(workspace)?,
        shoji,
        data: &dir.join("root.ext4"),
        data_inputs: &inputs,
        key,
    };
    Disk::ensure(workspace, &recipe)
}

fn build(archive: &Path, dir: &Path) -> Result<()> {
    artifact::remove(dir)?;
    let boot = dir.join("tree");
    {
        let _progress = progress::spinner("Taking Debian's kernel");
        debian::unpack(archive, &["./boot"], &boot)?;
    }
    fs::copy(debian::boot_file(&boot, "vmlinuz-")?, dir.join("vmlinuz"))?;
    fs::copy(debian::boot_file(&boot, "initrd.img-")?, dir.join("initrd.img"))?;
    artifact::remove(&boot)?;
    debian::ext4_image(archive, ROOT_MIB, &dir.join("root.ext4"))
}
