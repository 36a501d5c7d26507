//! Prometheus' own judge of metrics: the one that is installed, or out of Debian's package, which is not installed for it: that would
//! start a server. Cases only use it; `cargo xtask test` gets it beforehand, with all else that they need.

use crate::program::{command, locate, run};
use crate::{artifact, progress, workspace};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const PACKAGE: &str = "prometheus";

/// What `promtool check metrics` has against this text.
///
/// # Errors
/// It finds something; or it is not there.
pub fn check_metrics(metrics: &Path) -> Result<()> {
    let input = fs::File::open(metrics).with_context(|| format!("cannot read {}", metrics.display()))?;
    let program = find()?.context(
        "promtool is missing: start this by `cargo xtask test`, which gets it, or install it (Debian's package prometheus)",
    )?;
    let mut promtool = command(&program.to_string_lossy());
    let output =
        promtool.args(["check", "metrics"]).stdin(Stdio::from(input)).output().context("cannot run promtool")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // It ends with 0 and words where there is something to be liked better.
    ensure!(output.status.success() && said.trim().is_empty(), "promtool says: {said}");
    Ok(())
}

fn kept() -> Result<PathBuf> {
    Ok(workspace::user_cache()?.join("promtool"))
}

fn find() -> Result<Option<PathBuf>> {
    let kept = kept()?;
    Ok(locate("promtool").or_else(|| (kept.exists() && artifact::is_current(&kept, PACKAGE)).then_some(kept)))
}

/// # Errors
/// There is no place where it would be kept.
pub fn is_there() -> Result<bool> {
    Ok(find()?.is_some())
}

/// Takes it out of the package.
///
/// # Errors
/// No package mirror can be reached.
pub fn fetch() -> Result<()> {
    artifact::ensure(&kept()?, PACKAGE, |part| {
        let _progress = progress::spinner("Taking promtool out of Debian's package prometheus");
        let dir = artifact::with_suffix(part, "package");
        artifact::remove(&dir)?;
        fs::create_dir_all(&dir)?;
        run(command("apt-get").current_dir(&dir).args(["download", "--quiet", PACKAGE]))
            .context("Debian's package mirror is needed: is the network there, and has `apt-get update` run?")?;
        let package = fs::read_dir(&dir)?.next().context("apt-get has left no package")??.path();
        run(command("dpkg-deb").arg("-x").arg(package).arg(dir.join("tree")))?;
        fs::copy(dir.join("tree/usr/bin/promtool"), part)?;
        artifact::remove(&dir)
    })
    .map(drop)
}
