//! The command `shoji` as a program for any Linux: static, so that it needs nothing of the guest's.

use crate::program::command;
use crate::{Workspace, artifact};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// As it is called.
pub const PROGRAM: &str = "shoji";
/// Without a target rustc would build build scripts and procedural macros statically too, which it cannot.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const PROFILE: &str = "guest-tools";

/// Builds `target/shoji/shoji`, if it is not current.
///
/// # Errors
/// It does not build; cargo has said why on standard error.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target_dir = workspace.root().join("target").join(PROFILE);
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root());
    cargo.args(["build", "--quiet", "--profile", PROFILE, "-p", PROGRAM, "--target", TARGET, "--target-dir"]);
    // A C library that is linked in, glibc's own: no other target need be installed.
    let status = cargo.arg(&target_dir).env("RUSTFLAGS", "-Ctarget-feature=+crt-static").status();
    ensure!(status.context("cannot run cargo")?.success(), "the command `{PROGRAM}` for the guest does not build");
    let built = target_dir.join(TARGET).join(PROFILE).join(PROGRAM);
    let content = std::fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let path = workspace.output(PROGRAM)?;
    if std::fs::read(&path).ok().is_none_or(|before| before != content) {
        artifact::write(&path, &content)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode)?;
    }
    Ok(path)
}
