//! `cargo xtask bench --crypto`: the sector transform on this machine's CPU. Here time is measured; nothing depends on it.

use crate::simd::build_simd_object;
use anyhow::{Result, anyhow};
use testbed::Workspace;
use testbed::program::{command, run};

/// The bench of the crate `simd` on the SIMD object as the VMM has it, it and OpenSSL on the same core.
pub fn measure(workspace: &Workspace) -> Result<String> {
    let target = workspace.root().join("target");
    let simd = build_simd_object(workspace.root(), &target).map_err(|why| anyhow!("the SIMD object: {why}"))?;
    let mut cargo = command("cargo");
    cargo
        .current_dir(workspace.root())
        .args(["bench", "--quiet", "--package", "simd", "--bench", "xts"])
        .env("SHOJI_SIMD_DIR", simd)
        // A program that cargo runs is run by this one, and what it starts stays on the core.
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "taskset --cpu-list 0");
    run(&mut cargo)
}
