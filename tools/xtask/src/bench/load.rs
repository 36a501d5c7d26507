//! Linux idle and at work like a kernel's build: instructions of the work, and exits a second.

use super::exits::Exits;
use super::figures::{Figures, On};
use super::small::{self, Mark};
use anyhow::{Context, Result};
use std::path::Path;
use testbed::disk::Disk;
use testbed::progress::spinner;
use testbed::qemu::Qemu;
use testbed::{Workspace, disks};

const IDLE: &str = "idle";
/// The work on the plain disk.
const BUILD: &str = "build_plain";
/// How long the guest's script waits after each mark.
const PAUSE_S: f64 = 1.0;

/// A machine that the work is done on.
struct Load {
    dir: &'static str,
    on: On,
    /// Of the figures; none: those of the script.
    key: Option<&'static str>,
    /// For people.
    machine: &'static str,
    change: fn(Qemu) -> Qemu,
}

const LOADS: [Load; 4] = [
    Load { dir: "load-bare", on: On::Bare, key: None, machine: "bare", change: |qemu| qemu },
    Load { dir: "load-shoji", on: On::Shoji, key: None, machine: "one CPU", change: |qemu| qemu },
    Load { dir: "load-cpus-bare", on: On::Bare, key: CPUS, machine: "bare, there may be two CPUs", change: two_cpus },
    Load { dir: "load-cpus-shoji", on: On::Shoji, key: CPUS, machine: "there may be two CPUs", change: two_cpus },
];
const CPUS: Option<&str> = Some("build_cpus");

/// The local APIC must be hooked, but only one CPU runs: more are nothing to count instructions with.
fn two_cpus(qemu: Qemu) -> Qemu {
    qemu.args(["-smp", "1,maxcpus=2"])
}

pub fn measure(workspace: &Workspace, logs: &Path, figures: &mut Figures) -> Result<()> {
    for load in LOADS {
        let _progress = spinner(&format!("Linux compiles, {} ({})", load.on, load.machine));
        let (mut machine, mut monitor) =
            small::start(workspace, &logs.join(load.dir), load.on, "bench_load", load.change)?;
        machine.expect("STARTED")?;
        let mut log = machine.exit_log()?;
        Exits::count(&mut log)?;
        let marks = small::marks(&mut machine, &mut monitor, log)?;
        for (name, cost) in small::costs(&marks) {
            match load.key {
                None => figures.set(name, load.on, cost),
                Some(key) if name == BUILD => figures.set(key, load.on, cost),
                Some(_) => {}
            }
        }
        if load.on == On::Shoji {
            let (idle, work) = rates(&marks).context("the guest's script has not set its marks")?;
            figures.set_exits(format!("Exits a second, idle, {}", load.machine), idle);
            figures.set_exits(format!("Exits a second, compiling, {}", load.machine), work);
        }
    }
    heartbeat(workspace, &logs.join("load-heartbeat"), figures)
}

/// What it costs to wait for a deadline that must hold: the heartbeat's, every five seconds.
fn heartbeat(workspace: &Workspace, dir: &Path, figures: &mut Figures) -> Result<()> {
    let _progress = spinner("Linux idles while the VMM's heart beats");
    std::fs::create_dir_all(dir)?;
    let small = disks::small(workspace, false)?;
    let disk = Disk { path: dir.join("disk.img"), ..small.clone() };
    std::fs::copy(&small.path, &disk.path).with_context(|| format!("cannot copy {}", small.path.display()))?;
    let blob = dir.join("heartbeat.conf");
    let text = disks::configuration(&disks::key(workspace)?) + "\n[debug]\nheartbeat = true\n";
    disks::compile(&text, &blob)?;
    disk.replace_boot_file("/shoji/shoji.conf", &std::fs::read(blob)?)?;
    let (mut machine, mut monitor) = small::start_from(&disk, dir, On::Shoji, "bench_idle", |qemu| qemu)?;
    machine.expect("STARTED")?;
    let mut log = machine.exit_log()?;
    Exits::count(&mut log)?;
    let marks = small::marks(&mut machine, &mut monitor, log)?;
    let idle = idle_rates(&marks).context("the guest's script has not set its marks")?;
    figures.set_exits("Exits a second, idle, one CPU, with a heartbeat", idle);
    std::fs::remove_file(&disk.path)?;
    Ok(())
}

type Rates = Vec<(&'static str, f64)>;

/// Exits a second of the guest's clock, idle and at work. The pause in which the counters are read is taken off from work:
/// the guest is idle then.
fn rates(marks: &[Mark]) -> Option<(Rates, Rates)> {
    let idle = idle_rates(marks)?;
    let (seconds, exits) = last_two(marks, BUILD)?;
    let in_pause = |kind: &str| idle.iter().find(|(name, _)| *name == kind).map_or(0.0, |(_, rate)| rate * PAUSE_S);
    let work_s = (seconds - PAUSE_S).max(f64::EPSILON);
    let work = exits.by_kind.iter().map(|(kind, count)| (*kind, (*count as f64 - in_pause(kind)).max(0.0) / work_s));
    Some((idle.clone(), work.collect()))
}

fn idle_rates(marks: &[Mark]) -> Option<Rates> {
    let (seconds, exits) = last_two(marks, IDLE)?;
    Some(exits.rates(seconds).collect())
}

/// Seconds and exits between the last two marks of this name.
fn last_two<'a>(marks: &'a [Mark], name: &str) -> Option<(f64, &'a Exits)> {
    let of: Vec<&Mark> = marks.iter().filter(|mark| mark.name == name).collect();
    let [.., before, last] = of[..] else { return None };
    Some((last.uptime_s - before.uptime_s, &last.exits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_the_work_is_idle() {
        let mark = |name: &str, uptime_s, cpuids: usize| Mark {
            name: name.into(),
            operations: 0,
            uptime_s,
            instructions: 0,
            exits: Exits::count(&mut "vmexit(00000072, 0, 0, 0)!\n".repeat(cpuids).as_bytes()).unwrap(),
        };
        let marks = [mark(IDLE, 1.0, 9), mark(IDLE, 11.0, 20), mark(BUILD, 12.0, 0), mark(BUILD, 15.0, 102)];
        assert_eq!(rates(&marks), Some((vec![("CPUID", 2.0)], vec![("CPUID", 50.0)])));
        assert_eq!(rates(&marks[..3]), None);
    }
}
