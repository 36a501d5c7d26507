//! One channel's bus-master registers and its walk along the PRD table (BMIDE 1.0, s. 1 and 2).

use crate::{ARENA, Bus, DmaFault, SimMemory};

const START: u8 = 0x01;
const TO_MEMORY: u8 = 0x08;
const ACTIVE: u8 = 0x01;
const INTERRUPT: u8 = 0x04;
const DRIVES_CAPABLE: u8 = 0x60;
const END_OF_TABLE: u16 = 0x8000;

/// Entries in 64 KiB, the largest table.
const MAX_ENTRIES: usize = 8192;

/// What the walk is at.
#[derive(Clone, Copy)]
struct Region {
    at: u64,
    len_bytes: u64,
    last: bool,
}

/// The registers.
#[derive(Default)]
pub struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
    next: u32,
    region: Option<Region>,
}

impl BusMaster {
    pub fn read(&self, offset: u16) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[usize::from(offset - 4)],
            _ => 0,
        }
    }

    pub fn write(&mut self, offset: u16, value: u8) {
        match offset {
            0 => self.command(value),
            // Bits 1 (error) and 2 (interrupt) are cleared by ones.
            2 => self.status = self.status & !(value & 0x06) & !DRIVES_CAPABLE | value & DRIVES_CAPABLE,
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[usize::from(offset - 4)] = value;
                self.set_table(u32::from_le_bytes(bytes));
            }
            _ => {}
        }
    }

    /// Writes the descriptor table pointer.
    pub fn set_table(&mut self, value: u32) {
        self.table = value & !3;
    }

    fn command(&mut self, value: u8) {
        let started = value & START != 0 && !self.is_started();
        self.command = value & (START | TO_MEMORY);
        if started {
            self.status |= ACTIVE;
            self.next = self.table;
            self.region = None;
        } else if !self.is_started() {
            self.status &= !ACTIVE;
            self.region = None;
        }
    }

    pub fn is_started(&self) -> bool {
        self.command & START != 0
    }

    /// Does the engine move data in this direction?
    pub fn moves(&self, to_memory: bool) -> bool {
        self.status & ACTIVE != 0 && (self.command & TO_MEMORY != 0) == to_memory
    }

    /// The rising edge of INTRQ.
    pub fn interrupt(&mut self) {
        self.status |= INTERRUPT;
    }

    /// The next contiguous piece of memory, at most `want` bytes, or `None` when the table is at its end.
    pub fn take(&mut self, bus: &mut Bus<'_>, want: u64) -> Option<(u64, u64)> {
        if self.status & ACTIVE == 0 {
            return None;
        }
        let region = self.region.unwrap_or_else(|| {
            let region = parse(bus.fetch(u64::from(self.next)));
            // The engine counts within 64 KiB.
            self.next = self.next & 0xffff_0000 | self.next.wrapping_add(8) & 0xffff;
            region
        });
        let len = region.len_bytes.min(want);
        let rest = Region { at: region.at + len, len_bytes: region.len_bytes - len, last: region.last };
        self.region = (rest.len_bytes > 0).then_some(rest);
        if rest.len_bytes == 0 && rest.last {
            self.status &= !ACTIVE;
        }
        Some((region.at, len))
    }

    /// What [`BusMaster::audit`] depends on, memory aside.
    pub fn holds(&self) -> (u32, bool) {
        (self.table, self.is_started())
    }

    /// Notes the addresses that the engine holds and must not. Not started, it still holds its table pointer, which
    /// may then point to a part of the arena that was freed.
    pub fn audit(&self, bus: &mut Bus<'_>) {
        if !self.is_started() {
            let at = u64::from(self.table);
            if at != 0 && !ARENA.contains(&at) {
                bus.fault(DmaFault::TableOutsideArena { at });
            }
            return;
        }
        let mut at = self.table;
        for _ in 0..MAX_ENTRIES {
            let region = parse(bus.fetch(u64::from(at)));
            audit_region(&region, bus);
            at = at & 0xffff_0000 | at.wrapping_add(8) & 0xffff;
            if region.last {
                break;
            }
        }
    }
}

fn audit_region(region: &Region, bus: &mut Bus<'_>) {
    let Region { at, len_bytes, .. } = *region;
    if at >> 16 != (at + len_bytes - 1) >> 16 {
        bus.fault(DmaFault::RegionCrosses64K { at, len_bytes });
    }
    if SimMemory::touches_vmm(at, len_bytes) && !bus.arena.holds(at, len_bytes) {
        bus.fault(DmaFault::Vmm { at, len_bytes });
    }
}

/// Bit 0 of address and count is ignored; a count of 0 is 64 KiB.
fn parse(entry: [u8; 8]) -> Region {
    let [a, b, c, d, e, f, g, h] = entry;
    let len_bytes = match u64::from(u16::from_le_bytes([e, f]) & !1) {
        0 => 0x1_0000,
        len => len,
    };
    let last = u16::from_le_bytes([g, h]) & END_OF_TABLE != 0;
    Region { at: u64::from(u32::from_le_bytes([a, b, c, d]) & !1), len_bytes, last }
}
