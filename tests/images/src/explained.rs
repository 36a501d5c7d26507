//! The differences that are understood.

mod apic;
mod cpu;
mod memory;

use crate::differences::Difference;

/// What the tables name parts of.
const ANY: Difference = Difference { on: "*", guest: "*", lines: &[], bare: None, shoji: None, why: "" };

const QEMU: &str = "QEMU";
const HASWELL: &str = "corei7_haswell_4770";
const TRINITY: &str = "trinity_apu";

// Ends of lines.
const GOES_ON: Option<&str> = Some(": the guest goes on");
const RESET: Option<&str> = Some(": the machine was reset");
const DONE: Option<&str> = Some(": done");
const GP: Option<&str> = Some(": #GP");
const UD: Option<&str> = Some(": #UD");

/// All of them.
pub const EXPLAINED: [&[Difference]; 3] = [cpu::DIFFERENCES, apic::DIFFERENCES, memory::DIFFERENCES];

#[cfg(test)]
mod tests {
    use super::EXPLAINED;
    use crate::differences::matches;
    use crate::{ATTACKS, MODELS};

    #[test]
    fn every_explanation_is_of_an_attack_on_a_machine_and_of_lines_that_are_named() {
        for known in EXPLAINED.iter().copied().flatten() {
            assert!(ATTACKS.iter().any(|guest| matches(known.guest, guest.name)), "{known:?}");
            assert!(matches(known.on, "QEMU") || MODELS.iter().any(|model| matches(known.on, model.name)), "{known:?}");
            assert!(!known.lines.is_empty() && !known.why.is_empty(), "{known:?}");
            assert!(known.bare.is_some() || known.shoji.is_some(), "{known:?}");
            assert!(known.lines.iter().all(|line| !line.starts_with('*') || line.len() > 10), "{known:?}");
        }
    }

    #[test]
    fn every_explanation_was_needed_when_the_machines_were_compared_last() {
        let tables = include_str!("../../results/attack-side-by-side.md");
        for known in EXPLAINED.iter().copied().flatten() {
            assert!(tables.contains(&format!(" | {} |", known.why)), "of nothing that is seen: {known:?}");
        }
        assert!(!tables.contains("Not explained"), "the last comparison has lines without a reason");
    }
}
