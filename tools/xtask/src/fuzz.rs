//! `cargo xtask fuzz`: coverage-guided fuzzing by LLVM's libFuzzer on the pinned toolchain. How the targets are built is
//! told in `tests/fuzz/src/lib.rs`.

use crate::setup;
use crate::tally::Tally;
use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::MetadataCommand;
use clap::Args;
use std::path::{Path, PathBuf};
use testbed::Workspace;
use testbed::program::{command, run};
use testbed::progress::spinner;

#[derive(Args)]
pub struct FuzzArgs {
    /// What to fuzz; without it the targets are listed
    target: Option<String>,
    /// Seconds
    #[arg(long, default_value_t = 60)]
    time: u32,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

const HOST: &str = "x86_64-unknown-linux-gnu";
/// Coverage for libFuzzer, and the checks of a debug build.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1 \
    -Cdebug-assertions -Coverflow-checks";

pub fn fuzz(workspace: &Workspace, args: &FuzzArgs) -> Result<()> {
    let targets = targets(workspace)?;
    let names = targets.join(", ");
    let Some(target) = &args.target else {
        println!("{}", targets.join("\n"));
        return Ok(());
    };
    ensure!(targets.contains(target), "there is no fuzz target {target}: there are {names}");
    setup::ensure(&[setup::For::Fuzz], args.yes)?;
    run_target(workspace, target, args.time)
}

/// All targets, so many seconds each.
pub fn all(workspace: &Workspace, seconds: u32) -> Result<Tally> {
    let mut tally = Tally::default();
    for target in targets(workspace)? {
        let result = run_target(workspace, &target, seconds);
        tally.add(Tally::of(&format!("fuzz {target}"), &result));
    }
    Ok(tally)
}

/// The binaries of the crate `fuzz` that need its feature.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().current_dir(workspace.root()).no_deps().exec()?;
    let fuzz = metadata.packages.iter().find(|package| package.name == "fuzz").context("there is no crate fuzz")?;
    let targets = fuzz.targets.iter().filter(|target| !target.required_features.is_empty());
    Ok(targets.map(|target| target.name.clone()).collect())
}

fn run_target(workspace: &Workspace, target: &str, seconds: u32) -> Result<()> {
    let program = build(workspace, target)?;
    let corpus = workspace.output(&format!("fuzz/{target}/corpus"))?;
    let findings = workspace.output(&format!("fuzz/{target}/findings"))?;
    std::fs::create_dir_all(&findings)?;
    write_seeds(workspace, target, &corpus)?;
    let progress = spinner(&format!("Fuzzing {target} for {seconds} s"));
    let mut fuzzer = command(&program.to_string_lossy());
    fuzzer.arg(format!("-max_total_time={seconds}")).arg("-timeout=10").arg("-verbosity=1");
    let output = fuzzer.arg(format!("-artifact_prefix={}/", findings.display())).arg(&corpus).output()?;
    progress.finish_and_clear();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("found an input that fails; it is in {}:\n{}", findings.display(), last_lines(&said, 12));
    }
    println!("fuzz {target} ... ok: {}", last_lines(&said, 1));
    Ok(())
}

fn build(workspace: &Workspace, target: &str) -> Result<PathBuf> {
    let _progress = spinner(&format!("Building the fuzz target {target}"));
    let dir = workspace.root().join("target/fuzz");
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).env("RUSTFLAGS", FLAGS).args(["build", "--quiet", "--release", "-p", "fuzz"]);
    // The profile is the VMM's; across crates nothing is gained here, and each build takes a minute less without.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
    // The target named keeps the flags away from build scripts.
    cargo.args(["--features", "fuzz", "--bin", target, "--target", HOST, "--target-dir"]).arg(&dir);
    run(&mut cargo)?;
    Ok(dir.join(HOST).join("release").join(target))
}

fn write_seeds(workspace: &Workspace, target: &str, corpus: &Path) -> Result<()> {
    let mut seeds = command("cargo");
    seeds
        .current_dir(workspace.root())
        .args(["run", "--quiet", "-p", "fuzz", "--bin", "seeds", "--", target])
        .arg(corpus);
    run(&mut seeds).map(drop)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
