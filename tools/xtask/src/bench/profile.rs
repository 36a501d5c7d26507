//! Where instructions go: a way through the VMM, function by function.

use super::figures::{Figures, On};
use super::{tiny, trace};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use testbed::Workspace;
use testbed::program::command;
use testbed::progress::spinner;

/// Functions shown of each way.
const SHOWN: usize = 25;

/// Prints the profiles of the start and of each kind of exit.
pub fn print(workspace: &Workspace, logs: &Path) -> Result<()> {
    let progress = spinner("Start of Shoji, instruction by instruction");
    let start = trace::start(workspace, logs)?;
    progress.set_message("Exits, instruction by instruction");
    tiny::measure(workspace, logs, On::Shoji, &mut Figures::default())?;
    let exits = trace::exits(workspace, logs)?;
    progress.finish_and_clear();
    let elf = workspace.shoji_elf()?;
    print_one(&elf, "entry to first VMRUN", &start)?;
    exits.iter().try_for_each(|(name, path)| print_one(&elf, name, path))
}

fn print_one(elf: &Path, name: &str, path: &[u64]) -> Result<()> {
    println!("\n{name}: {} instructions of the VMM", path.len());
    let functions = functions(elf, path)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for at in path {
        *counts.entry(functions.get(at).map_or("?", String::as_str)).or_default() += 1;
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
    Ok(())
}

/// The function that each address belongs to in the source, inlined or not, with the line.
fn functions(elf: &Path, path: &[u64]) -> Result<HashMap<u64, String>> {
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
    let _ = writer.join();
    Ok(innermost(&String::from_utf8_lossy(&output.stdout)))
}

/// The first name after each address; those that follow are the functions that it was inlined into.
fn innermost(said: &str) -> HashMap<u64, String> {
    let mut functions = HashMap::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        let Some(at) = line.strip_prefix("0x").and_then(|at| u64::from_str_radix(at, 16).ok()) else { continue };
        functions.insert(at, lines.next().unwrap_or("?").to_owned());
    }
    functions
}

#[cfg(test)]
mod tests {
    use super::innermost;

    #[test]
    fn an_instruction_belongs_to_the_innermost_function() {
        let said = "0x0000000000001000\ninner\na.rs:1\nouter\nb.rs:2\n0x0000000000001004\nouter\nb.rs:3\n";
        let functions = innermost(said);
        assert_eq!((functions[&0x1000].as_str(), functions[&0x1004].as_str()), ("inner", "outer"));
    }
}
