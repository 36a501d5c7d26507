//! What the values of SLP_TYP mean on this machine.

use crate::aml;

/// What becomes of CPU and memory, in ascending order of the care that it needs from the VMM.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum State {
    /// S0 and S1: the CPU goes on where it was (ACPI s. 16.1.1).
    Kept,
    /// S4 and S5: all is lost, and the machine starts anew (ACPI s. 16.1.4 and 16.1.5).
    Off,
    /// S2 and S3: the CPU is reset, the memory is not; the firmware goes on at the waking vector (ACPI s. 16.1.2 and 16.1.3).
    Suspended,
}

/// SLP_TYP has three bits (ACPI s. 4.8.3.2.1).
const VALUES: usize = 8;

/// The states by the values of SLP_TYPa and SLP_TYPb.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Types {
    a: [Option<State>; VALUES],
    b: [Option<State>; VALUES],
}

impl Types {
    /// Adds what a table of AML code tells, header or not. Where one value has two states, the one that needs more care counts.
    pub fn scan(&mut self, aml: &[u8]) {
        for (digit, a, b) in aml::sleep_packages(aml) {
            let state = match digit {
                b'0' | b'1' => State::Kept,
                b'2' | b'3' => State::Suspended,
                b'4' | b'5' => State::Off,
                _ => continue,
            };
            add(&mut self.a, a, state);
            add(&mut self.b, b, state);
        }
    }

    /// What SLP_TYPa, and where there is a second register SLP_TYPb, ask for. `None`: the firmware has no name for it.
    pub fn state(&self, a: u8, b: Option<u8>) -> Option<State> {
        let state = |of: &[Option<State>], value: u8| of.get(usize::from(value)).copied().flatten();
        let first = state(&self.a, a)?;
        match b {
            Some(b) => state(&self.b, b).map(|second| first.max(second)),
            None => Some(first),
        }
    }

    /// SLP_TYPa and SLP_TYPb by which all is lost. `None`: the firmware has no name for such a state.
    pub fn off(&self) -> Option<(u8, u8)> {
        let find = |of: &[Option<State>; VALUES]| (0_u8..).zip(*of).find(|(_, state)| *state == Some(State::Off));
        let (a, _) = find(&self.a)?;
        Some((a, find(&self.b).map_or(0, |(b, _)| b)))
    }

    /// Does some value ask for this state?
    pub fn has(&self, state: State) -> bool {
        self.a.contains(&Some(state))
    }
}

fn add(states: &mut [Option<State>], value: u8, state: State) {
    // Larger numbers are a mistake of the firmware's.
    if let Some(slot) = states.get_mut(usize::from(value)) {
        *slot = (*slot).max(Some(state));
    }
}
