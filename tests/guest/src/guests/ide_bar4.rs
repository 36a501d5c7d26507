//! The bus-master registers move: DMA works where BAR4 says they are, and nowhere else.
//! PCI Local Bus Specification 3.0, s. 6.2.5.1.

use crate::machine::ata::{self, BM_ACTIVE, BM_COMMAND, BM_START, BM_STATUS, SECTOR};
use crate::machine::memory::buffer;
use crate::machine::pci::{BAR4, COMMAND, COMMAND_IO, Function};
use crate::machine::port::{in8, out8};
use crate::report;

const SOURCE: u64 = 1;
const BYTES: usize = 16 * SECTOR;
/// Free on every machine that the tests use; the BIOS begins at C000h.
const PLACES: [u16; 3] = [0xe000, 0xe7f0, 0xd000];

pub fn run() {
    let ide = ata::function();
    let first = base(ide);
    remember();
    say!("bus master at {first:#x}");
    dma_works();
    let mut old = first;
    for (i, place) in PLACES.into_iter().enumerate() {
        move_to(ide, place, i % 2 == 0);
        if base(ide) == place {
            say!("moved to {place:#x}");
            dead(old, place);
            old = place;
        } else {
            check_eq!(base(ide), old, "BAR4 after a refused move");
            say!("the move to {place:#x} is refused");
        }
        dma_works();
    }
    sizing(ide);
    by_bytes(ide);
    if super::shoji() {
        onto_the_disk(ide);
    }
    move_to(ide, first, true);
    check_eq!(base(ide), first, "BAR4 at its first place again");
    dma_works();
}

/// What [`dma_works`] compares with.
pub fn remember() {
    ata::must(ata::read_pio(SOURCE, &mut buffer(0)[..BYTES]), "READ SECTORS");
}

/// First port of the bus master.
pub fn base(ide: Function) -> u16 {
    (ide.read32(BAR4) & 0xfff0) as u16
}

/// As an operating system does it, with I/O decoding off meanwhile, or without that.
fn move_to(ide: Function, place: u16, careful: bool) {
    let command = ide.read16(COMMAND);
    if careful {
        ide.write16(COMMAND, command & !COMMAND_IO);
    }
    ide.write32(BAR4, u32::from(place));
    ide.write16(COMMAND, command);
}

pub fn dma_works() {
    let data = &mut buffer(1)[..BYTES];
    data.fill(0xee);
    ata::must(ata::read_dma(SOURCE, data), "READ DMA");
    check!(data == &buffer(0)[..BYTES], "READ DMA gives other data than READ SECTORS");
}

/// Nothing answers at the old place, and what is written there starts nothing at the new one.
pub fn dead(old: u16, new: u16) {
    check_eq!(in8(old + BM_STATUS), 0xff, "bus-master status at the old place {old:#x}");
    out8(old + BM_COMMAND, BM_START);
    check_eq!(in8(new + BM_COMMAND) & BM_START, 0, "the start bit at the new place");
    check_eq!(in8(new + BM_STATUS) & BM_ACTIVE, 0, "the active bit at the new place");
    out8(old + BM_COMMAND, 0);
}

/// All ones to find the size, then the old value: 16 ports.
fn sizing(ide: Function) {
    let old = ide.read32(BAR4);
    ide.write32(BAR4, !0);
    let size = ide.read32(BAR4);
    ide.write32(BAR4, old);
    check_eq!(size & 0xffff, 0xfff1, "BAR4 after all ones");
    check_eq!(ide.read32(BAR4), old, "BAR4 after sizing");
    dma_works();
}

/// BAR4 byte by byte.
fn by_bytes(ide: Function) {
    let old = base(ide);
    let place = old ^ 0x0100;
    ide.write8(BAR4 + 1, (place >> 8) as u8);
    let now = base(ide);
    if now == place {
        dead(old, place);
    } else {
        check_eq!(now, old, "BAR4 after a refused byte");
    }
    dma_works();
    ide.write8(BAR4 + 1, (old >> 8) as u8);
    check_eq!(base(ide), old, "BAR4 after both bytes");
    check_eq!([0, 1, 2, 3].map(|i| ide.read8(BAR4 + i)), ide.read32(BAR4).to_le_bytes(), "BAR4 by bytes");
    dma_works();
}

/// Onto the disk's own ports: refused, or undone by the next move; the disk works either way.
fn onto_the_disk(ide: Function) {
    let old = base(ide);
    move_to(ide, ata::DATA, true);
    say!("BAR4 after a move onto the disk's ports: {:#x}", base(ide));
    move_to(ide, old, true);
    if base(ide) != old {
        report::fail(format_args!("BAR4 cannot be moved back: {:#x}", base(ide)));
    }
    dma_works();
}
