//! Registers in memory move: the controller works where its base address register says, and nowhere else. Under Shoji the device stays
//! where it was, so that what the guest sees must follow. PCI Local Bus Specification 3.0, s. 6.2.5.1.

use super::shoji;
use crate::machine::ahci::Ahci;
use crate::machine::ata::SECTOR;
use crate::machine::irq::with_lines;
use crate::machine::memory::{self, Map, buffer, buffer_address, peek, poke};
use crate::machine::nvme::{self, Nvme};
use crate::machine::pci::{COMMAND, COMMAND_MEMORY, Function};

const SECTORS: usize = 16;
const LBA: u64 = 64;
/// Free on every machine that the tests use; the last one lies in other page tables.
const PLACES: [u64; 4] = [0xe000_0000, 0xe010_0000, 0xd123_4000, 0xe000_0000];
const ABOVE_4_GIB: u64 = 6 << 30;

/// The controller under test.
struct Controller {
    function: Function,
    /// Its base address register.
    bar: u8,
    /// Reads [`SECTORS`] into a buffer, as one that is taken over anew does.
    read: fn(usize),
    /// Offset of a dword at the end of what the register places that is not all ones, and whose value does not change.
    last: u64,
}

pub fn ahci() {
    let read = |to| {
        let disk = Ahci::start();
        with_lines(1 << disk.line, || disk.transfer(false, LBA, buffer_address(to), SECTORS));
        disk.stop();
    };
    on(&Controller { function: find(0x0106), bar: 0x24, read, last: 0xffc });
}

pub fn nvme() {
    let read = |to| {
        let mut disk = Nvme::start();
        with_lines(1 << disk.line, || disk.transfer(false, LBA, buffer_address(to), SECTORS));
        disk.stop();
    };
    // The control of the first message, which is masked.
    on(&Controller { function: find(nvme::CLASS), bar: 0x10, read, last: 0x200c });
}

fn find(class: u16) -> Function {
    let Some(function) = Function::of_class(class) else {
        crate::report::fail(format_args!("no controller of class {class:#x} on bus 0"))
    };
    function.enable_memory();
    function
}

fn on(it: &Controller) {
    let home = it.place();
    let registers: [u32; 3] = [peek(home), peek(home + 8), peek(home + it.last)];
    say!("registers at {home:#x}: {registers:x?}");
    (it.read)(0);
    let mut old = home;
    for (place, careful) in PLACES.into_iter().zip([true, false].into_iter().cycle()) {
        it.move_to(place, careful);
        it.is_at(place, registers);
        if shoji() {
            dead(home);
        }
        check!(peek::<u32>(old) != registers[0], "the registers still answer at {old:#x}");
        it.reads_the_same();
        old = place;
    }
    it.sizing(registers);
    if it.is_wide() {
        it.move_to(ABOVE_4_GIB, true);
        it.is_at(ABOVE_4_GIB, registers);
        it.reads_the_same();
    }
    if shoji() {
        it.refused(registers);
    }
    it.move_to(home, true);
    it.is_at(home, registers);
    it.reads_the_same();
}

/// Nobody answers, and what is written comes nowhere.
fn dead(at: u64) {
    check_eq!(peek::<u32>(at), !0, "a register at the old place {at:#x}");
    poke(at + 4, 0u32);
    poke(at + 0x14, 0u32);
    check_eq!(peek::<u64>(at + 8), !0, "two registers at the old place {at:#x}");
}

impl Controller {
    fn is_wide(&self) -> bool {
        self.function.read32(self.bar) & 6 == 4
    }

    fn place(&self) -> u64 {
        let high = if self.is_wide() { self.function.read32(self.bar + 4) } else { 0 };
        u64::from(self.function.read32(self.bar) & !0xf) | u64::from(high) << 32
    }

    /// With memory switched off meanwhile, or without that.
    fn move_to(&self, place: u64, careful: bool) {
        let command = self.function.read16(COMMAND);
        if careful {
            self.function.write16(COMMAND, command & !COMMAND_MEMORY);
        }
        self.function.write32(self.bar, place as u32);
        if self.is_wide() {
            self.function.write32(self.bar + 4, (place >> 32) as u32);
        }
        self.function.write16(COMMAND, command);
        check_eq!(self.place(), place, "the base address register");
    }

    fn is_at(&self, place: u64, registers: [u32; 3]) {
        check!(self.function.read16(COMMAND) & COMMAND_MEMORY != 0, "memory is not decoded at {place:#x}");
        let now: [u32; 3] = [peek(place), peek(place + 8), peek(place + self.last)];
        check_eq!(now, registers, "the registers at {place:#x}");
        say!("works at {place:#x}");
    }

    fn reads_the_same(&self) {
        let bytes = SECTORS * SECTOR;
        buffer(1)[..bytes].fill(0xee);
        (self.read)(1);
        check!(buffer(0)[..bytes] == buffer(1)[..bytes], "other data than at the first place");
    }

    /// All ones while memory is decoded, then the old value.
    fn sizing(&self, registers: [u32; 3]) {
        let place = self.place();
        let old = self.function.read32(self.bar);
        self.function.write32(self.bar, !0);
        let size = self.function.read32(self.bar);
        check!(peek::<u32>(place) != registers[0], "registers at {place:#x} while their size is asked for");
        self.function.write32(self.bar, old);
        check!((!(size & !0xf)).wrapping_add(1) >= 0x1000, "size {size:#x}");
        self.is_at(place, registers);
        self.reads_the_same();
    }

    /// RAM, Shoji's memory, interrupt controllers, firmware: the registers come to none of them, and are nowhere else meanwhile.
    fn refused(&self, registers: [u32; 3]) {
        let vmm = memory::vmm_range(&Map::from_bios()).map_or(0x400_0000, |range| range.start);
        let first = self.place();
        for place in [0x40_0000, vmm, 0xfee0_0000, 0xfec0_0000, 0xffff_0000, 0xa_0000] {
            for careful in [true, false] {
                self.move_to(place, careful);
                if careful {
                    check_eq!(self.function.read16(COMMAND) & COMMAND_MEMORY, 0, "memory is decoded at {place:#x}");
                }
                check!(peek::<u32>(place) != registers[0] || registers[0] == !0, "registers at {place:#x}");
                check!(peek::<u32>(first) != registers[0], "registers at {first:#x}, placed at {place:#x}");
                self.move_to(first, true);
                self.function.enable_memory();
                self.is_at(first, registers);
            }
        }
        self.reads_the_same();
    }
}
