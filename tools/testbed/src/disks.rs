//! The disks that boot this clone's `shoji.elf`, and what they share: configuration and key.

use crate::disk::{Disk, Shoji};
use crate::{Workspace, artifact, demo, small};
use anyhow::{Context, Result, anyhow, ensure};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

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
pub fn debian_for_tests(workspace: &Workspace, plain: bool) -> Result<Disk> {
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

/// The key of all disks here, made once: a disk is worth nothing without it.
pub fn key(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.output("demo.key")?;
    match shoji::keys::create(&path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make the key {}", path.display()))
        }
        _ => Ok(path),
    }
}

/// The configuration that all disks here are booted with, compiled.
fn config(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.output("shoji.conf")?;
    compile(&configuration(&key(workspace)?), &target)?;
    Ok(target)
}

/// The TOML form, with the key in this file.
pub fn configuration(key: &Path) -> String {
    CONFIG.replace("@KEY@", &format!("{:?}", key.to_string_lossy()))
}

/// Compiles a configuration's TOML form to `target`; the text is left beside it.
pub fn compile(text: &str, target: &Path) -> Result<()> {
    let toml = target.with_extension("toml");
    artifact::write(&toml, text.as_bytes())?;
    let (config, report) = shoji::load::load(&toml)?;
    let config = config
        .with_context(|| format!("the configuration is wrong:\n{}", report.to_text(&toml.display().to_string())))?;
    let blob = config::encode(&config).map_err(|error| anyhow!("the configuration: {error}"))?;
    artifact::write(target, &blob)
}

/// As a user would write it for such a disk.
const CONFIG: &str = r#"[[disk]]
name = "data"
disk = { channel = 0, unit = 0 }
range = { partition = 2 }
cipher = "aes-xts-plain64"
key-file = @KEY@
"#;
