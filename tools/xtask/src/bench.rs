//! `cargo xtask bench`: the bare machine against Shoji, counted in instructions.
//!
//! Under `-icount shift=0` QEMU runs one instruction a nanosecond of the machine's time, so that time stamps count
//! instructions, the VMM's too, and a figure depends on the host only where somebody polls a disk. In Bochs they always
//! do, and nothing depends on the host. Only `--crypto` measures time.

mod crypto;
mod disks;
mod exits;
mod figures;
mod load;
mod profile;
mod rows;
mod small;
mod table;
mod tiny;
mod trace;
mod vendors;

use crate::{build, readme, setup};
use anyhow::{Result, ensure};
use clap::Args;
use figures::{Figures, On};
use std::path::Path;
use testbed::accel::Wish;
use testbed::progress::spinner;
use testbed::{Workspace, artifact};

#[derive(Args)]
pub struct BenchArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Put the table into README.md, between its markers
    #[arg(long)]
    readme: bool,
    /// Only tell, function by function, which instructions the start and each kind of exit consist of; with --disks, those of an AHCI disk
    #[arg(long, conflicts_with_all = ["json", "readme"])]
    profile: bool,
    /// Only measure operations of AHCI and NVMe disks
    #[arg(long, conflicts_with_all = ["json", "crypto"])]
    disks: bool,
    /// Only measure AES-XTS and ChaCha20-Poly1305 on this machine's CPU, against OpenSSL's
    #[arg(long, conflicts_with_all = ["json", "profile"])]
    crypto: bool,
    /// What executes guests: tcg, because nothing else counts instructions; auto means the same
    #[arg(long, default_value_t)]
    accel: Wish,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

pub fn bench(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    ensure!(
        args.accel != Wish::Kvm,
        "the figures are numbers of instructions, which KVM does not count: use --accel tcg"
    );
    if args.crypto {
        setup::ensure(&[setup::For::Build], args.yes)?;
        for (name, table) in crypto::measure(workspace)? {
            println!("{table}");
            if args.readme {
                into_readme(workspace, name, &table)?;
            }
        }
        return Ok(());
    }
    setup::ensure(&[setup::For::Build, setup::For::Emulate], args.yes)?;
    build::compile(workspace, args.yes)?;
    let logs = workspace.output("bench")?;
    artifact::remove(&logs)?;
    std::fs::create_dir_all(&logs)?;
    if args.profile {
        return if args.disks { profile::print_disks(workspace, &logs) } else { profile::print(workspace, &logs) };
    }
    if args.disks {
        return only_disks(workspace, &logs, args.readme);
    }
    let figures = measure(workspace, &logs)?;
    let others = vendors::measure(workspace, &logs)?;
    let json = table::json(&figures, &others)?;
    artifact::write(&logs.join("figures.json"), json.as_bytes())?;
    match args.json {
        true => println!("{json}"),
        false => println!("\n{}", table::text(&figures, &others)),
    }
    eprintln!("logs: {}", logs.display());
    if args.readme {
        into_readme(workspace, "disks", &table::disks_markdown(&figures))?;
        into_readme(workspace, "figures", &table::markdown(&figures, &others)?)?;
    }
    Ok(())
}

fn only_disks(workspace: &Workspace, logs: &Path, readme: bool) -> Result<()> {
    let mut figures = Figures::default();
    for on in [On::Bare, On::Shoji] {
        disks::measure(workspace, logs, on, &mut figures)?;
    }
    println!("\n{}", table::disks_text(&figures));
    if readme { into_readme(workspace, "disks", &table::disks_markdown(&figures)) } else { Ok(()) }
}

fn into_readme(workspace: &Workspace, name: &str, table: &str) -> Result<()> {
    readme::replace(&workspace.root().join("README.md"), name, table)
}

fn measure(workspace: &Workspace, logs: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    image(workspace, &mut figures)?;
    for on in [On::Bare, On::Shoji] {
        testbed::disks::small(workspace, on == On::Bare)?;
        let _progress = spinner(&format!("Tiny guests, {on}"));
        let measure = |guest| tiny::measure(workspace, logs, tiny::Emulator::Qemu, on, guest);
        figures.add(on, measure(tiny::BENCH)?);
        for (prefix, guest) in [("cpus", tiny::BENCH_CPUS), ("q35", tiny::BENCH_Q35)] {
            let values = measure(guest)?;
            figures.add(on, values.into_iter().map(|(key, value)| (format!("{prefix}_{key}"), value)).collect());
        }
    }
    for on in [On::Bare, On::Shoji] {
        disks::measure(workspace, logs, on, &mut figures)?;
    }
    two_cpus_of_vtx(workspace, logs, &mut figures)?;
    messages(workspace, logs, &mut figures)?;
    for on in [On::Bare, On::Shoji] {
        let _progress = spinner(&format!("Linux, {on}"));
        small::measure(workspace, logs, on, &mut figures)?;
    }
    load::measure(workspace, logs, &mut figures)?;
    let _progress = spinner("Start of Shoji, instruction by instruction");
    let start = trace::start(workspace, logs)?;
    figures.set("entry_to_vmrun", On::Shoji, start.len() as f64);
    Ok(figures)
}

/// Only under Shoji: between two CPUs Bochs' clock ticks a few instructions at a time, so that single ones take none.
fn two_cpus_of_vtx(workspace: &Workspace, logs: &Path, figures: &mut Figures) -> Result<()> {
    let _progress = spinner("Tiny guest on two CPUs of Bochs, under Shoji");
    let emulator = tiny::Emulator::Bochs(vendors::VTX);
    let values = tiny::measure(workspace, logs, emulator, On::Shoji, tiny::BENCH_CPUS)?;
    figures.add(On::Shoji, values.into_iter().map(|(key, value)| (format!("vtx_cpus_{key}"), value)).collect());
    Ok(())
}

/// Calls of programs in ring 3. There are none on the bare machine.
fn messages(workspace: &Workspace, logs: &Path, figures: &mut Figures) -> Result<()> {
    let _progress = spinner("Tiny guest that calls programs, under Shoji");
    for (prefix, emulator) in [("", tiny::Emulator::Qemu), ("vtx_", tiny::Emulator::Bochs(vendors::VTX))] {
        let values = tiny::measure(workspace, logs, emulator, On::Shoji, tiny::MESSAGES)?;
        figures.add(On::Shoji, values.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).collect());
    }
    Ok(())
}

fn image(workspace: &Workspace, figures: &mut Figures) -> Result<()> {
    let [text, data, bss] = build::image_size(&workspace.shoji_elf()?)?;
    for (row, bytes) in [("image_text", text), ("image_data", data), ("image_bss", bss)] {
        figures.set(row, On::Shoji, bytes as f64);
    }
    Ok(())
}
