//! The VMM's instructions, one by one, as the emulator logs them.

use super::exits::Exit;
use super::tiny;
use anyhow::{Context, Result, bail};
use object::{Object, ObjectSegment};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::ChildStderr;
use std::time::{Duration, Instant};
use testbed::accel::Accelerator;
use testbed::qemu::{Chipset, Qemu, Writes};
use testbed::{Workspace, disks};

const MEMORY_MIB: u32 = 512;
const PATIENCE: Duration = Duration::from_secs(600);
/// Where the loader puts the image (its physical addresses); the first page holds the 32-bit start.
const LOADED_AT: u64 = 0x20_0000;
const START_BYTES: u64 = 0x1000;
/// Something in the trace.
enum Event {
    /// An instruction of the VMM at this address.
    Executed(u64),
    Run,
    Exit(Exit),
}

struct Trace {
    lines: BufReader<ChildStderr>,
    image: (u64, u64),
    line: Vec<u8>,
}

impl Trace {
    fn next(&mut self) -> Result<Option<Event>> {
        loop {
            self.line.clear();
            if self.lines.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(None);
            }
            if let Some(event) = parse(&String::from_utf8_lossy(&self.line), self.image.0) {
                return Ok(Some(event));
            }
        }
    }
}

/// `Trace 0: HOST [CS BASE/PC/FLAGS/CFLAGS] SYMBOL`, `vmrun! VMCB` or `vmexit(...)`; `None`: something else.
fn parse(line: &str, image_start: u64) -> Option<Event> {
    if let Some(trace) = line.strip_prefix("Trace ") {
        let pc = u64::from_str_radix(trace.split_once('[')?.1.split('/').nth(1)?, 16).ok()?;
        return Some(Event::Executed(if pc < image_start { image_start + (pc - LOADED_AT) } else { pc }));
    }
    if line.starts_with("vmrun!") { Some(Event::Run) } else { Exit::parse(line).map(Event::Exit) }
}

/// First and last address of the image as linked.
fn image(workspace: &Workspace) -> Result<(u64, u64)> {
    let elf = std::fs::read(workspace.shoji_elf()?)?;
    let elf = object::File::parse(&*elf)?;
    let ends = elf.segments().map(|segment| (segment.address(), segment.address() + segment.size()));
    let ends: Vec<(u64, u64)> = ends.collect();
    let start = ends.iter().map(|ends| ends.0).min().context("an image without segments")?;
    Ok((start, ends.iter().map(|ends| ends.1 - 1).max().unwrap_or(start)))
}

fn traced(qemu: Qemu, image: (u64, u64)) -> Qemu {
    let start = (LOADED_AT, LOADED_AT + START_BYTES - 1);
    qemu.until(Instant::now() + PATIENCE).count_instructions().trace(&[start, image])
}

/// Everything from the VMM's entry to its first VMRUN, on the small guest's disk.
pub fn start(workspace: &Workspace, logs: &Path) -> Result<Vec<u64>> {
    let (disk, image) = (disks::small(workspace, false)?, image(workspace)?);
    let qemu = Qemu::new(&logs.join("trace-start"), MEMORY_MIB, Accelerator::Tcg)?.request("quiet", "normal");
    let qemu = qemu.ide_disk(0, &disk.path, Writes::Dropped);
    let (_machine, log) = traced(qemu, image).start_logging()?;
    let mut trace = Trace { lines: BufReader::new(log), image, line: Vec::new() };
    let mut path = Vec::new();
    while let Some(event) = trace.next()? {
        match event {
            Event::Executed(at) => path.push(at),
            Event::Run => return Ok(path),
            Event::Exit(_) => {}
        }
    }
    bail!("the emulator ended before the first VMRUN")
}

/// Ways through the VMM from an exit to VMRUN, that included, for each kind of exit.
#[derive(Default)]
pub struct Ways {
    pub shortest: Vec<u64>,
    pub longest: Vec<u64>,
    pub last: Vec<u64>,
    pub count: usize,
}

