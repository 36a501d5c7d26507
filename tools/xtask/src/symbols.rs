//! From addresses of an image to functions and lines, by `addr2line` of the binutils.

use anyhow::{Context, Result, anyhow};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use testbed::program::command;

/// Where an instruction comes from.
pub struct Place {
    pub function: String,
    /// `FILE:LINE`.
    pub line: String,
}

/// The places in the source of each address: the innermost first, then what it was inlined into. None has no place.
pub fn places(elf: &Path, addresses: &[u64]) -> Result<HashMap<u64, Vec<Place>>> {
    let mut addresses = addresses.to_vec();
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
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// After each address come pairs of lines: function, and file with line.
fn parse(said: &str) -> HashMap<u64, Vec<Place>> {
    let mut places: HashMap<u64, Vec<Place>> = HashMap::new();
    let (mut at, mut lines) = (0, said.lines());
    while let Some(line) = lines.next() {
        if let Some(address) = line.strip_prefix("0x").and_then(|at| u64::from_str_radix(at, 16).ok()) {
            at = address;
            continue;
        }
        let place = Place { function: line.to_owned(), line: short(lines.next().unwrap_or("?")) };
        places.entry(at).or_default().push(place);
    }
    places
}

/// The last two folders tell enough.
fn short(line: &str) -> String {
    line.rsplitn(4, '/').take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_instruction_belongs_to_the_innermost_function_and_those_around_it() {
        let said = "0x0000000000001000\ninner\n/x/y/src/a.rs:1\nouter\nb.rs:2\n0x0000000000001004\nouter\nb.rs:3\n";
        let places = parse(said);
        let names = |at| places[&at].iter().map(|place| place.function.as_str()).collect::<Vec<_>>();
        assert_eq!((names(0x1000), names(0x1004)), (vec!["inner", "outer"], vec!["outer"]));
        assert_eq!((places[&0x1000][0].line.as_str(), places[&0x1004][0].line.as_str()), ("y/src/a.rs:1", "b.rs:3"));
    }
}
