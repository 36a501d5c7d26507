//! A20 off and on during disk I/O: the machine lives, and the data is right.
//!
//! What A20 does to the guest's own addresses while it is off is left open (a CPU may have no A20M# pin); the buffers
//! lie on even megabytes, where it makes no difference.

use super::shoji;
use crate::machine::ata::{self, SECTOR};
use crate::machine::memory::{buffer, buffer_address, peek, poke};
use crate::machine::modes::{Registers, bios};
use crate::machine::port::{in8, out8};

const LBA: u64 = 4096;
const SECTORS: usize = 64;
const BYTES: usize = SECTORS * SECTOR;
const EVEN: usize = 3;

/// A name, and what switches A20 on or off.
type Way = (&'static str, fn(bool));

const WAYS: [Way; 3] = [("port 92h", by_port_92), ("the keyboard controller", by_keyboard), ("INT 15h", by_bios)];

pub fn run() {
    for (generation, (way, set)) in WAYS.into_iter().enumerate() {
        set(true);
        distinct(way);
        set(false);
        say!("A20 off by {way}: odd megabytes {}", if aliased() { "alias" } else { "stay" });
        disk(generation as u32, way);
        set(true);
        distinct(way);
        during_a_transfer(way, set);
        distinct(way);
        check!(!shoji() || in8(0x92) & 1 == 0, "the reset bit of port 92h");
    }
}

fn by_port_92(on: bool) {
    out8(0x92, in8(0x92) & !3 | u8::from(on) << 1);
}

/// Command D1h: the next byte is the output port; bit 1 is A20, bit 0 must stay set (it is the reset line).
fn by_keyboard(on: bool) {
    let wait = || while in8(0x64) & 2 != 0 {};
    wait();
    out8(0x64, 0xd1);
    wait();
    out8(0x60, if on { 0xdf } else { 0xdd });
    wait();
}

fn by_bios(on: bool) {
    let r = bios(0x15, Registers { eax: 0x2400 + u32::from(on), ..Registers::default() });
    check!(!r.carry(), "INT 15h AX=240{}h fails", u8::from(on));
}

fn places() -> (u64, u64) {
    (buffer_address(EVEN), buffer_address(EVEN) + (1 << 20))
}

fn distinct(way: &str) {
    let (even, odd) = places();
    poke(even, 0x1111_1111u32);
    poke(odd, 0x2222_2222u32);
    check_eq!((peek::<u32>(even), peek::<u32>(odd)), (0x1111_1111, 0x2222_2222), "an even and an odd megabyte, {way}");
}

fn aliased() -> bool {
    let (even, odd) = places();
    poke(even, 0x3333_3333u32);
    peek::<u32>(odd) == 0x3333_3333
}

/// Write and read by DMA and PIO while A20 is off.
fn disk(generation: u32, way: &str) {
    let data = &mut buffer(0)[..BYTES];
    let back = &mut buffer(1)[..BYTES];
    for (by_dma, generation) in [(true, 2 * generation), (false, 2 * generation + 1)] {
        ata::fill_pattern(LBA, generation, data);
        ata::must(if by_dma { ata::write_dma(LBA, data) } else { ata::write_pio(LBA, data) }, "writing");
        for read_by_dma in [true, false] {
            back.fill(0);
            ata::must(if read_by_dma { ata::read_dma(LBA, back) } else { ata::read_pio(LBA, back) }, "reading");
            check!(
                ata::pattern_mismatch(LBA, generation, back).is_none(),
                "wrong data with A20 off by {way} (written by DMA: {by_dma}, read by DMA: {read_by_dma})"
            );
        }
    }
}

/// Off and on between the start of a transfer and its end.
fn during_a_transfer(way: &str, set: fn(bool)) {
    let back = &mut buffer(1)[..BYTES];
    back.fill(0);
    ata::must(ata::read_dma(LBA, &mut buffer(0)[..BYTES]), "READ DMA");
    let bm = ata::bus_master();
    ata::write_prds(ata::prds(buffer_address(1), BYTES));
    ata::start_dma(bm, ata::dma_command(LBA, SECTORS, false), true, ata::PRD_TABLE as u32);
    set(false);
    set(true);
    ata::must(ata::finish_dma(bm, None), "READ DMA while A20 changes");
    check!(back == &buffer(0)[..BYTES], "wrong data after A20 changed by {way} during a transfer");
}
