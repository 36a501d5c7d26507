//! The host's own page tables (APM s. 5.3): the image at its fixed address with the rights of each section, and the
//! direct map.

use crate::direct::{self, DIRECT_MAP};
use crate::{Hpa, frames};
use x86_64::structures::paging::{PageTable, PageTableFlags as Flags};
use x86_64::{PhysAddr, VirtAddr};

/// The image: virtual addresses of its parts, each a multiple of 4 KiB, and where it lies physically.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    pub start: u64,
    pub rodata: u64,
    pub data: u64,
    pub end: u64,
    pub at: Hpa,
}

const KIB_4: u64 = 4 << 10;
const MIB_2: u64 = 2 << 20;
const GIB: u64 = 1 << 30;

/// Builds tables for the image at `image.at` and for the physical memory below `direct_end`. Returns the root (CR3), or
/// `None` when the frames do not suffice.
pub fn build(image: &Image, direct_end: u64, gib_pages: bool) -> Option<Hpa> {
    let mut tables = Tables { root: frames::alloc(1)? };
    for (start, end, flags) in [
        (image.start, image.rodata, Flags::PRESENT),
        (image.rodata, image.data, Flags::PRESENT | Flags::NO_EXECUTE),
        (image.data, image.end, Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE),
    ] {
        for at in (start..end).step_by(KIB_4 as usize) {
            tables.map(at, image.at.0 + (at - image.start), KIB_4, flags)?;
        }
    }
    let size = if gib_pages { GIB } else { MIB_2 };
    let flags = Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE | Flags::HUGE_PAGE;
    for at in (0..direct_end.next_multiple_of(size)).step_by(size as usize) {
        tables.map(DIRECT_MAP + at, at, size, flags)?;
    }
    Some(tables.root)
}

struct Tables {
    root: Hpa,
}

impl Tables {
    /// Maps one page of `size` bytes.
    fn map(&mut self, virt: u64, phys: u64, size: u64, flags: Flags) -> Option<()> {
        let virt = VirtAddr::new(virt);
        let mut table = table_at(self.root);
        let mut covered = GIB << 9;
        for index in [virt.p4_index(), virt.p3_index(), virt.p2_index()] {
            if covered == size {
                table[index].set_addr(PhysAddr::new(phys), flags);
                return Some(());
            }
            if table[index].is_unused() {
                table[index].set_addr(PhysAddr::new(frames::alloc(1)?.0), Flags::PRESENT | Flags::WRITABLE);
            }
            table = table_at(Hpa(table[index].addr().as_u64()));
            covered >>= 9;
        }
        table[virt.p1_index()].set_addr(PhysAddr::new(phys), flags);
        Some(())
    }
}

fn table_at(at: Hpa) -> &'static mut PageTable {
    // SAFETY: a frame that `build` allocated for a page table; only one reference is alive at a time, since every
    // caller drops the parent's before it uses the child's.
    unsafe { &mut *direct::pointer(at).cast::<PageTable>() }
}
