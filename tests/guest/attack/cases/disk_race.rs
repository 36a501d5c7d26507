//! The disk's registers written by all CPUs at once without a lock: commands, PRD tables in the hypervisor's memory and under
//! change, resets, starts of the bus master between, PIO in parts.
//!
//! Safe: errors and nonsense for the guest; no byte of the hypervisor's memory is read or written, no sector of the encrypted range
//! gets plain text; after a reset of the channel the disk works.

use crate::frame::random::Random;
use crate::frame::{qemu, target_memory};
use tiny::boot;
use tiny::machine::ata::{self, *};
use tiny::machine::hypervisor;
use tiny::machine::memory::{buffer, buffer_address, peek, poke};
use tiny::machine::port::{in8, in16, out8, out16, out32};
use tiny::machine::smp;

/// Accesses of each CPU, times the number of CPUs squared: on a host with fewer CPUs they wait for each other's turns.
const ROUNDS: usize = 8000;
/// LBA bytes and counts that lead into the encrypted range only, whichever CPUs' come together.
const LBA_MIDDLE: (u8, u8) = (0x20, 0x9f);
const MOST_SECTORS: usize = 8;

pub fn run() {
    smp::start();
    let vmm = target_memory();
    let before: u64 = peek(vmm.start + 0x1000);
    let bm = ata::bus_master();
    ata::settle();
    for cpu in 0..boot::cpus() {
        ata::fill_pattern(0x2000, cpu as u32, &mut buffer(2 * cpu)[..0x1_0000]);
    }
    smp::on_all(&|| {
        let mut random = Random::new(0xd15c + 77 * smp::number() as u64);
        for _ in 0..ROUNDS / (boot::cpus() * boot::cpus()) {
            disturb(&mut random, bm, vmm.start as u32);
        }
    });
    out8(bm + BM_COMMAND, 0);
    ata::soft_reset();
    check_eq!(peek::<u64>(vmm.start + 0x1000), before, "memory of the hypervisor");
    // It works, and what is written goes the right way: the platter is looked at when the machine has ended.
    let Some((first, _)) = boot::encrypted_range() else { tiny::report::fail(format_args!("no encrypted range")) };
    let data = &mut buffer(0)[..64 * ata::SECTOR];
    ata::fill_pattern(first.into(), 9, data);
    ata::must(ata::write_dma(first.into(), data), "a write afterwards");
    let back = &mut buffer(1)[..64 * ata::SECTOR];
    ata::must(ata::read_pio(first.into(), back), "a read afterwards");
    check_eq!(ata::pattern_mismatch(first.into(), 9, back), None, "the sector that differs afterwards");
    seen!("the disk works afterwards");
}

/// Where what a device writes is an interrupt, an INIT as well; RAM on the bare machine, where that is not refused.
fn messages() -> u32 {
    if hypervisor::current().0.is_some() { 0xfee0_0000 } else { buffer_address(2 * smp::number()) as u32 }
}

/// One access of one CPU, and sometimes a whole command.
fn disturb(random: &mut Random, bm: u16, vmm: u32) {
    let own = buffer_address(2 * smp::number()) as u32;
    match random.below(24) {
        0 => out8(DATA + 1, random.next() as u8),
        1 => out8(DATA + 2, 1 + random.below(MOST_SECTORS) as u8),
        2 => out8(DATA + 3, random.next() as u8),
        3 => {
            let span = usize::from(LBA_MIDDLE.1 - LBA_MIDDLE.0);
            out8(DATA + 4, LBA_MIDDLE.0 + random.below(span) as u8);
        }
        4 => out8(DATA + 5, 0),
        5 => out8(DATA + 6, 0xe0),
        // Reads and writes by PIO, by DMA, flushes, IDENTIFY, verify.
        6 | 7 => out8(STATUS, [0x20, 0x30, 0xc8, 0xca, 0xe7, 0xec, 0x40][random.below(7)]),
        8 => out8(bm + BM_COMMAND, [0, BM_START, BM_TO_MEMORY, BM_START | BM_TO_MEMORY][random.below(4)]),
        9 => out8(bm + BM_STATUS, random.next() as u8 & 0x66),
        10 => out32(bm + BM_PRD, [PRD_TABLE as u32, PRD_TABLE as u32 + 0x100, vmm, own][random.below(4)]),
        11 => {
            // A table of two entries, which others read.
            let target = [own, vmm, own + 0x8000, messages()][random.below(4)];
            let at = PRD_TABLE + 0x100 * random.below(2) as u64;
            poke(at, target);
            poke(at + 4, u32::from(random.next() as u16 & 0x0ffe) | (random.next() as u32 & 1 << 31));
            poke(at + 8, own);
            poke(at + 12, 1 << 31 | 0x200);
        }
        12 => {
            // QEMU 7.2 waits for itself for ever at the second of two resets during DMA.
            if random.below(40) == 0 && !qemu() {
                out8(CONTROL, 4);
                in8(CONTROL);
                out8(CONTROL, 0);
            }
        }
        13..=15 => _ = in16(DATA),
        16 => out16(DATA, random.next() as u16),
        17 => {
            // A whole command, among the others' accesses.
            out8(DATA + 6, 0xe0);
            out8(DATA + 2, MOST_SECTORS as u8);
            out8(DATA + 4, LBA_MIDDLE.0 + 1);
            out8(DATA + 5, 0);
            out32(bm + BM_PRD, PRD_TABLE as u32);
            out8(STATUS, 0xca);
            out8(bm + BM_COMMAND, BM_START);
        }
        18 => _ = in8(bm + BM_STATUS),
        19 => _ = in8(STATUS),
        _ => _ = in8(CONTROL),
    }
}