impl Ways {
    fn add(&mut self, way: Vec<u64>) {
        if self.shortest.is_empty() || way.len() < self.shortest.len() {
            self.shortest = way.clone();
        }
        if way.len() > self.longest.len() {
            self.longest = way.clone();
        }
        self.last = way;
        self.count += 1;
    }
}

/// A tiny guest that is watched until it says `until`. Its disk is at the chipset's own controller.
pub struct Watched {
    pub guest: &'static str,
    pub chipset: Chipset,
    pub until: &'static str,
}

/// When the guest `bench` says so, it has done everything once that leads to exits of different kinds.
pub const ALL_KINDS: Watched = Watched { guest: tiny::BENCH, chipset: Chipset::Pc, until: "BENCH read_4k_encrypted" };
/// What they say after the last of their reads of 4 KiB.
pub const DISKS: [Watched; 2] = [
    Watched { guest: tiny::BENCH_AHCI_FREE, chipset: Chipset::Q35, until: "BENCH read_4k_free" },
    Watched { guest: tiny::BENCH_AHCI, chipset: Chipset::Q35, until: "BENCH read_4k_encrypted" },
];

/// The exits of a tiny guest that [`tiny::measure`] has run, by what it did.
pub fn exits(workspace: &Workspace, logs: &Path, watched: &Watched) -> Result<BTreeMap<String, Ways>> {
    let image = image(workspace)?;
    let mut qemu = Qemu::new(&logs.join("trace-exits"), MEMORY_MIB, Accelerator::Tcg)?.debug_exit();
    qemu = qemu.chipset(watched.chipset);
    for ((file, device), bus) in tiny::disks(logs, watched.guest).iter().zip(["ide-hd", "ide-cd"]).zip(0..) {
        let file = file.to_string_lossy().replace(',', ",,");
        qemu = qemu.args(["-drive", &format!("if=none,id=d{bus},format=raw,snapshot=on,file={file}")]);
        qemu = qemu.args(["-device", &format!("{device},drive=d{bus},bus=ide.{bus},unit=0,bootindex={}", 1 - bus)]);
    }
    let (machine, log) = traced(qemu, image).start_logging()?;
    let mut trace = Trace { lines: BufReader::new(log), image, line: Vec::new() };
    let mut exits: BTreeMap<String, Ways> = BTreeMap::new();
    let mut now: Option<(Exit, Vec<u64>)> = None;
    while let Some(event) = trace.next()? {
        match event {
            Event::Exit(exit) => now = Some((exit, Vec::new())),
            Event::Executed(at) => now.iter_mut().for_each(|(_, way)| way.push(at)),
            Event::Run => {
                let Some((exit, way)) = now.take() else { continue };
                exits.entry(exit.name()).or_default().add(way);
                if machine.console.text().contains(watched.until) {
                    return Ok(exits);
                }
            }
        }
    }
    bail!("the emulator ended before the tiny guest was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_understood() {
        let at = |line| match parse(line, 0xffff_ffff_8000_0000) {
            Some(Event::Executed(at)) => at,
            _ => 0,
        };
        assert_eq!(
            at("Trace 0: 0x7f80 [0000000000000000/0000000000200040/000000b0/ff020201] \n"),
            0xffff_ffff_8000_0040
        );
        assert_eq!(
            at("Trace 0: 0x7f80 [0000000000000000/ffffffff800005ca/000000b0/ff020201] x\n"),
            0xffff_ffff_8000_05ca
        );
        assert!(matches!(parse("vmrun! 000000001f095000\n", 0), Some(Event::Run)));
        assert!(matches!(parse("vmexit(00000072, 0, 0, 7c00)!\n", 0), Some(Event::Exit(_))));
        assert!(parse("0x00200040:  fa                       cli\n", 0).is_none());
    }
}
