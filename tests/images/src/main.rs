//! `guest-images`: what guests there are, their disks, and a run of them, bare, under Shoji, or both side by side.
#![forbid(unsafe_code)]

use anyhow::{Context, Error, Result};
use clap::{Parser, Subcommand};
use guest_images::{
    ATTACKS, Emulator, Files, MODELS, Machine, Model, Pair, Results, TinyGuest, Verdict, all, blob, boot_media,
    build_programs, guest, model, write_disk, write_section,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use testbed::accel::{self, Wish};

/// Makes the guests' disks and runs them
#[derive(Parser)]
#[command(name = "guest-images")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// What executes them in QEMU: auto (KVM with nested virtualization where the host has it), kvm or tcg
    #[arg(long, default_value_t, global = true)]
    accel: Wish,
    /// On this CPU model of Bochs instead of QEMU; `list` names them
    #[arg(long, value_parser = find_model, conflicts_with = "accel", global = true)]
    bochs: Option<&'static Model>,
}

#[derive(Subcommand)]
enum Verb {
    /// Names guests and models
    List,
    /// Writes the disks DIR/NAME.img
    Build { dir: PathBuf, names: Vec<String> },
    /// Runs them on the machine alone
    Bare { dir: PathBuf, names: Vec<String> },
    /// Runs them under Shoji; ELF is its image
    Shoji { elf: PathBuf, dir: PathBuf, names: Vec<String> },
    /// Runs them on the machine alone and under Shoji, and prints a table; without names all that attack
    Compare {
        elf: PathBuf,
        dir: PathBuf,
        names: Vec<String>,
        /// Writes the table to this file as well, as the part on this machine
        #[arg(long, conflicts_with = "names")]
        write: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match perform(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("guest-images: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn find_model(name: &str) -> Result<&'static Model, String> {
    model(name).ok_or_else(|| format!("no model is called {name}; `list` shows them"))
}

fn perform(cli: &Cli) -> Result<bool> {
    match &cli.verb {
        Verb::List => {
            all().for_each(|g| println!("{:20} {}", g.name, g.purpose));
            println!();
            MODELS.iter().for_each(|m| println!("{:20} {}", m.name, m.purpose));
            Ok(true)
        }
        Verb::Build { dir, names } => build(names, dir).map(|_| true),
        Verb::Bare { dir, names } => run(cli, names, dir, None),
        Verb::Shoji { elf, dir, names } => run(cli, names, dir, Some(elf)),
        Verb::Compare { elf, dir, names, write } => compare(cli, names, dir, elf, write.as_deref()),
    }
}

/// Writes the disks of the named guests, or of all.
fn build(names: &[String], dir: &Path) -> Result<Vec<&'static TinyGuest>> {
    let guests = select(names)?;
    fs::create_dir_all(dir)?;
    let programs = programs()?;
    for g in &guests {
        write_disk(&programs, g, &dir.join(g.name).with_extension("img"))?;
    }
    Ok(guests)
}

fn programs() -> Result<PathBuf> {
    Ok(build_programs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?)
}

fn select(names: &[String]) -> Result<Vec<&'static TinyGuest>> {
    if names.is_empty() {
        return Ok(all().collect());
    }
    let find = |n: &String| guest(n).with_context(|| format!("no guest is called {n}; `list` shows them"));
    names.iter().map(find).collect()
}

/// Runs guests on every machine that they are for; says whether all passed.
fn run(cli: &Cli, names: &[String], dir: &Path, shoji: Option<&Path>) -> Result<bool> {
    let emulator = emulator(cli)?;
    let guests = build(names, dir)?;
    let mut summary = Vec::new();
    for g in guests {
        let alone_on_bochs = cli.bochs.is_some() && shoji.is_none();
        let why =
            (g.uses_vtx && !alone_on_bochs).then_some("it uses VT-x itself: on Bochs' Intel models, without Shoji");
        if let Some(why) = why.or_else(|| cli.bochs.and_then(|model| model.excludes(g))) {
            println!("{} is left out: {why}", g.name);
            continue;
        }
        for (memory_mib, cpus) in emulator.machines(g) {
            summary.push((g.name, memory_mib, cpus, run_one(g, (memory_mib, cpus), emulator, dir, shoji)?));
        }
    }
    println!();
    for (name, memory_mib, cpus, verdict) in &summary {
        println!("{name} ({memory_mib} MiB, CPUs: {cpus}): {verdict:?}");
    }
    Ok(summary.iter().all(|(.., verdict)| *verdict == Verdict::Pass))
}

fn emulator(cli: &Cli) -> Result<Emulator> {
    Ok(match cli.bochs {
        Some(model) => Emulator::Bochs(model.name),
        None => Emulator::Qemu(accel::announce(cli.accel)?),
    })
}

/// Runs guests twice and prints what is different; says whether all passed and every difference is explained.
fn compare(cli: &Cli, names: &[String], dir: &Path, elf: &Path, write: Option<&Path>) -> Result<bool> {
    let emulator = emulator(cli)?;
    let guests = if names.is_empty() { ATTACKS.iter().collect() } else { select(names)? };
    let programs = programs()?;
    let mut pairs = Vec::new();
    for g in guests.iter().copied().filter(|g| !g.uses_vtx) {
        for (memory_mib, cpus) in emulator.machines(g) {
            let one = |side: &str, shoji| -> Result<Results> {
                let dir = dir.join(format!("{side}-{cpus}"));
                fs::create_dir_all(&dir)?;
                write_disk(&programs, g, &dir.join(g.name).with_extension("img"))?;
                let verdict = run_one(g, (memory_mib, cpus), emulator, &dir, shoji)?;
                let com2 = fs::read(dir.join(g.name).join("com2.log")).unwrap_or_default();
                Ok(Results::new(verdict, &String::from_utf8_lossy(&com2)))
            };
            pairs.push(Pair { guest: g, cpus, bare: one("bare", None)?, shoji: one("shoji", Some(elf))? });
        }
    }
    let comparison = guest_images::compare(emulator, &guests, &pairs);
    print!("\n{}", comparison.text);
    if let Some(file) = write {
        write_section(file, emulator, &comparison.text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let passed = |results: &Results| results.verdict == Verdict::Pass;
    Ok(comparison.unexplained == 0 && pairs.iter().all(|pair| passed(&pair.bare) && passed(&pair.shoji)))
}

/// Runs one guest; the logs stay in the folder `DIR/NAME`.
fn run_one(
    g: &TinyGuest,
    (memory_mib, cpus): (u32, u32),
    emulator: Emulator,
    dir: &Path,
    shoji: Option<&Path>,
) -> Result<Verdict> {
    if let (Some(why), Emulator::Qemu(accel::Accelerator::Kvm(_))) = (g.tcg_only, emulator) {
        println!("{} runs by TCG, because {why}", g.name);
    }
    let (logs, disk) = (dir.join(g.name), dir.join(g.name).with_extension("img"));
    let medium = shoji.map(|elf| {
        let medium = dir.join(g.name).with_extension("medium");
        boot_media(elf, &Files { blob: &blob(g)?, key: None }, None, &medium)?;
        Ok::<_, Error>(medium)
    });
    let medium = medium.transpose()?;
    let machine = Machine {
        emulator,
        memory_mib,
        cpus,
        rounds: g.rounds[0],
        disk: &disk,
        medium: medium.as_deref(),
        logs: &logs,
    };
    let verdict = machine.run(g, machine.limit(g))?;
    print!("{}", String::from_utf8_lossy(&fs::read(logs.join("com2.log")).unwrap_or_default()));
    Ok(verdict)
}
