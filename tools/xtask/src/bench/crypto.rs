//! `cargo xtask bench --crypto`: the sector transform and the cipher of packets on this machine's CPU. Here time is measured; nothing depends on it.

use crate::simd::build_simd_object;
use anyhow::{Result, anyhow};
use std::path::Path;
use testbed::Workspace;
use testbed::program::{command, run};

/// The benches of the crate `simd`, and what their tables are called in README.
const BENCHES: [(&str, &str); 2] = [("xts", "crypto"), ("packets", "packets")];

/// Name and text of each table: on the SIMD object as the VMM has it, it and OpenSSL on the same core.
pub fn measure(workspace: &Workspace) -> Result<Vec<(&'static str, String)>> {
    let target = workspace.root().join("target");
    let simd = build_simd_object(workspace.root(), &target).map_err(|why| anyhow!("the SIMD object: {why}"))?;
    BENCHES.into_iter().map(|(bench, table)| Ok((table, run_bench(workspace, &simd, bench)?))).collect()
}

fn run_bench(workspace: &Workspace, simd: &Path, bench: &str) -> Result<String> {
    let mut cargo = command("cargo");
    cargo
        .current_dir(workspace.root())
        .args(["bench", "--quiet", "--package", "simd", "--bench", bench])
        .env("SHOJI_SIMD_DIR", simd)
        // A program that cargo runs is run by this one, and what it starts stays on the core.
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", "taskset --cpu-list 0");
    run(&mut cargo)
}
