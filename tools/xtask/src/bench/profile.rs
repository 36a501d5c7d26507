//! Where instructions go: a way through the VMM, function by function.

use super::figures::On;
use super::tiny::{self, Emulator};
use super::trace::{self, Watched, Ways};
use crate::symbols::{Place, places};
use anyhow::Result;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use testbed::program::{command, run};
use testbed::progress::spinner;
use testbed::{Workspace, artifact};

/// Functions shown of each way.
const SHOWN: usize = 25;
/// The longest way is shown too when it is so many times the shortest: it did more than answer.
const LONG: usize = 2;
/// An operation of a disk is repeated so often at least.
const ROUNDS: usize = 20;

/// Prints the profiles of the start and of each kind of exit; leaves each exit's instructions in a file.
pub fn print(workspace: &Workspace, logs: &Path) -> Result<()> {
    let progress = spinner("Start of Shoji, instruction by instruction");
    let start = trace::start(workspace, logs)?;
    progress.set_message("Exits, instruction by instruction");
    let exits = exits(workspace, logs, &trace::ALL_KINDS)?;
    progress.finish_and_clear();
    let elf = workspace.shoji_elf()?;
    print_one("entry to first VMRUN", &start, &places(&elf, &start)?);
    let code = disassemble(&elf)?;
    for (name, Ways { shortest, longest, .. }) in &exits {
        print_exit(&elf, logs, &code, name, shortest)?;
        if longest.len() >= LONG * shortest.len() {
            print_exit(&elf, logs, &code, &format!("{name}, the longest"), longest)?;
        }
    }
    println!("\neach exit, instruction by instruction: {}/*.listing", logs.display());
    Ok(())
}

/// Prints the profiles of an AHCI disk's exits in the last read of 4 KiB, without a rule and encrypted; leaves them as [`print`] does.
pub fn print_disks(workspace: &Workspace, logs: &Path) -> Result<()> {
    let elf = workspace.shoji_elf()?;
    let code = disassemble(&elf)?;
    for watched in &trace::DISKS {
        let progress = spinner(&format!("Exits of {}, instruction by instruction", watched.guest));
        let exits = exits(workspace, logs, watched)?;
        progress.finish_and_clear();
        for (name, Ways { last, .. }) in exits.iter().filter(|(_, ways)| ways.count >= ROUNDS) {
            print_exit(&elf, logs, &code, &format!("{} {name}", watched.guest), last)?;
        }
    }
    println!("\neach exit, instruction by instruction: {}/*.listing", logs.display());
    Ok(())
}

fn exits(workspace: &Workspace, logs: &Path, watched: &Watched) -> Result<BTreeMap<String, Ways>> {
    tiny::measure(workspace, logs, Emulator::Qemu, On::Shoji, watched.guest)?;
    trace::exits(workspace, logs, watched)
}

fn print_exit(elf: &Path, logs: &Path, code: &HashMap<u64, String>, name: &str, path: &[u64]) -> Result<()> {
    let places = places(elf, path)?;
    print_one(name, path, &places);
    let listing: String = path.iter().map(|at| listed(*at, code, &places)).collect();
    artifact::write(&logs.join(format!("{}.listing", name.replace(", ", "-").replace(' ', "-"))), listing.as_bytes())
}

fn print_one(name: &str, path: &[u64], places: &HashMap<u64, Vec<Place>>) {
    println!("\n{name}: {} instructions of the VMM", path.len());
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for at in path {
        let innermost = places.get(at).and_then(|places| places.first());
        *counts.entry(innermost.map_or("?", |place| &place.function)).or_default() += 1;
    }
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (function, count) in counts.iter().take(SHOWN) {
        println!("{count:9}  {function}");
    }
    let rest: u64 = counts.iter().skip(SHOWN).map(|(_, count)| count).sum();
    if rest > 0 {
        println!("{rest:9}  in {} more", counts.len() - SHOWN);
    }
}

fn listed(at: u64, code: &HashMap<u64, String>, places: &HashMap<u64, Vec<Place>>) -> String {
    let code = code.get(&at).map_or("?", String::as_str);
    match places.get(&at).and_then(|places| places.first()) {
        Some(Place { function, line }) => format!("{at:x}  {code:60} {function}  {line}\n"),
        None => format!("{at:x}  {code}\n"),
    }
}

/// Each instruction of the image.
fn disassemble(elf: &Path) -> Result<HashMap<u64, String>> {
    let said = run(command("objdump").args(["-d", "-Mintel", "--no-show-raw-insn"]).arg(elf))?;
    let instruction = |line: &str| {
        let (at, code) = line.split_once(':')?;
        let code = code.split('#').next().unwrap_or_default();
        Some((u64::from_str_radix(at.trim(), 16).ok()?, code.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    Ok(said.lines().filter_map(instruction).collect())
}
