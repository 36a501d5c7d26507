//! The simulated controllers behave like QEMU's, line by line, but for the differences listed beside this file.

mod differences;
mod rig;

use differences::Difference;
use rig::{Ahci, Nvme, Simulated};
use traces::Script;

const AHCI: &str = include_str!("../../golden/ahci.txt");
const NVME: &str = include_str!("../../golden/nvme.txt");

/// What a script's trace is on the simulated controller.
fn trace(mut machine: impl Simulated, script: &Script) -> Vec<String> {
    traces::run(&mut machine, script);
    machine.lines()
}

/// Compares. Each line that differs must be listed, with both values, and so must each that is listed differ.
fn compare<'a>(golden: &str, trace: &[String], listed: impl Iterator<Item = &'a Difference>) {
    let golden: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    let mut listed: Vec<_> = listed.flat_map(|difference| difference.lines).collect();
    let mut wrong = String::new();
    for n in 0..golden.len().max(trace.len()) {
        let (qemu, ours) = (golden.get(n).copied().unwrap_or_default(), trace.get(n).map_or("", |line| line));
        if qemu == ours {
            continue;
        }
        let known = |(name, theirs, own): &&(&str, &str, &str)| {
            value(qemu, name) == Some(theirs) && value(ours, name) == Some(own)
        };
        match listed.iter().position(known) {
            Some(at) => {
                listed.swap_remove(at);
            }
            None => wrong += &format!("  QEMU       {qemu}\n  simulated  {ours}\n"),
        }
    }
    for (name, ..) in listed {
        wrong += &format!("  listed, but not so: {name}\n");
    }
    assert!(wrong.is_empty(), "the simulated controller is another one than QEMU's:\n{wrong}");
}

/// What a line of this name tells.
fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?.strip_prefix(" = ")
}

#[test]
fn every_listed_difference_says_why() {
    let mut all = differences::AHCI.iter().chain(differences::NVME);
    assert!(all.all(|difference| difference.why.len() > 20 && !difference.lines.is_empty()));
}

#[test]
fn the_simulated_ahci_controller_answers_as_qemus_does() {
    compare(AHCI, &trace(Ahci::new(), &traces::ahci::SCRIPT), differences::AHCI.iter());
}

#[test]
fn the_simulated_nvme_controller_answers_as_qemus_does() {
    compare(NVME, &trace(Nvme::new(), &traces::nvme::SCRIPT), differences::NVME.iter());
}

#[test]
fn the_simulated_ahci_controller_with_qemus_habits_is_still_closer_to_it() {
    let listed = differences::AHCI.iter().filter(|difference| !difference.habit);
    compare(AHCI, &trace(Ahci::with_habits(), &traces::ahci::SCRIPT), listed);
}
