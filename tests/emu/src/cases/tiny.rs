//! The tiny guests, one exit kind each, and those that attack, with a verdict of their own. All run in QEMU and on every model of Bochs that can.

use crate::case::{Boot, Case, Cx, On};
use anyhow::{Context, Result, bail};
use guest_images::{Emulator, MODELS, Machine, Model, TinyGuest, Verdict, all};
use std::fs;
use std::path::{Path, PathBuf};

/// How the names of those begin that measure instead of judging: `cargo xtask bench` runs them.
const BENCH: &str = "bench";

/// For a hanging case; the machines have limits of their own.
const TIMEOUT_S: u64 = 1800;

pub fn cases() -> Vec<Case> {
    let on_models = MODELS
        .iter()
        .flat_map(|model| guests().filter(|guest| model.excludes(guest).is_none()).map(|guest| on_bochs(guest, model)));
    guests().filter(|guest| !guest.uses_vtx).map(on_qemu).chain(on_models).collect()
}

/// Those with a verdict of their own.
fn guests() -> impl Iterator<Item = &'static TinyGuest> {
    all().filter(|guest| !guest.defects && !guest.traces)
}

fn on_qemu(guest: &'static TinyGuest) -> Case {
    let case = case(guest, format!("{}_{}", kind(guest), guest.name), |cx| Emulator::Qemu(cx.accelerator));
    let case = if guest.cpus == [1] { case.beside_others() } else { case };
    match guest.tcg_only {
        Some(why) => case.only_by_tcg(why),
        None => case,
    }
}

fn on_bochs(guest: &'static TinyGuest, model: &'static Model) -> Case {
    let case =
        case(guest, format!("{}_{}_on_{}", kind(guest), guest.name, model.name), |_| Emulator::Bochs(model.name));
    let case = case.beside_others();
    if model.always_runs(guest) { case } else { case.only_in_long_runs() }
}

/// What the name of its case begins with.
fn kind(guest: &TinyGuest) -> &'static str {
    if guest.program == "attack" { "attack" } else { "tiny_guest" }
}

fn case(guest: &'static TinyGuest, name: String, emulator: impl Fn(&Cx) -> Emulator + Send + Sync + 'static) -> Case {
    let case = Case::new(name, TIMEOUT_S, move |cx| run(cx, guest, emulator(cx)));
    let case = if guest.uses_vtx { case.on(On::BareOnly) } else { case };
    if guest.name.starts_with(BENCH) { case.only_in_long_runs() } else { case }
}

fn run(cx: &Cx, guest: &TinyGuest, emulator: Emulator) -> Result<()> {
    let medium = (cx.boot == Boot::Shoji).then(|| boot_medium(cx, guest)).transpose()?;
    let rounds = cx.count(guest.rounds[0], guest.rounds[1]);
    let programs = guest_images::build_programs(cx.workspace.root())?;
    emulator.machines(guest).try_for_each(|(memory_mib, cpus)| {
        let name = format!("{memory_mib}-{cpus}");
        let (disk, logs) = (cx.dir.join(format!("{name}.img")), cx.dir.join(name));
        guest_images::write_disk(&programs, guest, &disk)?;
        let machine =
            Machine { emulator, memory_mib, cpus, rounds, disk: &disk, medium: medium.as_deref(), logs: &logs };
        match machine.run(guest, machine.limit(guest).min(cx.left()))? {
            Verdict::Pass => no_defect(&logs.join("shoji.log")),
            Verdict::Fail(reason) => bail!("with {memory_mib} MiB and {cpus} CPUs the guest says: {reason}"),
            Verdict::Broken(why) => bail!("with {memory_mib} MiB and {cpus} CPUs: {why}"),
        }
    })
}

/// A guest that has passed may have seen Shoji fall and rise again.
fn no_defect(log: &Path) -> Result<()> {
    let log = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    match log.lines().find(|line| line.contains("defect in the VMM")) {
        Some(line) => bail!("the guest has passed, but Shoji says: {line}"),
        None => Ok(()),
    }
}

/// A CD with GRUB, Shoji and the configuration that this guest wants.
fn boot_medium(cx: &Cx, guest: &TinyGuest) -> Result<PathBuf> {
    let (blob, medium) = (guest_images::blob(guest)?, cx.dir.join("medium.iso"));
    let files = guest_images::Files { blob: &blob, key: None };
    guest_images::boot_media(&cx.workspace.shoji_elf()?, &files, None, &medium)
        .context("cannot make the boot medium")?;
    Ok(medium)
}
