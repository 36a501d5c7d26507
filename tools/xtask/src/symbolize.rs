//! `cargo xtask symbolize LOG`: function and line to the addresses of Shoji's code in a log.

use crate::programs;
use crate::symbols::{Place, places};
use anyhow::{Context, Result};
use clap::Args;
use object::read::elf::{ElfFile64, ProgramHeader};
use object::{Endianness, elf};
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use testbed::Workspace;

#[derive(Args)]
pub struct SymbolizeArgs {
    /// What Shoji said on COM1
    log: PathBuf,
    /// The image that said it, if not target/shoji/shoji.elf
    #[arg(long)]
    elf: Option<PathBuf>,
}

pub fn symbolize(workspace: &Workspace, args: &SymbolizeArgs) -> Result<()> {
    let log = std::fs::read(&args.log).with_context(|| format!("cannot read {}", args.log.display()))?;
    let elf = args.elf.clone().map_or_else(|| workspace.shoji_elf(), Ok)?;
    let said = symbolized(&String::from_utf8_lossy(&log), &elf)?;
    print!("{}", with_programs(said, &programs::names(workspace)?, |name| programs::elf(workspace, name))?);
    Ok(())
}

/// The same with the places of programs' addresses, `NAME+0x...`: theirs are their own.
fn with_programs(mut log: String, names: &[String], elf: impl Fn(&str) -> PathBuf) -> Result<String> {
    for package in names {
        // The manifest's name of a program may be shorter than its package's.
        let name = package.strip_suffix("_server").unwrap_or(package);
        let mark = format!(" {name}+0x");
        let of_line = |line: &str| {
            let (before, rest) = line.split_once(&mark)?;
            let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
            let at = u64::from_str_radix(&digits, 16).ok()?;
            at.checked_sub(u64::from(format!("{before} ").ends_with(RETURN)))
        };
        let all: Vec<u64> = log.lines().filter_map(of_line).collect();
        let found = if all.is_empty() { continue } else { places(&elf(package), &all)? };
        let mut out = String::new();
        for line in log.lines() {
            writeln!(out, "{line}")?;
            if let Some(place) = of_line(line).and_then(|at| found.get(&at)) {
                write_places(&mut out, place)?;
            }
        }
        log = out;
    }
    Ok(log)
}

/// What stands before a return address. The call, and not what comes after it, is the instruction before.
const RETURN: &str = "called from ";

/// The log, with the places of each line's addresses below it.
fn symbolized(log: &str, elf: &Path) -> Result<String> {
    let image = std::fs::read(elf).with_context(|| format!("cannot read {}: run cargo xtask build", elf.display()))?;
    let code = code_ranges(&image).with_context(|| format!("{} is no image of Shoji's", elf.display()))?;
    let all: Vec<u64> = log.lines().flat_map(|line| addresses(line, &code)).collect();
    let places = if all.is_empty() { HashMap::new() } else { places(elf, &all)? };
    let mut out = String::new();
    for line in log.lines() {
        writeln!(out, "{}", line.trim_end())?;
        for place in addresses(line, &code).iter().filter_map(|at| places.get(at)) {
            write_places(&mut out, place)?;
        }
    }
    Ok(out)
}

fn write_places(out: &mut String, places: &[Place]) -> std::fmt::Result {
    places.iter().enumerate().try_for_each(|(depth, Place { function, line })| {
        let how = if depth == 0 { "" } else { "inlined into " };
        writeln!(out, "        {how}{function}  {line}")
    })
}

/// The numbers `0x...` of a line that lie in the code; of return addresses the call's.
fn addresses(line: &str, code: &[Range<u64>]) -> Vec<u64> {
    let back = u64::from(line.contains(RETURN));
    let digits = |rest: &str| rest.chars().take_while(char::is_ascii_hexdigit).collect::<String>();
    let numbers = line.split("0x").skip(1).filter_map(|rest| u64::from_str_radix(&digits(rest), 16).ok());
    let in_code = |at: &u64| code.iter().any(|range| range.contains(at));
    numbers.filter_map(|at| at.checked_sub(back)).filter(in_code).collect()
}

