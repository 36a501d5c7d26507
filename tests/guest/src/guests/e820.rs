//! The memory map: all the ways to ask agree, nothing of the VMM is in it, and what it calls usable is RAM.
//! ACPI Specification 6.5, s. 15.1; Ralf Brown's Interrupt List for INT 15h AX=E801h, AH=88h and INT 12h.

use crate::machine::memory::{Map, Range, peek, poke, vmm_range};
use crate::machine::modes::{Registers, bios};

const MIB: u64 = 1 << 20;
/// The identity map of the guests ends there.
const MAPPED: u64 = 8 << 30;
const ACPI_RECLAIMABLE: u32 = 3;
const CONVENTIONAL_KIB: u64 = 0x413;

pub fn run() {
    let map = Map::from_bios();
    for r in map.ranges() {
        say!("{:#012x}..{:#012x} type {}", r.start, r.end(), r.kind);
    }
    disjoint(&map);
    conventional(&map);
    extended(&map);
    if super::shoji() {
        let vmm = vmm_range(&map);
        check!(vmm.is_some(), "no memory is missing in the map: where does the VMM live?");
        say!("kept from the guest: {:#x?}", vmm);
    } else {
        check!(vmm_range(&map).is_none(), "memory is missing in the map of a bare machine");
    }
    for r in map.usable() {
        writable(r);
    }
}

fn disjoint(map: &Map) {
    for (i, a) in map.ranges().iter().enumerate() {
        check!(a.len > 0, "an empty entry at {:#x}", a.start);
        for b in &map.ranges()[i + 1..] {
            check!(a.end() <= b.start || b.end() <= a.start, "{a:#x?} overlaps {b:#x?}");
        }
    }
}

/// INT 12h and 40:13 agree about the memory below the EBDA, and so does E820, which a BIOS may give in whole pages.
fn conventional(map: &Map) {
    let kib = u64::from(peek::<u16>(CONVENTIONAL_KIB));
    check_eq!(u64::from(bios(0x12, Registers::default()).eax & 0xffff), kib, "INT 12h against 40:13");
    let (end, conventional) = (map.usable_end(0), kib * 1024);
    let whole_pages = if super::shoji() { end } else { conventional & !0xfff };
    check!([conventional, whole_pages].contains(&end), "E820 ends below 1 MiB at {end:#x}, 40:13 at {conventional:#x}");
}

/// E801 and 88h claim no byte that E820 does not, and no less than what they can express of it. (A BIOS, not Shoji, may
/// count its ACPI tables in, which E820 tells apart.)
fn extended(map: &Map) {
    let usable = (map.usable_end(MIB) - MIB) / 1024;
    let tables = map.ranges().iter().find(|r| r.kind == ACPI_RECLAIMABLE && r.start == map.usable_end(MIB));
    let tables = tables.filter(|_| !super::shoji()).map_or(0, |r| r.len / 1024);
    let r = bios(0x15, Registers { eax: 0xe801, ..Registers::default() });
    check!(!r.carry(), "no E801");
    let pair = |low: u32, high: u32| u64::from(low & 0xffff) + u64::from(high & 0xffff) * 64;
    check_eq!(pair(r.eax, r.ebx), pair(r.ecx, r.edx), "E801: AX, BX against CX, DX");
    check!(r.ebx & 0xffff == 0 || r.eax & 0xffff == 15 * 1024, "E801: a hole below 16 MiB");
    let kib = pair(r.eax, r.ebx);
    check!(kib <= usable + tables && usable < kib + 64, "E801 tells {kib} KiB, E820 {usable}");

    let r = bios(0x15, Registers { eax: 0x8800, ..Registers::default() });
    check!(!r.carry(), "no INT 15h AH=88h");
    let kib = u64::from(r.eax & 0xffff);
    check!(kib <= usable + tables && kib >= usable.min(15 * 1024), "AH=88h tells {kib} KiB, E820 {usable}");
}

/// First and last bytes, and places all over, keep what is written. Each is restored at once: this program's own
/// memory is among them.
fn writable(r: &Range) {
    let last = (r.end() & !7) - 8;
    // Each touched place costs the emulator's host a huge page: larger steps on large machines, still smaller than
    // what a VMM takes.
    let step = if r.len <= 1 << 30 { MIB } else { 8 * MIB };
    let inner = (r.start.next_multiple_of(MIB)..r.end()).step_by(step as usize);
    let mut places = 0u32;
    for at in [r.start.next_multiple_of(8), last].into_iter().chain(inner).filter(|at| at + 8 <= MAPPED.min(r.end())) {
        let old: u64 = peek(at);
        let ok = [!old, 0x5348_4f4a_4921_0a0d, !0, 0].into_iter().all(|value| {
            poke(at, value ^ at);
            peek::<u64>(at) == value ^ at
        });
        poke(at, old);
        check!(ok, "usable memory at {at:#x} does not keep what is written");
        places += 1;
    }
    say!("{:#x}..{:#x}: {places} places keep their values", r.start, r.end());
}
