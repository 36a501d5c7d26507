//! Prometheus' own judge of metrics, out of Debian's package. The package is not installed: that would start a server.

use crate::program::{command, run};
use crate::{artifact, progress, workspace};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const PACKAGE: &str = "prometheus";

/// What `promtool check metrics` has against this text.
///
/// # Errors
/// It finds something; or it cannot be had.
pub fn check_metrics(metrics: &Path) -> Result<()> {
    let input = fs::File::open(metrics).with_context(|| format!("cannot read {}", metrics.display()))?;
    let mut promtool = command(&program()?.to_string_lossy());
    let output =
        promtool.args(["check", "metrics"]).stdin(Stdio::from(input)).output().context("cannot run promtool")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // It ends with 0 and words where there is something to be liked better.
    ensure!(output.status.success() && said.trim().is_empty(), "promtool says: {said}");
    Ok(())
}

fn program() -> Result<PathBuf> {
    let path = workspace::user_cache()?.join("promtool");
    artifact::ensure(&path, PACKAGE, |part| {
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
    })?;
    Ok(path)
}
