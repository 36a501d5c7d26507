//! The address space of a program in ring 3: the lower half is its own, the upper one the VMM's, which ring 3 cannot touch.

use crate::paging::{KIB_4, Tables};
use crate::{Hpa, direct, frames, paging};
use alloc::vec::Vec;
use domain::Rights;
use x86_64::structures::paging::PageTableFlags as Flags;

/// Gives its memory back, wiped, when it is dropped.
pub struct Space {
    tables: Tables,
    pages: Vec<Hpa>,
}

impl Space {
    /// An empty one. `None` when the frames do not suffice.
    pub fn new() -> Option<Self> {
        Some(Self { tables: Tables::with_upper_half_of(paging::root())?, pages: Vec::new() })
    }

    /// For CR3.
    pub(crate) fn root(&self) -> Hpa {
        self.tables.root()
    }

    /// Calls `copy` with the memory behind each page of a range that the program has these rights to, and the bytes' place in
    /// the range. `None`: not all of it is the program's; a part may have been copied.
    fn each_page(&self, at: u64, len: usize, rights: Flags, mut copy: impl FnMut(*mut u8, usize, usize)) -> Option<()> {
        let mut done = 0;
        while done < len {
            let from = at.checked_add(done as u64).filter(|&from| from < domain::SPACE_END)?;
            if !self.tables.flags(from)?.contains(rights) {
                return None;
            }
            let (page, offset) = (self.tables.address(from)?.0, from % KIB_4);
            let count = (len - done).min((KIB_4 - offset) as usize);
            copy(direct::pointer(Hpa(page.0 + offset)), done, count);
            done += count;
        }
        Some(())
    }

    fn write_with(&mut self, at: u64, data: &[u8], rights: Flags) -> Option<()> {
        self.each_page(at, data.len(), rights, |to, done, count| {
            // SAFETY: `count` bytes within a page of this space, which the direct map reaches and nothing else refers to while
            // the program does not run.
            unsafe { core::ptr::copy_nonoverlapping(data[done..done + count].as_ptr(), to, count) }
        })
    }
}

impl domain::Space for Space {
    fn map(&mut self, at: u64, pages: usize, rights: Rights) -> Option<()> {
        let rights = match rights {
            Rights::Execute => Flags::empty(),
            Rights::Read => Flags::NO_EXECUTE,
            Rights::Write => Flags::NO_EXECUTE | Flags::WRITABLE,
        };
        self.pages.try_reserve(pages).ok()?;
        for page in 0..pages as u64 {
            let at = at.checked_add(page * KIB_4).filter(|&at| at < domain::SPACE_END)?;
            let frame = frames::alloc(1)?;
            self.pages.push(frame);
            self.tables.map(at, frame.0, KIB_4, rights | Flags::PRESENT | Flags::USER_ACCESSIBLE)?;
        }
        Some(())
    }

    fn read(&self, at: u64, data: &mut [u8]) -> Option<()> {
        self.each_page(at, data.len(), Flags::USER_ACCESSIBLE, |from, done, count| {
            // SAFETY: as in `write_with`.
            unsafe { core::ptr::copy_nonoverlapping(from, data[done..done + count].as_mut_ptr(), count) }
        })
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Option<()> {
        self.write_with(at, data, Flags::USER_ACCESSIBLE | Flags::WRITABLE)
    }

    fn load(&mut self, at: u64, data: &[u8]) -> Option<()> {
        self.write_with(at, data, Flags::USER_ACCESSIBLE)
    }

    fn pages(&self) -> usize {
        self.pages.len()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // SAFETY: the frames were allocated one by one for this space alone; no CPU has its tables in CR3 but while `Thread::run`
        // borrows it.
        unsafe {
            self.tables.free_lower_half();
            for &page in &self.pages {
                core::ptr::write_bytes(direct::pointer(page), 0, KIB_4 as usize);
                frames::free(page, 1);
            }
        }
    }
}
