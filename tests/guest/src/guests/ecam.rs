//! Configuration space in memory and by ports: both agree, the controller's registers move by either with their hooks, and
//! the window cannot be moved from under them.
//!
//! PCI Firmware Specification 3.0, 4.1.2; Intel 3 Series Express Chipset Family Datasheet (316966), 5.1.14 (PCIEXBAR).

use super::ide_bar4::{base, dead, dma_works, remember};
use crate::machine::ata;
use crate::machine::cpu::rdtsc;
use crate::machine::memory::{peek, poke};
use crate::machine::pci::{BAR4, Function};
use core::arch::asm;

const BRIDGE: Function = Function { device: 0, function: 0 };
const PCIEXBAR: u8 = 0x60;
const INTERRUPT_LINE: u8 = 0x3c;
/// Free in both: a machine of 512 MiB, whose PCI devices lie above its window.
const ELSEWHERE: u32 = 0x8000_0000;
const PLACES: [u16; 2] = [0xe000, 0xe7f0];
const ROUNDS: usize = 20;

pub fn run() {
    let pciexbar = BRIDGE.read32(PCIEXBAR);
    check_eq!(pciexbar & 7, 1, "PCIEXBAR: enabled, 256 MiB");
    let window = u64::from(pciexbar & 0xf000_0000);
    say!("configuration space at {window:#x}");
    let ide = ata::function();
    remember();
    for (device, function) in (0..32).flat_map(|device| (0..8).map(move |function| (device, function))) {
        agree(window, Function { device, function });
    }
    let page = window | u64::from(ide.device) << 15 | u64::from(ide.function) << 12;
    widths(page, ide);
    writes(page, ide);
    instructions(page, ide);
    moves(page, ide);
    costs(page);
    the_window_stays(window, page, ide);
    agree(window, ide);
}

/// Every dword is the same by both ways.
fn agree(window: u64, f: Function) {
    let page = window | u64::from(f.device) << 15 | u64::from(f.function) << 12;
    for register in (0..=0xfc).step_by(4) {
        let place = page + u64::from(register);
        check_eq!(peek::<u32>(place), f.read32(register), "{:x}.{} register {register:x}", f.device, f.function);
    }
}

/// Bytes, words and qwords, aligned or not, are parts of the dwords.
fn widths(page: u64, ide: Function) {
    let dwords = ide.read32(0) as u64 | (ide.read32(4) as u64) << 32;
    for at in 0..8 {
        check_eq!(peek::<u8>(page + at), (dwords >> (8 * at)) as u8, "byte {at}");
    }
    for at in [0, 2, 4, 6] {
        check_eq!(peek::<u16>(page + at), (dwords >> (8 * at)) as u16, "word {at}");
    }
    check_eq!(peek::<u64>(page), dwords, "qword");
    // SAFETY: reads of configuration space, past what Rust calls aligned.
    let (word, dword) = unsafe {
        let (word, dword): (u32, u32);
        asm!("movzx {0:e}, word ptr [{2}]", "mov {1:e}, [{3}]", out(reg) word, out(reg) dword, in(reg) page + 1, in(reg) page + 2);
        (word, dword)
    };
    check_eq!((word, dword), ((dwords >> 8) as u16 as u32, (dwords >> 16) as u32), "unaligned");
}

/// What one way writes the other reads.
fn writes(page: u64, ide: Function) {
    let line = page + u64::from(INTERRUPT_LINE);
    let before = ide.read8(INTERRUPT_LINE);
    for value in [0x55u8, 0xaa] {
        poke(line, value);
        check_eq!(ide.read8(INTERRUPT_LINE), value, "written in memory");
        ide.write8(INTERRUPT_LINE, !value);
        check_eq!(peek::<u8>(line), !value, "written by ports");
    }
    poke(line, u32::from(before) | 0xffff_ff00);
    check_eq!(ide.read8(INTERRUPT_LINE), before, "written as a dword");
}

