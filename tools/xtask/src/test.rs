//! `cargo xtask test`: everything, one summary.

use crate::tally::{self, Tally};
use crate::{build, fuzz, lint, setup};
use anyhow::{Error, Result, bail};
use clap::Args;
use std::time::{Duration, Instant};
use testbed::accel::{self, Host, Wish};
use testbed::program::command;
use testbed::progress::spinner;
use testbed::{Workspace, disks};

#[derive(Args)]
pub struct TestArgs {
    /// Only what runs on the host, without an emulator
    #[arg(long, conflicts_with = "long")]
    fast: bool,
    /// Every loop at its full count; resumes where it was stopped and leaves a table in tests/results
    #[arg(long)]
    long: bool,
    /// What executes guests: auto (KVM with nested virtualization where the host has it), kvm or tcg
    #[arg(long, default_value_t, conflicts_with = "fast")]
    accel: Wish,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
    /// Only emulator cases whose names contain one of these, and nothing else
    filters: Vec<String>,
}

/// Seconds for each fuzz target.
const FUZZ_CI_S: u32 = 15;
const FUZZ_LONG_S: u32 = 60;
const HOST_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// The cases have timeouts of their own; this one is for the program that runs them.
const EMULATOR_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

pub fn test(workspace: &Workspace, args: &TestArgs) -> Result<()> {
    let start = Instant::now();
    // The emulator tests would say so too, but only after everything else.
    accel::choose(args.accel, &Host::probe()).map_err(Error::msg)?;
    prepare(args)?;
    let mut tally = Tally::default();
    for (name, stage) in stages(args) {
        // What keeps a stage from running is a failure like any other; the next ones still tell something.
        let result = stage(workspace, args);
        tally.add(result.unwrap_or_else(|error| Tally::of(name, &Err(error))));
    }
    println!("\n{} s", start.elapsed().as_secs());
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} tests failed", tally.failed);
    }
    Ok(())
}

type Stage = fn(&Workspace, &TestArgs) -> Result<Tally>;

/// In this order: what takes least comes first.
fn stages(args: &TestArgs) -> Vec<(&'static str, Stage)> {
    let build: (&str, Stage) = ("build", |workspace, args| {
        build::build(workspace, false, args.yes)?;
        Ok(Tally { passed: 1, failed: 0 })
    });
    let emulator: (&str, Stage) = ("emulator", emulator_tests);
    if !args.filters.is_empty() {
        return vec![build, emulator];
    }
    let mut stages: Vec<(&str, Stage)> = vec![
        ("host tests", |workspace, _| host_tests(workspace)),
        build,
        ("lint", |workspace, _| lint::lint(workspace)),
    ];
    if !args.fast {
        stages.push(("fuzz", |workspace, args| fuzz::all(workspace, if args.long { FUZZ_LONG_S } else { FUZZ_CI_S })));
        stages.push(("GRUB's menu", |workspace, _| grub_menu_tests(workspace)));
        stages.push(emulator);
    }
    stages
}

fn prepare(args: &TestArgs) -> Result<()> {
    let fast = [setup::For::Build];
    let all = [setup::For::Build, setup::For::Fuzz, setup::For::Emulate, setup::For::Judge];
    setup::ensure(if args.fast { &fast } else { &all }, args.yes)
}

fn host_tests(workspace: &Workspace) -> Result<Tally> {
    let log = workspace.output("test-logs/host.log")?;
    let progress = spinner("Host tests");
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).args(["test", "--workspace", "--no-fail-fast"]);
    let tally = tally::run(&mut cargo, &log, false, HOST_TIMEOUT)?;
    progress.finish_and_clear();
    println!("host tests: {} passed, {} failed (log: {})", tally.passed, tally.failed, log.display());
    if tally.failed > 0 {
        for line in std::fs::read_to_string(&log)?.lines().filter(|line| is_failure(line)) {
            println!("    {line}");
        }
    }
    Ok(tally)
}

/// A line of `cargo test` that tells what is wrong.
fn is_failure(line: &str) -> bool {
    line.ends_with("... FAILED") || line.starts_with("error") || line.contains("panicked at")
}

/// GRUB's two passes through the generated menu, with a stand-in for Shoji: tests of `tools/shoji` that need QEMU.
fn grub_menu_tests(workspace: &Workspace) -> Result<Tally> {
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).args(["test", "-p", "shoji", "--test", "grub_boot", "--", "--ignored"]);
    tally::run(&mut cargo, &workspace.output("test-logs/grub-menu.log")?, true, HOST_TIMEOUT)
}

fn emulator_tests(workspace: &Workspace, args: &TestArgs) -> Result<Tally> {
    // Here and not inside the first case that needs it, so that no case pays for it.
    disks::small(workspace, false)?;
    disks::debian_for_tests(workspace, false)?;
    let mut cargo = command("cargo");
    cargo.current_dir(workspace.root()).args(["run", "--quiet", "-p", "emu", "--", "--accel", &args.accel.to_string()]);
    if args.long {
        cargo.arg("--long");
    }
    let log = workspace.output("test-logs/emulator.log")?;
    tally::run(cargo.args(&args.filters), &log, true, EMULATOR_TIMEOUT)
}
