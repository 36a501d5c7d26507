//! Where instructions go: a way through the VMM, function by function.

use super::figures::On;
use super::tiny::{self, Emulator};
use super::trace::{self, Ways};
use anyhow::{Context, Result, anyhow};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use testbed::program::{command, run};
use testbed::progress::spinner;
use testbed::{Workspace, artifact};

/// Functions shown of each way.
const SHOWN: usize = 25;
/// The longest way is shown too when it is so many times the shortest: it did more than answer.
const LONG: usize = 2;

/// Where an instruction comes from.
struct Place {
    /// The innermost one, if others were inlined.
    function: String,
    /// `FILE:LINE`.
    line: String,
}

/// Prints the profiles of the start and of each kind of exit; leaves each exit's instructions in a file.
pub fn print(workspace: &Workspace, logs: &Path) -> Result<()> {
    let progress = spinner("Start of Shoji, instruction by instruction");
    let start = trace::start(workspace, logs)?;
    progress.set_message("Exits, instruction by instruction");
    tiny::measure(workspace, logs, Emulator::Qemu, On::Shoji)?;
    let exits = trace::exits(workspace, logs)?;
    progress.finish_and_clear();
    let elf = workspace.shoji_elf()?;
    print_one("entry to first VMRUN", &start, &places(&elf, &start)?);
    let code = disassemble(&elf)?;
    for (name, Ways { shortest, longest }) in &exits {
        print_exit(&elf, logs, &code, name, shortest)?;
        if longest.len() >= LONG * shortest.len() {
            print_exit(&elf, logs, &code, &format!("{name}, the longest"), longest)?;
        }
    }
    println!("\neach exit, instruction by instruction: {}/*.listing", logs.display());
    Ok(())
}

fn print_exit(elf: &Path, logs: &Path, code: &HashMap<u64, String>, name: &str, path: &[u64]) -> Result<()> {
    let places = places(elf, path)?;
    print_one(name, path, &places);
    let listing: String = path.iter().map(|at| listed(*at, code, &places)).collect();
    artifact::write(&logs.join(format!("{}.listing", name.replace(", ", "-").replace(' ', "-"))), listing.as_bytes())
}

fn print_one(name: &str, path: &[u64], places: &HashMap<u64, Place>) {
    println!("\n{name}: {} instructions of the VMM", path.len());
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for at in path {
        *counts.entry(places.get(at).map_or("?", |place| &place.function)).or_default() += 1;
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

fn listed(at: u64, code: &HashMap<u64, String>, places: &HashMap<u64, Place>) -> String {
    let code = code.get(&at).map_or("?", String::as_str);
    match places.get(&at) {
        Some(Place { function, line }) => format!("{at:x}  {code:60} {function}  {line}\n"),
        None => format!("{at:x}  {code}\n"),
    }
}

/// The place in the source of each address.
fn places(elf: &Path, path: &[u64]) -> Result<HashMap<u64, Place>> {
    let mut addresses = path.to_vec();
    addresses.sort_unstable();
    addresses.dedup();
    let mut addr2line = command("addr2line");
    addr2line.args(["-a", "-f", "-C", "-i", "-e"]).arg(elf).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = addr2line.spawn().context("cannot run addr2line")?;
    let input: String = addresses.iter().map(|at| format!("{at:#x}\n")).collect();
    let mut stdin = child.stdin.take().context("no input")?;
    // In a thread of its own: both pipes may be full.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow!("the thread that feeds addr2line has panicked"))??;
    Ok(innermost(&String::from_utf8_lossy(&output.stdout)))
}

/// The first function after each address; those that follow are what it was inlined into.
fn innermost(said: &str) -> HashMap<u64, Place> {
    let mut places = HashMap::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        let Some(at) = line.strip_prefix("0x").and_then(|at| u64::from_str_radix(at, 16).ok()) else { continue };
        let mut next = || lines.next().unwrap_or("?").to_owned();
        let (function, line) = (next(), next());
        // The last two folders tell enough.
        let line = line.rsplitn(4, '/').take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/");
        places.insert(at, Place { function, line });
    }
    places
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

#[cfg(test)]
mod tests {
    use super::innermost;

    #[test]
    fn an_instruction_belongs_to_the_innermost_function() {
        let said = "0x0000000000001000\ninner\n/x/y/src/a.rs:1\nouter\nb.rs:2\n0x0000000000001004\nouter\nb.rs:3\n";
        let places = innermost(said);
        assert_eq!((places[&0x1000].function.as_str(), places[&0x1004].function.as_str()), ("inner", "outer"));
        assert_eq!((places[&0x1000].line.as_str(), places[&0x1004].line.as_str()), ("y/src/a.rs:1", "b.rs:3"));
    }
}
