//! The demo disk: a Debian 12 whose root partition is encrypted on disk.

use crate::debian::{self, Kernel};
use crate::disk::{Disk, Recipe, Shoji};
use crate::{Workspace, artifact, grub, guest_tools, progress};
use anyhow::Result;
use std::fs;
use std::path::Path;

const BOOT_MIB: u64 = 64;
/// Holds the system (about 500 MiB) and leaves room for tests.
const ROOT_MIB: u64 = 1200;
/// Shoji decrypts below the kernel, so the root is a plain ext4 to it and no key is in the initrd.
const KERNEL_ARGS: &str = "root=LABEL=root ro console=tty0";

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
        kernels: &dir,
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
    for kernel in Kernel::ALL {
        for (prefix, name) in ["vmlinuz-", "initrd.img-"].into_iter().zip(kernel.files()) {
            fs::copy(debian::boot_file(&boot, prefix, kernel)?, dir.join(name))?;
        }
    }
    artifact::remove(&boot)?;
    debian::ext4_image(archive, ROOT_MIB, &dir.join("root.ext4"))
}
