//! The scripts of the crate `traces` on the machine's own controller; what they ask for goes to the log.

use crate::machine::memory::{peek, poke};
use crate::machine::{pci, time};
use crate::report;
use core::fmt;
use traces::{Machine, Script};

/// Begins each line of a trace.
const MARK: &str = "TRACE ";

pub fn ahci() {
    on(0x0106, 0x24, &traces::ahci::SCRIPT);
}

pub fn nvme() {
    on(0x0108, 0x10, &traces::nvme::SCRIPT);
}

/// Runs a script on the controller of this class, whose registers this BAR tells.
fn on(class: u16, bar: u8, script: &Script) {
    let Some(function) = pci::Function::of_class(class) else {
        report::fail(format_args!("no controller of class {class:#x} on bus 0"))
    };
    function.enable_memory();
    let low = function.read32(bar);
    let high = if low & 6 == 4 { function.read32(bar + 4) } else { 0 };
    traces::run(&mut Controller { registers: u64::from(low & !0xf) | u64::from(high) << 32 }, script);
}

struct Controller {
    registers: u64,
}

impl Machine for Controller {
    fn read(&mut self, register: u32) -> u32 {
        peek(self.registers + u64::from(register))
    }

    fn write(&mut self, register: u32, value: u32) {
        poke(self.registers + u64::from(register), value);
    }

    fn load(&mut self, at: u64, bytes: &mut [u8]) {
        (at..).zip(bytes).for_each(|(at, byte)| *byte = peek(at));
    }

    fn store(&mut self, at: u64, bytes: &[u8]) {
        (at..).zip(bytes).for_each(|(at, &byte)| poke(at, byte));
    }

    fn moment(&mut self) {
        time::delay_ms(1);
    }

    fn say(&mut self, line: fmt::Arguments<'_>) {
        say!("{MARK}{line}");
    }
}
