//! The guest's RAM, reached by copies only.

use crate::{Hpa, HpaRange, direct};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use mediator::{BusAddr, Gpa, GuestMemory, NotRam, Width};

/// All RAM of the machine but Shoji's. Guest-physical is host-physical.
pub struct RamMap {
    /// Without Shoji's part; the largest first, since that is where most is.
    ram: Vec<HpaRange>,
    vmm: HpaRange,
}

/// The guest's RAM, as one CPU reaches it.
pub struct GuestRam {
    map: &'static RamMap,
    /// Where code was last read from: RAM, and [`MOST_CODE_BYTES`] fit behind each of this number of addresses.
    code: u64,
    code_addresses: u64,
}

/// Of one read of code.
const MOST_CODE_BYTES: usize = 16;

impl RamMap {
    /// `ram`: ranges that are backed by memory or ROM and reachable through the direct map; `vmm`: Shoji's own part.
    pub fn new(ram: Vec<HpaRange>, vmm: HpaRange) -> Self {
        let mut outside: Vec<HpaRange> =
            ram.iter().flat_map(|ram| without(*ram, vmm)).filter(|ram| ram.start < ram.end).collect();
        outside.sort_by_key(|ram| Reverse(ram.end - ram.start));
        Self { ram: outside, vmm }
    }

    /// Is this an address of Shoji's own memory?
    pub fn is_vmm(&self, at: Gpa) -> bool {
        at.0 >= self.vmm.start && at.0 < self.vmm.end
    }

    fn check(&self, at: Gpa, len_bytes: usize) -> Result<*mut u8, NotRam> {
        let end = at.0.checked_add(len_bytes as u64).ok_or(NotRam(at))?;
        let inside = self.ram.iter().any(|ram| at.0 >= ram.start && end <= ram.end);
        if inside { Ok(direct::pointer(Hpa(at.0))) } else { Err(NotRam(at)) }
    }

    /// The range of RAM that an address is in.
    fn range_of(&self, at: Gpa) -> Option<&HpaRange> {
        self.ram.iter().find(|ram| ram.start <= at.0 && at.0 < ram.end)
    }
}

/// What of a range lies before and behind another one; parts of it may be empty.
fn without(range: HpaRange, hole: HpaRange) -> [HpaRange; 2] {
    let HpaRange { start, end } = range;
    let before = HpaRange { start, end: end.min(hole.start).max(start) };
    [before, HpaRange { start: start.max(hole.end).min(end), end }]
}

impl GuestRam {
    pub fn new(map: &'static RamMap) -> Self {
        Self { map, code: 0, code_addresses: 0 }
    }

    /// Reads code, [`MOST_CODE_BYTES`] at most. It mostly lies in one range of RAM, so the last one is remembered: RAM stays RAM.
    #[inline]
    pub fn read_code<const N: usize>(&mut self, at: Gpa) -> Option<[u8; N]> {
        const { assert!(N <= MOST_CODE_BYTES) };
        let mut bytes = [0; N];
        if at.0.wrapping_sub(self.code) < self.code_addresses {
            // SAFETY: inside a range of guest RAM.
            unsafe { core::ptr::copy_nonoverlapping(direct::pointer(Hpa(at.0)), bytes.as_mut_ptr(), N) };
            return Some(bytes);
        }
        self.read_new_code(at, &mut bytes)?;
        Some(bytes)
    }

    #[cold]
    fn read_new_code(&mut self, at: Gpa, bytes: &mut [u8]) -> Option<()> {
        self.read(at, bytes).ok()?;
        let ram = self.map.range_of(at)?;
        self.code = ram.start;
        self.code_addresses = (ram.end - ram.start).saturating_sub(MOST_CODE_BYTES as u64 - 1);
        Some(())
    }
}

macro_rules! exchange {
    ($atomic:ty, $at:expr, $old:expr, $new:expr) => {
        <$atomic>::from_ptr($at.cast()).compare_exchange($old, $new, SeqCst, SeqCst).is_ok()
    };
}

impl GuestMemory for GuestRam {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        let source = self.map.check(from, data.len())?;
        // SAFETY: guest RAM inside the direct map, disjoint from all VMM memory and so from `data`. The guest's other
        // CPUs may write meanwhile; the copy then holds a mixture, as it would on real hardware.
        unsafe { core::ptr::copy_nonoverlapping(source, data.as_mut_ptr(), data.len()) };
        Ok(())
    }

    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
        let target = self.map.check(to, data.len())?;
        // SAFETY: as for `read`.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), target, data.len()) };
        Ok(())
    }

    fn compare_exchange(&mut self, at: Gpa, width: Width, old: u64, new: u64) -> Result<bool, NotRam> {
        let target = self.map.check(at, width.bytes())?;
        if !target.addr().is_multiple_of(width.bytes()) {
            return Err(NotRam(at));
        }
        // SAFETY: aligned guest RAM inside the direct map, which the VMM reaches by copies and in this way only.
        Ok(unsafe {
            match width {
                Width::Byte => exchange!(AtomicU8, target, old as u8, new as u8),
                Width::Word => exchange!(AtomicU16, target, old as u16, new as u16),
                Width::Dword => exchange!(AtomicU32, target, old as u32, new as u32),
                Width::Qword => exchange!(AtomicU64, target, old, new),
            }
        })
    }

    fn bus_addr(&self, of: Gpa, len_bytes: u64) -> Result<BusAddr, NotRam> {
        self.map.check(of, usize::try_from(len_bytes).map_err(|_| NotRam(of))?)?;
        Ok(BusAddr(of.0))
    }
}
