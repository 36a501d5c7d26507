//! `cargo xtask`: build, image, run, test, fuzz, lint, bench.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod fuzz;
mod golden;
mod image;
mod lint;
mod policy;
mod programs;
mod readme;
mod rooms;
mod run;
mod setup;
mod simd;
mod symbolize;
mod symbols;
mod tally;
mod tcb;
mod test;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;
use testbed::{Workspace, guest_tools};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, runs and tests Shoji")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the hypervisor: target/shoji/shoji.elf; with --checked: target/shoji/shoji-checked.elf
    Build(BuildArgs),
    /// Boot Debian from an encrypted disk under Shoji in QEMU; its console is this terminal
    Run(run::RunArgs),
    /// Build the command `shoji` for the guest, static: target/shoji/shoji
    GuestTools,
    /// Run all tests: host, fuzzers, lint, emulator
    Test(test::TestArgs),
    /// Check format, clippy, and that every crate keeps to its room
    Lint,
    /// Fuzz one target for a while
    Fuzz(fuzz::FuzzArgs),
    /// Measure the bare machine against Shoji, in instructions
    Bench(bench::BenchArgs),
    /// Add function and line to the addresses in a log of Shoji's, e.g. a back trace
    Symbolize(symbolize::SymbolizeArgs),
    /// Count lines, unsafe blocks and bytes of code of each crate in the image
    Tcb(tcb::TcbArgs),
    /// Write the tables of MSRs and CPUID as a document: core/policy/POLICY.md
    Policy,
    /// Make a disk that boots Shoji (target/shoji/shoji.elf as it is), without building or running anything
    Image(image::ImageArgs),
}

#[derive(Args)]
struct BuildArgs {
    /// For tests: with debug assertions and overflow checks, of which a failing one stops the VMM
    #[arg(long)]
    checked: bool,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

fn main() -> ExitCode {
    match perform(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(cli: Cli) -> Result<()> {
    let workspace = Workspace::find()?;
    match cli.task {
        Task::Build(args) => build::build(&workspace, args.checked, args.yes),
        Task::Run(args) => run::run(&workspace, &args),
        Task::GuestTools => {
            println!("{}", guest_tools::build(&workspace)?.display());
            Ok(())
        }
        Task::Test(args) => test::test(&workspace, &args),
        Task::Lint => match lint::lint(&workspace)?.failed {
            0 => Ok(()),
            failed => bail!("{failed} checks failed"),
        },
        Task::Fuzz(args) => fuzz::fuzz(&workspace, &args),
        Task::Bench(args) => bench::bench(&workspace, &args),
        Task::Symbolize(args) => symbolize::symbolize(&workspace, &args),
        Task::Tcb(args) => tcb::tcb(&workspace, &args),
        Task::Policy => policy::write(workspace.root()),
        Task::Image(args) => image::image(&workspace, &args),
    }
}
