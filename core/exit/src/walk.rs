//! The guest's own page tables, walked in software.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, chapter 5 (paging), which AMD64 APM Vol. 2 (24593) rev. 3.41,
//! chapter 5, agrees with but for legacy PAE: there the four PDPTEs are read from memory at each walk, as here.
//!
//! Not checked, since only the guest could be hurt by it: protection keys and shadow stacks.

use crate::{ControlRegisters, Machine};
use mediator::{Gpa, GuestMemory, Width};

const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
pub(crate) const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const PAGE_SIZE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;

/// Bits of a page fault's error code (SDM Vol. 3A 5.7).
mod error {
    pub const PRESENT: u32 = 1 << 0;
    pub const WRITE: u32 = 1 << 1;
    pub const USER: u32 = 1 << 2;
    pub const RESERVED: u32 = 1 << 3;
    pub const FETCH: u32 = 1 << 4;
}

/// What the CPU's paging can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PagingFeatures {
    /// MAXPHYADDR, 32 to 52: address bits above it are reserved.
    pub physical_bits: u8,
    pub gigabyte_pages: bool,
}

impl PagingFeatures {
    /// From CPUID leaves 8000_0001h and 8000_0008h.
    pub fn detect<M: Machine>(machine: &mut M) -> Self {
        let physical_bits = match machine.cpuid(0x8000_0000, 0).eax {
            0x8000_0008..=0x8fff_ffff => machine.cpuid(0x8000_0008, 0).eax as u8,
            _ => 36,
        };
        Self {
            physical_bits: physical_bits.clamp(32, 52),
            gigabyte_pages: machine.cpuid(0x8000_0001, 0).edx & (1 << 26) != 0,
        }
    }
}

/// What a linear address is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageAccess {
    pub write: bool,
    pub fetch: bool,
    /// Made at CPL 3.
    pub user: bool,
    /// RFLAGS.AC: suspends SMAP.
    pub alignment_check: bool,
}

/// How linear addresses become physical ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// 10 bits per level, entries of 4 bytes.
    Bits32,
    /// 2 + 9 + 9 bits.
    Pae,
    /// 9 bits per level, 4 or 5 levels.
    Long,
}

impl Mode {
    fn entry_bytes(self) -> u64 {
        if self == Self::Bits32 { 4 } else { 8 }
    }

    /// log2 of the bytes that an entry of `level` maps.
    fn shift(self, level: u32) -> u32 {
        let bits = if self == Self::Bits32 { 10 } else { 9 };
        level.wrapping_sub(1).wrapping_mul(bits).wrapping_add(12)
    }
}

/// Translates `linear` as the CPU would, in the mode that `control` selects, and marks the entries used as accessed
/// (and the page as dirty on a write).
///
/// # Errors
/// The error code of the #PF that the access raises.
pub(crate) fn translate<G: GuestMemory>(
    memory: &mut G,
    features: PagingFeatures,
    control: ControlRegisters,
    access: PageAccess,
    linear: u64,
) -> Result<Gpa, u32> {
    if control.cr0 & CR0_PG == 0 {
        return Ok(Gpa(linear & 0xffff_ffff));
    }
    let (mode, levels, root) = root(control);
    let mut walk = Walk { memory, features, control, access, mode, linear, used: [None; 5] };
    let mut found = walk.run(levels, root)?;
    // The last one stands, marked or not: only the guest could be hurt by it.
    for _ in 0..MORE_WALKS {
        if walk.mark(found.level) {
            break;
        }
        found = walk.run(levels, root)?;
    }
    Ok(found.at)
}

/// Paging mode, number of levels and the address of the top table (SDM Vol. 3A 5.1.1).
fn root(control: ControlRegisters) -> (Mode, u32, u64) {
    if control.cr4 & CR4_PAE == 0 {
        (Mode::Bits32, 2, control.cr3 & mask(12, 31))
    } else if control.efer & EFER_LMA == 0 {
        (Mode::Pae, 3, control.cr3 & mask(5, 31))
    } else if control.cr4 & CR4_LA57 == 0 {
        (Mode::Long, 4, control.cr3 & mask(12, 51))
    } else {
        (Mode::Long, 5, control.cr3 & mask(12, 51))
    }
}

