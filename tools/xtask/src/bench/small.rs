//! What the small Linux guest costs, counted by the emulator.

use super::exits::Exits;
use super::figures::{Figures, On};
use anyhow::{Context, Result, bail, ensure};
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};
use testbed::accel::Accelerator;
use testbed::disk::Disk;
use testbed::monitor::Monitor;
use testbed::qemu::{Machine, Qemu, Writes};
use testbed::{Workspace, disks};

const MEMORY_MIB: u32 = 512;
/// Ten times what an idle host takes.
const PATIENCE: Duration = Duration::from_secs(600);

/// The counters at a mark of the guest's script: a line `MARK name operations uptime`.
pub struct Mark {
    /// Of the operation.
    pub name: String,
    /// Operations between the mark before and this one.
    pub operations: u64,
    /// Of the guest's clock.
    pub uptime_s: f64,
    pub instructions: u64,
    /// Exits since the mark before.
    pub exits: Exits,
}

/// Boots it to run a script; `change` makes another machine of it.
pub fn start(
    workspace: &Workspace,
    dir: &Path,
    on: On,
    script: &str,
    change: impl FnOnce(Qemu) -> Qemu,
) -> Result<(Machine, Monitor)> {
    start_from(&disks::small(workspace, on == On::Bare)?, dir, on, script, change)
}

/// As [`start`], from this disk.
pub fn start_from(
    disk: &Disk,
    dir: &Path,
    on: On,
    script: &str,
    change: impl FnOnce(Qemu) -> Qemu,
) -> Result<(Machine, Monitor)> {
    let how = if on == On::Bare { "bare" } else { "normal" };
    let (qemu, monitor) = Qemu::new(dir, MEMORY_MIB, Accelerator::Tcg)?.until(Instant::now() + PATIENCE).monitor()?;
    let qemu = qemu.request(&format!("shoji.test={script}"), how).ide_disk(0, &disk.path, Writes::Dropped);
    Ok((change(qemu).record_instructions().log_exits().start()?, monitor))
}

/// Runs its script `bench`.
pub fn measure(workspace: &Workspace, logs: &Path, on: On, figures: &mut Figures) -> Result<()> {
    let dir = logs.join(if on == On::Bare { "linux-bare" } else { "linux-shoji" });
    let (mut machine, mut monitor) = start(workspace, &dir, on, "bench", |qemu| qemu)?;
    machine.expect("STARTED")?;
    figures.set("boot", on, monitor.instructions()? as f64);
    let mut log = machine.exit_log()?;
    if on == On::Shoji {
        set_exits(Exits::count(&mut log)?, figures)?;
    }
    let marks = marks(&mut machine, &mut monitor, log)?;
    machine.wait(PATIENCE)?;
    for (name, cost) in costs(&marks) {
        figures.set(format!("linux_{name}"), on, cost);
    }
    let (below, above) = usable_bytes(&machine.console.text());
    for (usable, kept, bytes) in
        [("memory_usable", "memory_kept", above), ("conventional_usable", "conventional_kept", below)]
    {
        figures.set(usable, on, bytes as f64);
        if let (Some(bare), Some(shoji)) = (figures.get(usable, On::Bare), figures.get(usable, On::Shoji)) {
            figures.set(kept, On::Shoji, (bare - shoji) / 1024.0);
        }
    }
    Ok(())
}

fn set_exits(exits: Exits, figures: &mut Figures) -> Result<()> {
    for (row, count) in [
        ("exits", exits.disk_aside()),
        ("exits_disk", exits.disk()),
        ("exits_interrupts", exits.interrupts()),
        ("exits_needless", exits.needless()),
    ] {
        figures.set(row, On::Shoji, count as f64);
    }
    let per_sector = exits.per_sector().context("the exit log shows no sector read by PIO")?;
    figures.set("exits_per_sector", On::Shoji, per_sector);
    let kinds = exits.by_kind.into_iter().map(|(kind, count)| (kind, count as f64));
    figures.set_exits("Exits from first VMRUN to guest init", kinds);
    Ok(())
}

/// Reads the counters at every mark, until the guest's verdict; `log` is the rest of the exit log.
pub fn marks(machine: &mut Machine, monitor: &mut Monitor, mut log: impl BufRead) -> Result<Vec<Mark>> {
    let mut marks = Vec::new();
    while machine.expect_any(&["VERDICT ", "MARK "])?.0 != 0 {
        let mark = machine.expect("\n")?;
        let instructions = monitor.instructions()?;
        let exits = Exits::count(&mut log)?;
        let words: Vec<&str> = mark.split_whitespace().collect();
        let [name, operations, uptime] = words[..] else { bail!("a mark that says `{}`", mark.trim()) };
        ensure!(machine.console.is_quiet(), "the guest went on before its instructions were counted: host too busy");
        let (name, operations, uptime_s) = (name.to_owned(), operations.parse()?, uptime.parse()?);
        marks.push(Mark { name, operations, uptime_s, instructions, exits });
    }
    let verdict = machine.expect("\n")?;
    ensure!(verdict.trim() == "pass", "the guest's verdict: {verdict}");
    Ok(marks)
}

/// Instructions of one operation of each name. Three marks each: start, after few, after many.
pub fn costs(marks: &[Mark]) -> Vec<(&str, f64)> {
    let cost = |marks: &[Mark]| {
        let [start, few, many] = marks else { return None };
        let difference = |from: &Mark, to: &Mark| to.instructions.checked_sub(from.instructions);
        let more = difference(few, many)?.checked_sub(difference(start, few)?)?;
        Some(more as f64 / many.operations.checked_sub(few.operations).filter(|more| *more > 0)? as f64)
    };
    let groups = marks.chunk_by(|a, b| a.name == b.name);
    groups.filter_map(|group| Some((group.first()?.name.as_str(), cost(group)?))).collect()
}

/// RAM below and above 1 MiB in the memory map that the guest was given: lines `MEMMAP 0xFIRST 0xLAST System RAM`.
fn usable_bytes(console: &str) -> (u64, u64) {
    let number = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let range = |line: &str| {
        let (first, rest) = line.trim().strip_prefix("MEMMAP ")?.split_once(' ')?;
        let last = rest.strip_suffix(" System RAM")?;
        Some((number(first)?, (number(last)? + 1).checked_sub(number(first)?)?))
    };
    let (below, above): (Vec<_>, Vec<_>) = console.lines().filter_map(range).partition(|(first, _)| *first < 1 << 20);
    let sum = |ranges: Vec<(u64, u64)>| ranges.into_iter().map(|(_, bytes)| bytes).sum();
    (sum(below), sum(above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_depend_on_the_number_of_operations_is_taken_off() {
        let mark = |name: &str, operations, instructions| Mark {
            name: name.into(),
            operations,
            uptime_s: 0.0,
            instructions,
            exits: Exits::default(),
        };
        let marks = [
            mark("a", 0, 1000),
            mark("a", 2, 1000 + 500 + 2 * 30),
            mark("a", 10, 1560 + 500 + 10 * 30),
            mark("cut off", 0, 5000),
        ];
        assert_eq!(costs(&marks), [("a", 30.0)]);
    }

    #[test]
    fn only_ram_counts_as_usable() {
        let map =
            "MEMMAP 0x0 0x9fbff System RAM\r\nMEMMAP 0x9fc00 0x9ffff Reserved\r\nMEMMAP 0x100000 0x1fffff System RAM\n";
        assert_eq!(usable_bytes(map), (0x9fc00, 0x10_0000));
    }
}
