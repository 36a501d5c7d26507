//! Guest memory by linear addresses of 32 bits, as the CPU reaches its own tables there.

use super::descriptor::Descriptor;
use crate::walk::{self, PageAccess, PagingFeatures};
use crate::{ControlRegisters, Exception, Machine};
use mediator::{Gpa, GuestMemory, Width};

const PAGE_BYTES: u64 = 4096;
/// Where a descriptor has its access byte.
const ACCESS_BYTE: usize = 5;

/// Who makes an access, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    pub write: bool,
    /// By the program at CPL 3. The CPU's own accesses to GDT, LDT and TSS are a supervisor's at any CPL, and RFLAGS.AC
    /// does not suspend SMAP for them (SDM Vol. 3A 5.6).
    pub user: bool,
}

pub const READ: Use = Use { write: false, user: false };
pub const WRITE: Use = Use { write: true, user: false };

/// A translated range of less than a page, so that no later access to it can fail.
#[derive(Clone, Copy)]
pub struct Mapped {
    first: Gpa,
    first_bytes: usize,
    /// What lies beyond the first page's end.
    second: Gpa,
}

/// The address space of the CPU that switches tasks.
pub struct Linear<'a, M> {
    machine: &'a mut M,
    features: PagingFeatures,
    control: ControlRegisters,
}

impl<'a, M: Machine> Linear<'a, M> {
    pub fn new(machine: &'a mut M, features: PagingFeatures, control: ControlRegisters) -> Self {
        Self { machine, features, control }
    }

    pub fn set_control(&mut self, control: ControlRegisters) {
        self.control = control;
    }

    pub fn physical_bits(&self) -> u8 {
        self.features.physical_bits
    }

    /// Translates `len_bytes` bytes, at most a page, from `at` on; addresses wrap at 4 GiB.
    ///
    /// # Errors
    /// #PF.
    pub fn map(&mut self, at: u64, len_bytes: usize, usage: Use) -> Result<Mapped, Exception> {
        let at = at & 0xffff_ffff;
        let first = self.translate(at, usage)?;
        let page_left = PAGE_BYTES.wrapping_sub(at & PAGE_BYTES.wrapping_sub(1)) as usize;
        let second = if len_bytes > page_left {
            self.translate(at.wrapping_add(page_left as u64) & 0xffff_ffff, usage)?
        } else {
            first
        };
        Ok(Mapped { first, first_bytes: page_left, second })
    }

    fn translate(&mut self, linear: u64, usage: Use) -> Result<Gpa, Exception> {
        let access = PageAccess { write: usage.write, fetch: false, user: usage.user, alignment_check: false };
        walk::translate(self.machine.memory(), self.features, self.control, access, linear)
            .map_err(|error| Exception::PageFault { error, address: linear })
    }

    /// What is no RAM reads as all ones, as from an empty bus.
    pub fn read<const N: usize>(&mut self, from: Mapped) -> [u8; N] {
        let mut bytes = [0; N];
        let (first, second) = bytes.split_at_mut(from.first_bytes.min(N));
        for (at, part) in [(from.first, first), (from.second, second)] {
            if self.machine.memory().read(at, part).is_err() {
                part.fill(0xff);
            }
        }
        bytes
    }

    /// What is no RAM takes no write.
    pub fn write(&mut self, to: Mapped, bytes: &[u8]) {
        let (first, second) = bytes.split_at(to.first_bytes.min(bytes.len()));
        for (at, part) in [(to.first, first), (to.second, second)] {
            if !part.is_empty() {
                let _ = self.machine.memory().write(at, part);
            }
        }
    }

    /// Gives a descriptor another access byte, in one step with the look whether it still has the old one. False: it has not.
    pub fn exchange_access(&mut self, at: Mapped, old: Descriptor, new: Descriptor) -> bool {
        let in_first = at.first_bytes > ACCESS_BYTE;
        let (page, from) = if in_first { (at.first, 0) } else { (at.second, at.first_bytes) };
        let byte = Gpa(page.0.wrapping_add(ACCESS_BYTE as u64).wrapping_sub(from as u64));
        let (old, new) = (old.access().into(), new.access().into());
        // What is no RAM takes no write.
        self.machine.memory().compare_exchange(byte, Width::Byte, old, new) != Ok(false)
    }

    /// The four PDPTEs that CR3 points at, from physical memory.
    pub fn pdptes(&mut self, cr3: u64) -> [u64; 4] {
        let at = Gpa(cr3 & 0xffff_ffe0);
        let bytes: [u8; 32] = self.read(Mapped { first: at, first_bytes: usize::MAX, second: at });
        let mut entries = [0; 4];
        for (entry, bytes) in entries.iter_mut().zip(bytes.as_chunks().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        entries
    }
}