/// Bits `low` to `high`, or none when `low` is above `high`.
fn mask(low: u32, high: u32) -> u64 {
    if low > high { 0 } else { u64::MAX.wrapping_shl(low) & u64::MAX.wrapping_shr(63_u32.wrapping_sub(high)) }
}

/// How often the tables are walked again, because another CPU of the guest has changed an entry meanwhile.
const MORE_WALKS: usize = 16;

/// Where an address is, and the level of the entry that tells.
struct Found {
    at: Gpa,
    level: u32,
}

/// An entry as it was read.
#[derive(Clone, Copy)]
struct Used {
    at: Gpa,
    entry: u64,
}

struct Walk<'a, G> {
    memory: &'a mut G,
    features: PagingFeatures,
    control: ControlRegisters,
    access: PageAccess,
    mode: Mode,
    linear: u64,
    /// By level, lowest first; PDPTEs of legacy PAE have no accessed bit and are not here.
    used: [Option<Used>; 5],
}

impl<G: GuestMemory> Walk<'_, G> {
    fn run(&mut self, levels: u32, root: u64) -> Result<Found, u32> {
        self.used = [None; 5];
        let mut table = root;
        // What all levels together allow.
        let mut allowed = WRITABLE | USER;
        for level in (1..=levels).rev() {
            let used = self.read_entry(table, level);
            let entry = used.entry;
            if entry & PRESENT == 0 {
                return Err(self.fault(0));
            }
            let leaf = self.is_leaf(level, entry);
            if entry & self.reserved(level, leaf) != 0 {
                return Err(self.fault(error::PRESENT | error::RESERVED));
            }
            if !(self.mode == Mode::Pae && level == 3) {
                allowed = allowed & (entry | NO_EXECUTE) | (entry & NO_EXECUTE);
                if let Some(slot) = self.used.get_mut(level.wrapping_sub(1) as usize) {
                    *slot = Some(used);
                }
            }
            if leaf {
                self.check(allowed)?;
                return Ok(Found { at: self.page_address(level, entry), level });
            }
            table = entry & self.address_mask();
        }
        // Level 1 is always a leaf.
        Err(self.fault(error::PRESENT | error::RESERVED))
    }

    /// An entry in no RAM reads as all ones, as from an empty bus.
    fn read_entry(&mut self, table: u64, level: u32) -> Used {
        let entry_bytes = self.mode.entry_bytes();
        let index_mask = if self.mode == Mode::Bits32 { 0x3ff } else { 0x1ff };
        let index = self.linear.wrapping_shr(self.mode.shift(level)) & index_mask;
        let at = Gpa(table.wrapping_add(index.wrapping_mul(entry_bytes)));
        let mut bytes = [0; 8];
        let read = match self.mode {
            Mode::Bits32 => bytes.first_chunk_mut::<4>().map(|low| self.memory.read(at, low)),
            _ => Some(self.memory.read(at, &mut bytes)),
        };
        match read {
            Some(Ok(())) => Used { at, entry: u64::from_le_bytes(bytes) },
            _ => Used { at, entry: if entry_bytes == 4 { 0xffff_ffff } else { u64::MAX } },
        }
    }

    fn is_leaf(&self, level: u32, entry: u64) -> bool {
        match (level, self.mode) {
            (1, _) => true,
            (2, Mode::Bits32) => entry & PAGE_SIZE != 0 && self.control.cr4 & CR4_PSE != 0,
            (2, _) => entry & PAGE_SIZE != 0,
            (3, Mode::Long) => entry & PAGE_SIZE != 0 && self.features.gigabyte_pages,
            _ => false,
        }
    }

    fn address_mask(&self) -> u64 {
        if self.mode == Mode::Bits32 { mask(12, 31) } else { mask(12, 51) }
    }

    /// Bits that must be zero (SDM Vol. 3A tables 5-4 to 5-20).
    fn reserved(&self, level: u32, leaf: bool) -> u64 {
        let physical_bits = u32::from(self.features.physical_bits);
        if self.mode == Mode::Bits32 {
            // PSE-36: bits 13 up to 20 are address bits 32 up to 39, as far as the CPU has them.
            let first = physical_bits.min(40).wrapping_sub(32).wrapping_add(13);
            return if leaf && level == 2 { mask(first, 21) } else { 0 };
        }
        let mut reserved = mask(physical_bits, 51);
        if self.control.efer & EFER_NXE == 0 {
            reserved |= NO_EXECUTE;
        }
        if self.mode == Mode::Pae {
            // The low reserved bits of PDPTEs are checked when CR3 is loaded, not here: the CPU that runs the guest
            // took them, and QEMU's marks them as accessed afterwards.
            reserved |= mask(52, 62);
        }
        match (level, leaf) {
            (2 | 3, true) => reserved |= mask(13, self.mode.shift(level).wrapping_sub(1)),
            (3.., false) if self.mode == Mode::Long => reserved |= PAGE_SIZE,
            _ => {}
        }
        reserved
    }

    /// Rights (SDM Vol. 3A 5.6.1).
    fn check(&self, allowed: u64) -> Result<(), u32> {
        let PageAccess { write, fetch, user, alignment_check } = self.access;
        let user_page = allowed & USER != 0;
        let refused = if user {
            !user_page || (write && allowed & WRITABLE == 0)
        } else {
            let smep = fetch && user_page && self.control.cr4 & CR4_SMEP != 0;
            let smap = !fetch && user_page && !alignment_check && self.control.cr4 & CR4_SMAP != 0;
            smep || smap || (write && allowed & WRITABLE == 0 && self.control.cr0 & CR0_WP != 0)
        };
        if refused || (fetch && allowed & NO_EXECUTE != 0) { Err(self.fault(error::PRESENT)) } else { Ok(()) }
    }

    fn fault(&self, cause: u32) -> u32 {
        let mut code = cause;
        if self.access.write {
            code |= error::WRITE;
        }
        if self.access.user {
            code |= error::USER;
        }
        let no_execute = self.control.cr4 & CR4_PAE != 0 && self.control.efer & EFER_NXE != 0;
        if self.access.fetch && (no_execute || self.control.cr4 & CR4_SMEP != 0) {
            code |= error::FETCH;
        }
        code
    }

    /// Accessed and dirty bits (SDM Vol. 3A 5.8), each in one step with the look whether the entry still is as it was read.
    /// False: one is not, so that the tables have to be walked again.
    fn mark(&mut self, leaf_level: u32) -> bool {
        let width = if self.mode == Mode::Bits32 { Width::Dword } else { Width::Qword };
        for (level, used) in (1_u32..).zip(self.used) {
            let Some(Used { at, entry }) = used else { continue };
            let dirty = if level == leaf_level && self.access.write { DIRTY } else { 0 };
            let marked = entry | ACCESSED | dirty;
            // A table in no RAM was refused above; in ROM the bits cannot be set, as on hardware.
            if marked != entry && self.memory.compare_exchange(at, width, entry, marked) == Ok(false) {
                return false;
            }
        }
        true
    }

    fn page_address(&self, level: u32, entry: u64) -> Gpa {
        let offset_mask = mask(0, self.mode.shift(level).wrapping_sub(1));
        let mut base = entry & self.address_mask() & !offset_mask;
        if self.mode == Mode::Bits32 && level == 2 {
            base |= (entry & mask(13, 20)) << 19;
        }
        Gpa(base | self.linear & offset_mask)
    }
}
