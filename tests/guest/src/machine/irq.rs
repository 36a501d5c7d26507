//! PIC, PIT, and counters of interrupts.
//! Intel 8259A and 8254 data sheets (231468, 231164).

use super::port::{in8, out8};
use super::{apic, area, cpu, time};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;
const END_OF_INTERRUPT: u8 = 0x20;
/// OCW3: the next read gives the request register.
const READ_REQUESTS: u8 = 0x0a;
/// A bit for each line.
const LEVELS: u16 = 0x4d0;
/// First vector of the lines while a guest takes interrupts itself.
pub const VECTOR: u8 = 32;
/// Vectors from here on are the local APIC's, once `exceptions::open_all_gates` has run.
const FIRST_OF_APIC: u64 = 48;

static COUNTS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];

/// Interrupts of a line since the start.
pub fn count(line: u8) -> u32 {
    COUNTS[usize::from(line)].load(Relaxed)
}

#[unsafe(no_mangle)]
extern "C" fn on_interrupt(vector: u64) {
    if vector >= FIRST_OF_APIC {
        area::this().interrupts[vector as usize & 0xff].fetch_add(1, Relaxed);
        if vector != apic::SPURIOUS_VECTOR.into() {
            apic::end_of_interrupt();
        }
        return;
    }
    let line = (vector as u8).wrapping_sub(VECTOR) & 15;
    COUNTS[usize::from(line)].fetch_add(1, Relaxed);
    if line >= 8 {
        out8(SLAVE, END_OF_INTERRUPT);
    }
    out8(MASTER, END_OF_INTERRUPT);
}

fn program(master_vector: u8, slave_vector: u8, master_mask: u8, slave_mask: u8) {
    for (base, vector, cascade, mask) in [(MASTER, master_vector, 4, master_mask), (SLAVE, slave_vector, 2, slave_mask)]
    {
        out8(base, 0x11); // ICW1: edge, cascade, ICW4
        out8(base + 1, vector);
        out8(base + 1, cascade);
        out8(base + 1, 1); // ICW4: 8086 mode
        out8(base + 1, mask);
    }
}

/// Runs code with the given lines (bit n: line n) unmasked at vectors 32 and up, then gives the PIC back to the BIOS.
/// The code turns interrupts on where it wants them.
pub fn with_lines<T>(lines: u16, code: impl FnOnce() -> T) -> T {
    let masks = (in8(MASTER + 1), in8(SLAVE + 1));
    let open = !(lines | 1 << 2);
    program(VECTOR, VECTOR + 8, open as u8, (open >> 8) as u8);
    let result = code();
    program(8, 0x70, masks.0, masks.1);
    result
}

/// From now on an interrupt of this line is one change of it: the handler here does not know the device, which would hold a
/// line that counts by its level. (Intel 82371AB, 290562, s. 4.2.5: ELCR.)
pub fn set_edge(line: u8) {
    let port = LEVELS + u16::from(line / 8);
    out8(port, in8(port) & !(1 << (line % 8)));
}

/// Waits for the next interrupt of a line, which must be open, and takes it. What the CPU executes until the device has raised
/// the line counts as idle, but nothing behind it, as it would were the CPU halted.
pub fn take(line: u8) {
    check_eq!(take_some(line), 1, "interrupts of line {line}");
}

/// As [`take`], where a second one may follow before the CPU is closed to interrupts again. Gives how many it took, at least one.
pub fn take_some(line: u8) -> u32 {
    cpu::idle(|| time::wait_until(|| is_requested(line), "no interrupt comes"));
    take_requested(line)
}

/// Has the device raised the line, which must be open?
pub fn is_requested(line: u8) -> bool {
    let base = if line < 8 { MASTER } else { SLAVE };
    out8(base, READ_REQUESTS);
    in8(base) >> (line % 8) & 1 != 0
}

/// Takes what is requested.
pub fn take_requested(line: u8) -> u32 {
    let seen = count(line);
    cpu::enable_interrupts();
    cpu::disable_interrupts();
    let taken = count(line) - seen;
    check!(taken > 0, "the interrupt of line {line} is not taken");
    taken
}

/// Masks all lines.
pub fn mask_all() {
    out8(MASTER + 1, 0xff);
    out8(SLAVE + 1, 0xff);
}

/// PIT channel 0 raises its line once, after so many ticks of 1,193,182 Hz.
pub fn set_timer_once(ticks: u16) {
    out8(0x43, 0x30);
    out8(0x40, ticks as u8);
    out8(0x40, (ticks >> 8) as u8);
}

/// PIT channel 0 as rate generator: `divisor` of 1,193,182 Hz; 0 is 65536, as the BIOS has it.
pub fn set_timer(divisor: u16) {
    out8(0x43, 0x34);
    out8(0x40, divisor as u8);
    out8(0x40, (divisor >> 8) as u8);
}
