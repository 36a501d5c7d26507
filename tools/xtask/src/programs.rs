//! Builds the programs for ring 3 (`core/process`), which are a part of the hypervisor's image.

use crate::build::{RUSTFLAGS, TARGET_ARGS};
use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::MetadataCommand;
use std::path::PathBuf;
use testbed::program::{command, run};
use testbed::{Workspace, artifact};

/// Where their crates lie.
const FOLDER: &str = "core/process";

/// Names of the packages with a program.
pub fn names(workspace: &Workspace) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().manifest_path(workspace.root().join("Cargo.toml")).no_deps().exec()?;
    let folder = workspace.root().join(FOLDER);
    let programs = metadata.packages.iter().filter(|package| {
        package.manifest_path.starts_with(&folder) && package.targets.iter().any(|target| target.is_bin())
    });
    Ok(programs.map(|package| package.name.to_string()).collect())
}

/// A program with its symbols.
pub fn elf(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root().join("target/x86_64-vmm/release").join(name)
}

/// Builds them; gives the folder with their files, without symbols: what `SHOJI_PROGRAMS_DIR` must name in the environment of every
/// cargo call that builds the hypervisor.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let names = names(workspace)?;
    ensure!(!names.is_empty(), "there is no program in {FOLDER}");
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).args(["build", "--quiet", "--release"]).args(TARGET_ARGS);
    cargo.args(names.iter().flat_map(|name| ["-p", name])).env("RUSTC_BOOTSTRAP", "1");
    cargo.env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the programs of {FOLDER} do not build: see cargo's messages above");
    }
    for name in &names {
        let stripped = workspace.output(&format!("programs/{name}"))?;
        let new = stripped.with_extension("new");
        run(crate::simd::tool(&["llvm-objcopy", "objcopy"])
            .map_err(anyhow::Error::msg)?
            .args(["--strip-all", "--remove-section=.debug_gdb_scripts"])
            .arg(elf(workspace, name))
            .arg(&new))?;
        artifact::write(&stripped, &std::fs::read(&new)?)?;
        std::fs::remove_file(&new)?;
    }
    workspace.output("programs")
}
