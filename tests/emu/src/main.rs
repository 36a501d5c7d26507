//! `cargo run -p emu`: the emulator tests alone. `cargo xtask test` runs them with everything else.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use emu::case::Tier;
use emu::runner::{Plan, run};
use std::process::ExitCode;
use testbed::Workspace;
use testbed::accel::{self, Accelerator, Wish};

/// Boots machines in an emulator and judges them
#[derive(Parser)]
#[command(name = "emu")]
struct Cli {
    /// Every loop at its full count; resumes where it was stopped
    #[arg(long)]
    long: bool,
    /// On the machine without Shoji: shows that the cases themselves are right
    #[arg(long)]
    bare: bool,
    /// What executes the guests: auto (KVM with nested virtualization where the host has it), kvm or tcg
    #[arg(long, default_value_t)]
    accel: Wish,
    /// Only list the cases
    #[arg(long)]
    list: bool,
    /// Only cases whose names contain one of these
    filters: Vec<String>,
}

fn main() -> ExitCode {
    match perform(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli) -> Result<bool> {
    let tier = if cli.long { Tier::Long } else { Tier::Ci };
    let mut plan = Plan { tier, bare: cli.bare, accelerator: Accelerator::Tcg, filters: cli.filters };
    let cases = emu::cases::all();
    if cli.list {
        cases.iter().filter(|case| plan.takes(case)).for_each(|case| println!("{}", case.name));
        return Ok(true);
    }
    plan.accelerator = accel::announce(cli.accel)?;
    run(&Workspace::find()?, &plan, &cases)
}
