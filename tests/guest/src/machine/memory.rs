//! Memory: buffers, the BIOS's map, volatile access.
//! ACPI Specification 6.5, s. 15.1 (INT 15h E820).

use super::cpu;
use super::modes::{Registers, bios};
use super::port::{in8, out8};

/// Buffers for data start here: above everything that the BIOS or a boot loader left behind, on an even megabyte.
const BUFFERS: u64 = 32 << 20;
pub const BUFFER_BYTES: usize = 2 << 20;
/// Below 64 KiB, for BIOS calls: behind the boot sector's stack.
const LOW_BUFFER: u32 = 0x600;

/// Buffer `index`, 2 MiB long and aligned, at 32 MiB + 2 MiB * `index`. Each is used by one caller at a time.
pub fn buffer(index: usize) -> &'static mut [u8] {
    let at = buffer_address(index);
    // SAFETY: RAM of the machine that nothing else uses; one caller at a time.
    unsafe { core::slice::from_raw_parts_mut(at as *mut u8, BUFFER_BYTES) }
}

pub fn buffer_address(index: usize) -> u64 {
    BUFFERS + (BUFFER_BYTES * index) as u64
}

/// Reads memory that may be anything.
pub fn peek<T: Copy>(at: u64) -> T {
    // SAFETY: the address is mapped; a guest reads what it wants to know about.
    unsafe { (at as *const T).read_volatile() }
}

/// Writes memory that may be anything.
pub fn poke<T: Copy>(at: u64, value: T) {
    // SAFETY: the address is mapped and not of this program.
    unsafe { (at as *mut T).write_volatile(value) }
}

/// One entry of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Range {
    pub start: u64,
    pub len: u64,
    /// 1: usable RAM.
    pub kind: u32,
}

impl Range {
    pub fn end(&self) -> u64 {
        self.start + self.len
    }

    pub fn is_usable(&self) -> bool {
        self.kind == 1
    }
}

/// The BIOS's memory map.
pub struct Map {
    ranges: [Range; 32],
    count: usize,
}

impl Map {
    /// Asks INT 15h AX=E820h to the end.
    pub fn from_bios() -> Self {
        let mut map = Self { ranges: [Range::default(); 32], count: 0 };
        let mut ebx = 0;
        loop {
            let r = bios(
                0x15,
                Registers { eax: 0xe820, ebx, ecx: 20, edx: 0x534d_4150, edi: LOW_BUFFER, ..Registers::default() },
            );
            if r.carry() || map.count == map.ranges.len() {
                return map;
            }
            check_eq!(r.eax, 0x534d_4150, "E820 signature");
            check!(r.ecx >= 20, "E820 entry of {} bytes", r.ecx);
            let at = u64::from(LOW_BUFFER);
            map.ranges[map.count] = Range { start: peek(at), len: peek(at + 8), kind: peek(at + 16) };
            map.count += 1;
            ebx = r.ebx;
            if ebx == 0 {
                return map;
            }
        }
    }

    pub fn ranges(&self) -> &[Range] {
        &self.ranges[..self.count]
    }

    pub fn usable(&self) -> impl Iterator<Item = &Range> {
        self.ranges().iter().filter(|r| r.is_usable() && r.len > 0)
    }

    /// Where usable RAM that starts at or before `from` ends, going through touching entries; `from` if there is
    /// none.
    pub fn usable_end(&self, from: u64) -> u64 {
        let mut end = from;
        while let Some(r) = self.usable().find(|r| r.start <= end && r.end() > end) {
            end = r.end();
        }
        end
    }
}

/// RAM below 4 GiB as the firmware counted it (CMOS 34h, 35h: 64 KiB units above 16 MiB), whoever took a part of it.
pub fn ram_end_below_4g() -> u64 {
    let cmos = |index: u8| {
        out8(0x70, index);
        u64::from(in8(0x71))
    };
    (16 << 20) + (cmos(0x34) | cmos(0x35) << 8) * 0x10000
}

/// The memory that Shoji keeps: a stretch of at least 4 MiB of RAM that the map does not call usable.
/// `None` on a bare machine.
pub fn vmm_range(map: &Map) -> Option<Range> {
    let top = ram_end_below_4g();
    let mut at = 1 << 20;
    while at < top {
        let hole = map.usable_end(at);
        let next = map.usable().map(|r| r.start).filter(|&s| s >= hole).min().unwrap_or(top).min(top);
        if next.saturating_sub(hole) >= 4 << 20 {
            return Some(Range { start: hole, len: next - hole, kind: 2 });
        }
        at = next.max(hole + 1);
    }
    None
}

/// A linear 2 MiB page of the first GiB that is mapped elsewhere, or nowhere, for a while.
pub struct Remapped {
    page: u64,
    entry: u64,
    old: u64,
}

impl Remapped {
    /// Page `page`, to physical memory at a multiple of 2 MiB or to nowhere.
    pub fn new(page: u64, target: Option<u64>) -> Self {
        Self::with_entry(page, target.map_or(0, |at| at | 0x87))
    }

    /// The page through a page table at `table`, a multiple of 4 KiB.
    pub fn through_table(page: u64, table: u64) -> Self {
        Self::with_entry(page, table | 7)
    }

    fn with_entry(page: u64, value: u64) -> Self {
        let pointers = peek::<u64>(cpu::cr3() & !0xfff) & !0xfff;
        let entry = (peek::<u64>(pointers) & !0xfff) + page * 8;
        let this = Self { page, entry, old: peek(entry) };
        this.set(value);
        this
    }

    pub fn linear(&self) -> u64 {
        self.page << 21
    }

    /// Changes the directory entry.
    pub fn set(&self, value: u64) {
        poke(self.entry, value);
        // SAFETY: flushes the entry that was changed.
        unsafe { core::arch::asm!("invlpg [{}]", in(reg) self.linear()) };
    }
}

impl Drop for Remapped {
    fn drop(&mut self) {
        self.set(self.old);
    }
}