/// What compilers make of volatile accesses.
fn instructions(page: u64, ide: Function) {
    let line = page + u64::from(INTERRUPT_LINE);
    let before = ide.read8(INTERRUPT_LINE);
    // SAFETY (for all of these): the interrupt line is a byte without any effect.
    macro_rules! leaves {
        ($value:expr, $($line:literal),+) => {
            poke(line, 0x0fu8);
            unsafe { asm!($($line),+, in("rdi") line, inout("rax") 0x3cu64 => _) };
            check_eq!(ide.read8(INTERRUPT_LINE), $value, $($line),+);
        };
    }
    leaves!(0x3f, "or [rdi], al");
    leaves!(0x0c, "and [rdi], al");
    leaves!(0x33, "xor byte ptr [rdi], 0x3c");
    leaves!(0x4b, "add [rdi], al");
    leaves!(0x3c, "xchg [rdi], al");
    leaves!(0x3c, "mov byte ptr [rdi], 0x3c");
    poke(line, 0x80u8);
    let (extended, loaded, flags): (u64, u64, u64);
    // SAFETY: reads, and a string instruction that moves its own index.
    unsafe {
        asm!("movsx rcx, byte ptr [rsi]", "test byte ptr [rsi], 0x80", "pushfq", "pop rdx", "lodsb",
            inout("rsi") line => _, out("rcx") extended, out("rdx") flags, inout("rax") 0u64 => loaded);
    }
    let (zero, sign) = (1 << 6, 1 << 7);
    check_eq!((extended, loaded, flags & (zero | sign)), (!0x7f, 0x80, sign), "MOVSX, LODSB and TEST");
    poke(line, before);
}

/// BAR4 by memory: the disk follows, and the old place is dead.
fn moves(page: u64, ide: Function) {
    let first = base(ide);
    let mut old = first;
    for place in PLACES.into_iter().chain([first]) {
        poke(page + u64::from(BAR4), u32::from(place));
        check_eq!(base(ide), place, "BAR4");
        dead(old, place);
        old = place;
        dma_works();
    }
    // Low byte, then high byte, by one word that is not aligned to anything.
    // SAFETY: the same value again.
    unsafe { asm!("mov [{0}], {1:x}", in(reg) page + u64::from(BAR4) - 1, in(reg) first << 8) };
    dma_works();
}

/// By ports and by memory, the low half and the high one.
fn the_window_stays(window: u64, page: u64, ide: Function) {
    let moved = ELSEWHERE | 1;
    let id: u32 = peek(page);
    let bridge = window | u64::from(PCIEXBAR);
    for (way, write) in [("ports", false), ("memory", true)] {
        if write {
            poke(bridge, moved)
        } else {
            BRIDGE.write32(PCIEXBAR, moved)
        }
        let there = (page - window) | u64::from(ELSEWHERE);
        if super::shoji() {
            check_eq!(BRIDGE.read32(PCIEXBAR), window as u32 | 1, "PCIEXBAR after a write by {way}");
            check_eq!(peek::<u32>(page), id, "the window is where it was");
            check!(peek::<u32>(there) != id, "and nowhere else");
        } else {
            check_eq!(peek::<u32>(there), id, "the window has moved by {way}");
            BRIDGE.write32(PCIEXBAR, window as u32 | 1);
        }
    }
    if super::shoji() {
        poke(bridge, 0u8);
        poke(bridge + 4, 1u32);
        BRIDGE.write8(PCIEXBAR + 3, 0x80);
        // SAFETY: writes that must vanish.
        unsafe {
            asm!("mov qword ptr [{0}], 0", "mov dword ptr [{0} - 2], eax", "xchg [{0}], ecx", in(reg) bridge, in("eax") !0, inout("ecx") 0 => _)
        };
        check_eq!((BRIDGE.read32(PCIEXBAR), BRIDGE.read32(PCIEXBAR + 4)), (window as u32 | 1, 0), "PCIEXBAR");
    }
    check_eq!(peek::<u32>(page), ide.read32(0), "the controller's IDs");
}

/// `BENCH` lines as those of the guest `bench`.
fn costs(page: u64) {
    let line = page + u64::from(INTERRUPT_LINE);
    let nothing = least(&mut || ());
    for (name, access) in [
        ("ecam_read", &mut (|| _ = peek::<u32>(page)) as &mut dyn FnMut()),
        ("ecam_write", &mut || poke(line, 0x0e_u8)),
        ("xapic_write", &mut || poke(0xfee0_00b0, 0_u32)),
    ] {
        say!("BENCH {name} {}", least(access) - nothing);
    }
}

/// Of several rounds of the same instructions at the same place.
#[inline(never)]
fn least(access: &mut dyn FnMut()) -> u64 {
    let mut best = u64::MAX;
    for _ in 0..ROUNDS {
        let start = rdtsc();
        access();
        best = best.min(rdtsc() - start);
    }
    best
}