/// Addresses of what the image's segments let execute.
fn code_ranges(image: &[u8]) -> Result<Vec<Range<u64>>> {
    let file = ElfFile64::<Endianness>::parse(image)?;
    let endian = file.endian();
    let headers = file.elf_program_headers().iter();
    let executable = headers.filter(|h| h.p_type(endian) == elf::PT_LOAD && h.p_flags(endian).0 & elf::PF_X.0 != 0);
    Ok(executable.map(|h| h.p_vaddr(endian)..h.p_vaddr(endian) + h.p_memsz(endian)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::{Object, ObjectSymbol};

    /// In this program, which has debug information as Shoji's image has.
    #[inline(never)]
    fn a_function_to_be_found(argument: u64) -> u64 {
        std::hint::black_box(argument) + 1
    }

    fn own_program() -> (PathBuf, u64) {
        a_function_to_be_found(1);
        let elf = std::env::current_exe().unwrap();
        let image = std::fs::read(&elf).unwrap();
        let file = object::File::parse(&*image).unwrap();
        let symbol = file.symbols().find(|s| s.name().is_ok_and(|name| name.contains("a_function_to_be_found")));
        (elf.clone(), symbol.unwrap().address())
    }

    #[test]
    fn addresses_get_function_and_line_and_the_rest_of_the_log_stays() {
        let (elf, at) = own_program();
        let log = format!("[    0.1] INFO  start\r\nat {at:#018x}, rsp 0x10\r\nend\r\n");
        let said = symbolized(&log, &elf).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines[0], lines[1]), ("[    0.1] INFO  start", format!("at {at:#018x}, rsp 0x10").as_str()));
        assert!(lines[2].contains("a_function_to_be_found") && lines[2].contains("symbolize.rs:"), "{said}");
        assert_eq!(*lines.last().unwrap(), "end");
    }

    #[test]
    fn of_a_return_address_the_call_is_named() {
        let (elf, at) = own_program();
        // One byte past its first instruction's first byte is the function still, and its first byte is not the one before.
        let said = symbolized(&format!("called from {:#x}\n", at + 1), &elf).unwrap();
        assert!(said.contains("a_function_to_be_found"), "{said}");
        let said = symbolized(&format!("called from {at:#x}\n"), &elf).unwrap();
        assert!(!said.contains("a_function_to_be_found"), "{said}");
    }

    #[test]
    fn addresses_of_a_program_are_its_own() {
        let (elf, at) = own_program();
        let log = format!("| at hello+{at:#x}, rsp 0x10\n| called from hello+{at:#x}\n| at other+{at:#x}\n");
        let said = with_programs(log, &["hello".to_owned()], |_| elf.clone()).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[1].contains("a_function_to_be_found"), "{said}");
        assert!(!lines[3..].iter().any(|line| line.contains("a_function_to_be_found")), "{said}");
    }

    #[test]
    fn numbers_outside_of_the_code_have_no_place() {
        let code = [0x1000..0x1800, 0x1800..0x2000];
        assert_eq!(addresses("0xfff 0x1000, 0x1fff; 0x2000 0x11112222333344445 1800 0x", &code), [0x1000, 0x1fff]);
        assert_eq!(addresses("called from 0x1000", &code), [0; 0]);
        assert_eq!(addresses("| called from 0x2000", &code), [0x1fff]);
    }

    #[test]
    fn what_is_no_image_is_an_error() {
        let text = std::env::temp_dir().join(format!("shoji-symbolize-{}", std::process::id()));
        std::fs::write(&text, "text").unwrap();
        let error = symbolized("0x1", &text).unwrap_err().to_string();
        std::fs::remove_file(&text).unwrap();
        assert!(error.contains("no image of Shoji's"), "{error}");
    }
}
