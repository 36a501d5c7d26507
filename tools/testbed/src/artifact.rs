//! Files that are kept and made again only when their inputs change.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// Makes `path` by `build`, unless it is there and was made from the same `inputs`.
///
/// `build` writes to a temporary name that is renamed when complete, so a kill half-way leaves nothing broken. Two
/// processes do not make the same file at once.
/// Says whether it was made anew.
pub fn ensure(path: &Path, inputs: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
    let _lock = lock(path)?;
    if path.exists() && is_current(path, inputs) {
        return Ok(false);
    }
    forget(path)?;
    let temporary = with_suffix(path, "part");
    remove(&temporary)?;
    build(&temporary).inspect_err(|_| drop(remove(&temporary)))?;
    fs::rename(&temporary, path).with_context(|| format!("cannot rename to {}", path.display()))?;
    remember(path, inputs)?;
    Ok(true)
}

/// Waits until no other process holds the lock of `path`, and holds it until the value is dropped.
pub fn lock(path: &Path) -> Result<File> {
    let path = with_suffix(path, "lock");
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(lock)
}

/// Was `path` (or this part of it) completed from these inputs?
pub fn is_current(path: &Path, inputs: &str) -> bool {
    fs::read_to_string(with_suffix(path, "inputs")).is_ok_and(|stored| stored == inputs)
}

/// From now on [`is_current`] holds.
pub fn remember(path: &Path, inputs: &str) -> Result<()> {
    write(&with_suffix(path, "inputs"), inputs.as_bytes())
}

/// From now on [`is_current`] does not hold: call it before changing `path` in place.
pub fn forget(path: &Path) -> Result<()> {
    remove(&with_suffix(path, "inputs"))
}

/// Writes a whole file; a reader sees the old one or the new one.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = with_suffix(path, "part");
    fs::write(&temporary, content).with_context(|| format!("cannot write {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("cannot rename to {}", path.display()))
}

/// A short name for the content of a file; tells changes apart, no protection against forgery.
pub fn fingerprint(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(fingerprint_of(&content))
}

/// As [`fingerprint`], of bytes at hand.
pub fn fingerprint_of(content: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Refuses early, in a sentence, instead of failing at the last megabyte.
pub fn require_space(dir: &Path, need_mib: u64, what: &str) -> Result<()> {
    let stat =
        nix::sys::statvfs::statvfs(dir).with_context(|| format!("cannot ask {} for its space", dir.display()))?;
    let free_mib = stat.blocks_available() * stat.fragment_size() / (1 << 20);
    if free_mib < need_mib {
        bail!("{what} needs {need_mib} MiB in {}, only {free_mib} MiB are free: make room there", dir.display());
    }
    Ok(())
}

/// `name.ext` -> `name.ext.suffix`.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Removes a file or a folder; none there is fine.
pub fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("shoji-artifact-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir.join("file")
    }

    #[test]
    fn same_inputs_are_not_built_twice() {
        let path = scratch("same");
        assert!(ensure(&path, "a", |p| Ok(fs::write(p, "1")?)).unwrap());
        assert!(!ensure(&path, "a", |_| bail!("built again")).unwrap());
        assert!(ensure(&path, "b", |p| Ok(fs::write(p, "2")?)).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
    }

    #[test]
    fn a_failed_build_leaves_the_old_file_but_not_its_validity() {
        let path = scratch("failed");
        ensure(&path, "a", |p| Ok(fs::write(p, "1")?)).unwrap();
        assert!(
            ensure(&path, "b", |p| {
                fs::write(p, "half")?;
                bail!("killed")
            })
            .is_err()
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        assert!(!is_current(&path, "a") && !is_current(&path, "b"));
    }

    #[test]
    fn too_little_space_is_said_in_a_sentence() {
        let error = require_space(&std::env::temp_dir(), u64::MAX >> 1, "The disk").unwrap_err().to_string();
        assert!(error.contains("MiB are free"), "{error}");
    }
}
