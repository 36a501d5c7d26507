//! The guest's way to sleep: the PM1 control registers (ACPI Specification 6.5 s. 4.8.3.2).
//!
//! What resets the CPU or cuts the power off is not the guest's to write: the VMM has to prepare it. What the firmware has no
//! name for could be such a state too, and is dropped.

use crate::Ports;
use mediator::Width;
use sleep::{State, Types, control};

/// Where the registers lie, and what they take.
#[derive(Clone, Copy, Debug)]
pub struct SleepPorts {
    pub a: u16,
    pub b: Option<u16>,
    pub types: Types,
}

/// A write to a PM1 control register that the guest has made and the VMM has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SleepWrite {
    port: u16,
    width: Width,
    value: u32,
}

impl SleepWrite {
    /// Makes it.
    pub fn perform<P: Ports>(&self, ports: &mut P) {
        ports.write(self.port, self.width, self.value);
    }
}

/// What the guest wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SleepRequest {
    /// [`State::Off`] or [`State::Suspended`].
    pub state: State,
    /// In this order; with them the machine goes to sleep.
    pub a: SleepWrite,
    pub b: Option<SleepWrite>,
}

impl SleepRequest {
    /// The machine goes to sleep.
    pub fn perform<P: Ports>(&self, ports: &mut P) {
        self.a.perform(ports);
        self.b.iter().for_each(|b| b.perform(ports));
    }
}

/// What a write to a port leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Written {
    Done,
    /// The machine is to sleep; [`crate::Bus::take_sleep`] tells more.
    Sleep,
    /// The machine is to be reset: by the VMM, which wipes its keys before. What the CPU alone is reset by counts as well: it would go
    /// on outside of the virtual machine.
    Reset,
}

/// The guard of the registers.
pub(crate) struct SleepControl {
    ports: SleepPorts,
    /// Register a has been written, b not yet.
    half: Option<(u8, SleepWrite)>,
    request: Option<SleepRequest>,
    /// Why nothing is suspended.
    denied: Option<&'static str>,
    /// A refusal was logged.
    complained: bool,
}

impl SleepControl {
    pub fn new(ports: SleepPorts) -> Self {
        Self { ports, half: None, request: None, denied: None, complained: false }
    }

    /// From now on [`State::Suspended`] is refused.
    pub fn deny_suspend(&mut self, why: &'static str) {
        self.denied = Some(why);
    }

    pub fn take(&mut self) -> Option<SleepRequest> {
        self.request.take()
    }

    /// A write that touches nothing but one of the registers.
    pub fn write<P: Ports>(&mut self, ports: &mut P, port: u16, width: Width, value: u32) -> Written {
        let is_a = port.wrapping_sub(self.ports.a) < control::PORTS;
        let base = if is_a { self.ports.a } else { self.ports.b.unwrap_or(port) };
        let word = if port == base { value as u16 } else { (value as u16) << 8 };
        // The lower byte has none of the bits that ask.
        let asked = if port == base && width == Width::Byte { None } else { control::asks_for(word) };
        let write = SleepWrite { port, width, value };
        let Some(kind) = asked else {
            write.perform(ports);
            return Written::Done;
        };
        let (a, b) = match (is_a, self.ports.b) {
            (true, None) => (Some((kind, write)), None),
            (true, Some(_)) => {
                // The machine sleeps when both have been written.
                self.half = Some((kind, write));
                return Written::Done;
            }
            (false, _) => (self.half.take(), Some((kind, write))),
        };
        let state = a.and_then(|a| self.ports.types.state(a.0, b.map(|b| b.0)));
        match (a, state) {
            (Some((_, a)), Some(State::Kept)) => {
                SleepRequest { state: State::Kept, a, b: b.map(|(_, b)| b) }.perform(ports);
                Written::Done
            }
            (Some(_), Some(State::Suspended)) if let Some(why) = self.denied => {
                self.refuse(format_args!("a sleep that Shoji does not offer here: {why}"));
                Written::Done
            }
            (Some((_, a)), Some(state)) => {
                self.request = Some(SleepRequest { state, a, b: b.map(|(_, b)| b) });
                Written::Sleep
            }
            _ => {
                self.refuse(format_args!("a sleep that the firmware has no name for (SLP_TYP {kind})"));
                Written::Done
            }
        }
    }

    fn refuse(&mut self, what: core::fmt::Arguments<'_>) {
        if !core::mem::replace(&mut self.complained, true) {
            log::warn!("the guest asks for {what}; refused");
        }
    }
}
