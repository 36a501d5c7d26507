//! The guest's RAM, reached by copies only.

use crate::{Hpa, HpaRange, direct};
use mediator::{BusAddr, Gpa, GuestMemory, NotRam};

/// All RAM of the machine but Shoji's. Guest-physical is host-physical.
pub struct GuestRam {
    ram: &'static [HpaRange],
    vmm: HpaRange,
    /// The page that code was last read from; it is RAM.
    code_page: u64,
}

const PAGE_MASK: u64 = 0xfff;
/// So high that no address is within a page of it.
const NO_PAGE: u64 = 1 << 63;

impl GuestRam {
    /// `ram`: ranges that are backed by memory or ROM and reachable through the direct map; `vmm`: Shoji's own part.
    pub fn new(ram: &'static [HpaRange], vmm: HpaRange) -> Self {
        Self { ram, vmm, code_page: NO_PAGE }
    }

    /// Is this an address of Shoji's own memory?
    pub fn is_vmm(&self, at: Gpa) -> bool {
        at.0 >= self.vmm.start && at.0 < self.vmm.end
    }

    /// Reads code. Most exits come from few pages, so the last one is remembered: RAM stays RAM.
    #[inline]
    pub fn read_code<const N: usize>(&mut self, at: Gpa) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        if at.0.wrapping_sub(self.code_page) <= PAGE_MASK + 1 - N as u64 {
            // SAFETY: inside a page that `check` has found to be guest RAM.
            unsafe { core::ptr::copy_nonoverlapping(direct::pointer(Hpa(at.0)), bytes.as_mut_ptr(), N) };
            return Some(bytes);
        }
        self.read_new_code(at, &mut bytes)?;
        Some(bytes)
    }

    #[cold]
    fn read_new_code(&mut self, at: Gpa, bytes: &mut [u8]) -> Option<()> {
        self.read(at, bytes).ok()?;
        let page = at.0 & !PAGE_MASK;
        self.code_page = if self.check(Gpa(page), PAGE_MASK as usize + 1).is_ok() { page } else { NO_PAGE };
        Some(())
    }

    fn check(&self, at: Gpa, len_bytes: usize) -> Result<*mut u8, NotRam> {
        let end = at.0.checked_add(len_bytes as u64).ok_or(NotRam(at))?;
        let inside = self.ram.iter().any(|ram| at.0 >= ram.start && end <= ram.end);
        if !inside || self.vmm.overlaps(at.0, end) {
            return Err(NotRam(at));
        }
        Ok(direct::pointer(Hpa(at.0)))
    }
}

impl GuestMemory for GuestRam {
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam> {
        let source = self.check(from, data.len())?;
        // SAFETY: guest RAM inside the direct map, disjoint from all VMM memory and so from `data`. The guest's other
        // CPUs may write meanwhile; the copy then holds a mixture, as it would on real hardware.
        unsafe { core::ptr::copy_nonoverlapping(source, data.as_mut_ptr(), data.len()) };
        Ok(())
    }

    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam> {
        let target = self.check(to, data.len())?;
        // SAFETY: as for `read`.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), target, data.len()) };
        Ok(())
    }

    fn bus_addr(&self, of: Gpa, len_bytes: u64) -> Result<BusAddr, NotRam> {
        let end = of.0.checked_add(len_bytes).ok_or(NotRam(of))?;
        if self.vmm.overlaps(of.0, end) { Err(NotRam(of)) } else { Ok(BusAddr(of.0)) }
    }
}
