//! The registers of the chipset that place power management, open the firmware's memory and SMRAM to writes, or say where RAM
//! ends: changed by ports and, on a Q35, by memory, in every width. Intel 440FX (290549) 3.2, PIIX4 (290562) 7.1, 3 Series
//! (316966) 5.1 and ICH9 (316972) 13.1 data sheets.
//!
//! Safe: they stay as the firmware has left them, and a register beside them can be written.

use crate::frame::hypervisor_memory;
use tiny::machine::memory::{peek, poke};
use tiny::machine::pci::Function;
use tiny::machine::port::{out8, out16, out32};

const BRIDGE: Function = Function { device: 0, function: 0 };
const ICH: Function = Function { device: 0x1f, function: 0 };
const PIIX4_POWER: u32 = 0x7113_8086;
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const PCIEXBAR: u8 = 0x60;
/// Interrupt line: a byte without an effect.
const BESIDE: u8 = 0x3c;

/// A dword's register, and bits of it that are changed.
type Target = (Function, u8, u32);

pub fn run() {
    let guarded = hypervisor_memory().is_some();
    match BRIDGE.read32(0) {
        0x1237_8086 => {
            let functions = (0..32).map(|device| Function { device, function: 3 });
            let Some(power) = functions.into_iter().find(|f| f.read32(0) == PIIX4_POWER) else { return };
            // PMBASE, PMREGMISC; PAM, SMRAM.
            let targets = [(power, 0x40, 0x1000), (power, 0x80, 1)];
            let memory = [(BRIDGE, 0x58, 0x3000), (BRIDGE, 0x5c, 0x3300_0033), (BRIDGE, 0x70, 0x40_0000)];
            targets.into_iter().chain(memory).for_each(|target| attack(target, None, guarded));
        }
        0x29c0_8086 => {
            let window = u64::from(BRIDGE.read32(PCIEXBAR) & 0xf000_0000);
            // PMBASE, ACPI_CNTL; PAM, SMRAM, TOLUD.
            let targets = [(ICH, 0x40, 0x1000), (ICH, 0x44, 0x80)];
            let memory = [(BRIDGE, 0x90, 0x3000), (BRIDGE, 0x94, 0x33), (BRIDGE, 0x9c, 0x4000), (BRIDGE, 0xb0, 0x1000)];
            targets.into_iter().chain(memory).for_each(|target| attack(target, Some(window), guarded));
        }
        other => seen!("no chipset that is known: {other:x}"),
    }
}

fn attack((function, register, bits): Target, window: Option<u64>, guarded: bool) {
    let before = function.read32(register);
    let at = 1 << 31 | u32::from(function.device) << 11 | u32::from(function.function) << 8 | u32::from(register);
    let byte = (bits.trailing_zeros() / 8) as u8;
    let changed = before ^ bits;
    let changed_byte = (changed >> (8 * byte)) as u8;
    let check = |how: &str| {
        let now = function.read32(register);
        if guarded {
            check_eq!(now, before, "{:x}.{} register {register:x} by {how}", function.device, function.function);
        }
        function.write32(register, before);
        check_eq!(function.read32(register), before, "{register:x} as it was");
    };
    function.write32(register, changed);
    check("a dword");
    function.write16(register + (byte & 2), (changed >> (8 * (byte & 2))) as u16);
    check("a word");
    function.write8(register + byte, changed_byte);
    check("a byte");
    // Where chipsets combine the address' low bits with the port's, or take them for nothing.
    for low in 1..4 {
        out32(ADDRESS, at | low);
        out32(DATA, changed);
        check("an address with low bits");
    }
    out32(ADDRESS, at | 1 << 24);
    out32(DATA, changed);
    check("an address with a register of more bits");
    // Words and dwords that begin or end elsewhere.
    out32(ADDRESS, at);
    out16(DATA + 1, (changed >> 8) as u16);
    check("a word in the midst");
    out32(ADDRESS, at);
    out8(DATA + u16::from(byte), changed_byte);
    check("a byte at its own port");
    let Some(window) = window else { return };
    let page = window | u64::from(function.device) << 15 | u64::from(function.function) << 12;
    poke(page + u64::from(register), changed);
    check("memory");
    poke(page + u64::from(register + byte), changed_byte);
    check("a byte of memory");
    poke(page + u64::from(register & !7), u64::from(changed) << (8 * (register & 4)) | keep(function, register));
    check("a qword of memory");
    let line = page + u64::from(BESIDE);
    let old: u8 = peek(line);
    poke(line, old);
    check_eq!(function.read8(BESIDE), old, "what lies beside");
}

/// The other half of the qword, in its place.
fn keep(function: Function, register: u8) -> u64 {
    u64::from(function.read32(register ^ 4)) << (8 * (4 - (register & 4)))
}
