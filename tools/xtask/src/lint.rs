//! `cargo xtask lint`: format, clippy on the host and for the bare machine, the rooms.

use crate::tally::Tally;
use crate::{build, golden, policy, programs, rooms};
use anyhow::{Context, Result, bail};
use std::process::Command;
use testbed::Workspace;
use testbed::program::{command, run};
use testbed::progress::spinner;

/// Crates that are programs for the bare machine.
const BARE_METAL: [&str; 2] = ["vmm", "tiny"];

/// Runs all of it, whatever fails.
pub fn lint(workspace: &Workspace) -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, check) in CHECKS {
        let progress = spinner(&format!("lint: {name}"));
        let result = check(workspace);
        progress.finish_and_clear();
        let one = Tally::of(&format!("lint: {name}"), &result);
        if one.failed == 0 {
            println!("lint: {name} ... ok");
        }
        tally.add(one);
    }
    Ok(tally)
}

type Check = fn(&Workspace) -> Result<()>;
const CHECKS: [(&str, Check); 6] = [
    ("format", format),
    ("clippy on the host", clippy_host),
    ("clippy for the bare machine", clippy_bare_metal),
    ("rooms", check_rooms),
    ("policy document", |workspace| policy::check(workspace.root())),
    ("init functions", init_functions),
];

fn format(workspace: &Workspace) -> Result<()> {
    let mut fmt = command("cargo");
    run(fmt.current_dir(workspace.root()).args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`").map(drop)
}

fn clippy_host(workspace: &Workspace) -> Result<()> {
    let mut clippy = command("cargo");
    clippy.current_dir(workspace.root()).args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-Dwarnings",
    ]);
    run(&mut clippy).map(drop)
}

fn clippy_bare_metal(workspace: &Workspace) -> Result<()> {
    let mut clippy: Command = build::bare_metal_cargo(workspace, "clippy")?;
    clippy
        .args(["--quiet", "--release"])
        .args(BARE_METAL.iter().flat_map(|name| ["-p", name]))
        .args(programs::names(workspace)?.iter().flat_map(|name| ["-p", name]))
        .args(["--", "-Dwarnings"]);
    run(&mut clippy).map(drop)
}

fn check_rooms(workspace: &Workspace) -> Result<()> {
    let findings = rooms::check_rooms(workspace.root())?;
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The linked image must be there: `cargo xtask build` makes it.
fn init_functions(workspace: &Workspace) -> Result<()> {
    golden::check_initfuncs(workspace.root(), &workspace.shoji_elf()?)
}
