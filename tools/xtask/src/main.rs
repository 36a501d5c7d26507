//! `cargo xtask`: build, image, run, test, fuzz, lint.
#![forbid(unsafe_code)]

mod disk;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use testbed::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, runs and tests Shoji")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make a disk that boots Shoji (target/shoji/shoji.elf as it is), without building or running anything
    Image(disk::ImageArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let workspace = Workspace::find()?;
    match cli.task {
        Task::Image(args) => disk::image(&workspace, &args),
    }
}
