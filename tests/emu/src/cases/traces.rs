//! What QEMU's disk controllers answer to the scripts of the crate `traces`: the golden traces, which the simulated controllers are
//! held against on the host, are still its own.

use crate::case::{Case, Cx, On};
use anyhow::{Context, Result, ensure};
use guest_images::{Emulator, Machine, TinyGuest, Verdict, all};
use std::fmt::Write;
use std::fs;
use testbed::program;
use testbed::qemu::qemu_command;

/// As the guest marks the lines.
const MARK: &str = "TRACE ";
const TIMEOUT_S: u64 = 180;

pub fn cases() -> Vec<Case> {
    let guests = all().filter(|guest| guest.traces);
    guests
        .map(|guest| {
            let name = format!("{}_of_qemu_is_the_golden_one", guest.name);
            Case::new(name, TIMEOUT_S, move |cx| run(cx, guest)).on(On::BareOnly).beside_others()
        })
        .collect()
}

fn run(cx: &Cx, guest: &TinyGuest) -> Result<()> {
    let programs = guest_images::build_programs(cx.workspace.root())?;
    let (disk, logs) = (cx.dir.join("disk.img"), cx.dir.join("logs"));
    guest_images::write_disk(&programs, guest, &disk)?;
    let emulator = Emulator::Qemu(cx.accelerator);
    let machine = Machine { emulator, memory_mib: 512, cpus: 1, rounds: 1, disk: &disk, medium: None, logs: &logs };
    let verdict = machine.run(guest, machine.limit(guest).min(cx.left()))?;
    ensure!(verdict == Verdict::Pass, "the guest ends with {verdict:?}");

    let said = fs::read(logs.join("com2.log"))?;
    let said = String::from_utf8_lossy(&said);
    let trace: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
    let name = guest.name.trim_start_matches("trace_");
    let golden = cx.workspace.root().join(format!("tests/traces/golden/{name}.txt"));
    let wanted = fs::read_to_string(&golden).with_context(|| format!("cannot read {}", golden.display()))?;
    let version = program::run(qemu_command().arg("--version"))?;
    let version = version.lines().next().unwrap_or("unknown");
    let fresh = cx.dir.join(format!("{name}.txt"));
    fs::write(&fresh, format!("# {version}\n{}\n", trace.join("\n")))?;
    let differences = differences(&wanted, &trace);
    ensure!(
        differences.is_empty(),
        "{version} does other things than the golden trace says, which begins with \"{}\":\n{differences}\
         Where that is right, replace {} by {}, and see what `cargo test -p traces` says of the simulated controller.",
        wanted.lines().next().unwrap_or_default(),
        golden.display(),
        fresh.display()
    );
    Ok(())
}

/// Line by line; the first few.
fn differences(wanted: &str, trace: &[&str]) -> String {
    let wanted: Vec<&str> = wanted.lines().filter(|line| !line.starts_with('#')).collect();
    let lines = (0..wanted.len().max(trace.len())).map(|n| (wanted.get(n), trace.get(n)));
    let mut text = String::new();
    for (old, new) in lines.filter(|(old, new)| old != new).take(20) {
        // Writing to a string cannot fail.
        let _ = old.map(|old| writeln!(text, "- {old}"));
        let _ = new.map(|new| writeln!(text, "+ {new}"));
    }
    text
}
