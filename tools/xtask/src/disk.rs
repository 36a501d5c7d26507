//! The disks of `image`, `run` and `test`.

use anyhow::{Result, ensure};
use clap::Args;
use std::path::PathBuf;
use testbed::disk::{Disk, Shoji};
use testbed::{Workspace, artifact, small};

#[derive(Args)]
pub struct ImageArgs {
    /// The small test guest (kernel and busybox) instead of Debian
    #[arg(long)]
    small: bool,
    /// Not encrypted and without Shoji: for comparing with the bare machine
    #[arg(long)]
    plain: bool,
}

pub fn image(workspace: &Workspace, args: &ImageArgs) -> Result<()> {
    let disk = small_disk(workspace, args.plain)?;
    println!("{}", disk.path.display());
    Ok(())
}

pub fn small_disk(workspace: &Workspace, plain: bool) -> Result<Disk> {
    if plain {
        return small::disk(workspace, "small-plain.img", None, None);
    }
    let (key, config, elf) = (key(workspace)?, config(workspace)?, workspace.shoji_elf()?);
    ensure!(elf.exists(), "{} is not there: run `cargo xtask build` first", elf.display());
    small::disk(workspace, "small.img", Some(Shoji { elf: &elf, config: &config }), Some(&key))
}

fn key(workspace: &Workspace) -> Result<PathBuf> {
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
