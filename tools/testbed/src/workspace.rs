//! Where things are.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// The checked-out repository.
#[derive(Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that the current directory lies in.
    pub fn find() -> Result<Self> {
        let here = std::env::current_dir().context("the current directory is gone")?;
        match here.ancestors().find(|dir| dir.join("x86_64-vmm.json").is_file()) {
            Some(root) => Ok(Self { root: root.to_owned() }),
            None => bail!("{} is not inside Shoji's repository (no x86_64-vmm.json above it)", here.display()),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `target/shoji/NAME`; the folder is made if it is not there.
    pub fn output(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join("target/shoji").join(name);
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(path)
    }

    /// The hypervisor as `cargo xtask build` leaves it.
    pub fn shoji_elf(&self) -> Result<PathBuf> {
        self.output("shoji.elf")
    }

    /// The same with its own checks, as `cargo xtask build --checked` leaves it.
    pub fn checked_elf(&self) -> Result<PathBuf> {
        self.output("shoji-checked.elf")
    }
}

/// The user's cache folder for Shoji: what takes minutes to make and is the same for every clone.
pub fn user_cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => Path::new(&home).join(".cache"),
        _ => bail!("neither XDG_CACHE_HOME nor HOME is set: no place for the cache"),
    };
    let dir = base.join("shoji");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}
