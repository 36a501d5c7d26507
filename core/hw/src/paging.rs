//! The host's own page tables (APM s. 5.3): the image at its fixed address with the rights of each section, and the
//! direct map.

use crate::direct::{self, DIRECT_MAP};
use crate::{Hpa, HpaRange, frames};
use core::ops::Range;
use core::sync::atomic::{Ordering, fence};
use x86_64::registers::control::Cr3;
use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTable, PageTableFlags as Flags, PageTableIndex};
use x86_64::{PhysAddr, VirtAddr};

/// The image: virtual addresses of its parts, each a multiple of 4 KiB, and where it lies physically.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    pub start: u64,
    pub rodata: u64,
    pub data: u64,
    pub end: u64,
    /// A page that stays unmapped: below the stack.
    pub guard: u64,
    pub at: Hpa,
}

pub const KIB_4: u64 = 4 << 10;
pub const MIB_2: u64 = 2 << 20;
pub const GIB: u64 = 1 << 30;

/// Root of the tables in use.
pub fn root() -> Hpa {
    Hpa(Cr3::read_raw().0.start_address().as_u64())
}

/// Builds tables for the image at `image.at` and for the physical memory below `direct_end`. Returns the root (CR3), or
/// `None` when the frames do not suffice.
pub fn build(image: &Image, direct_end: u64, gib_pages: bool) -> Option<Hpa> {
    let mut tables = Tables::new()?;
    for (start, end, flags) in [
        (image.start, image.rodata, Flags::PRESENT),
        (image.rodata, image.data, Flags::PRESENT | Flags::NO_EXECUTE),
        (image.data, image.end, Flags::PRESENT | Flags::WRITABLE | Flags::NO_EXECUTE),
    ] {
        for at in (start..end).step_by(KIB_4 as usize).filter(|&at| at != image.guard) {
            tables.map(at, image.at.0 + (at - image.start), KIB_4, flags)?;
        }
    }
    map_directly(&mut tables, image, direct_end, gib_pages)?;
    Some(tables.root)
}

/// Tables like those at `root`, but for the lower half, where only the page at `page` is: mapped one to one, for code that switches
/// paging on. `None` when the frames do not suffice.
pub fn with_page_below(root: Hpa, page: u64) -> Option<Hpa> {
    let mut tables = Tables::with_upper_half_of(root)?;
    tables.map(page, page, KIB_4, Flags::PRESENT | Flags::WRITABLE)?;
    Some(tables.root)
}

/// The direct map. Code and constants of the image cannot be written there either.
fn map_directly(tables: &mut Tables, image: &Image, end: u64, gib_pages: bool) -> Option<()> {
    let read_only = HpaRange { start: image.at.0, end: image.at.0 + (image.data - image.start) };
    let largest = if gib_pages { GIB } else { MIB_2 };
    let mut at = 0;
    while at < end.next_multiple_of(largest) {
        let fits = |size: &u64| at % size == 0 && !read_only.overlaps(at, at + size);
        let size = [largest, MIB_2].into_iter().find(fits).unwrap_or(KIB_4);
        let mut flags = Flags::PRESENT | Flags::NO_EXECUTE;
        flags.set(Flags::WRITABLE, !read_only.overlaps(at, at + size));
        flags.set(Flags::HUGE_PAGE, size != KIB_4);
        tables.map(DIRECT_MAP + at, at, size, flags)?;
        at += size;
    }
    Some(())
}

/// Page tables of four levels, for the host's addresses or a guest's (nested tables of AMD-V have the same format, APM
/// s. 15.25.5; in VT-x' the bits 0 to 2 of a branch are rights too, and all set).
pub struct Tables {
    root: Hpa,
}

/// Rights of the upper levels: the leaf alone restricts.
const BRANCH: Flags = Flags::PRESENT.union(Flags::WRITABLE).union(Flags::USER_ACCESSIBLE);

impl Tables {
    /// Empty tables, or `None` when no frame is left.
    pub fn new() -> Option<Self> {
        Some(Self { root: frames::alloc(1)? })
    }

    /// Tables whose upper half is that of the ones at `root`, as they are now; nothing is mapped in the lower one.
    pub(crate) fn with_upper_half_of(root: Hpa) -> Option<Self> {
        let tables = Self::new()?;
        for (entry, from) in table_at(tables.root).iter_mut().zip(table_at(root).iter()).skip(HALF) {
            *entry = from.clone();
        }
        Some(tables)
    }

    /// Gives all tables of the lower half back, and the root.
    ///
    /// # Safety
    /// No CPU uses them.
    pub(crate) unsafe fn free_lower_half(&mut self) {
        free_entries(self.root, 0..HALF, LEVELS);
        // SAFETY: the frame of `new`; the caller's promise.
        unsafe { frames::free(self.root, 1) };
    }

    /// Tables that were built before, with the root at `root`.
    pub(crate) fn of(root: Hpa) -> Self {
        Self { root }
    }

    /// For CR3 or N_CR3.
    pub fn root(&self) -> Hpa {
        self.root
    }

    /// Maps one page of `size` bytes (4 KiB, 2 MiB or 1 GiB; the larger ones want `HUGE_PAGE` in `flags`). `None` when no
    /// frame is left for a table, or something is mapped there already.
    pub fn map(&mut self, from: u64, to: u64, size: u64, flags: Flags) -> Option<()> {
        let from = VirtAddr::new_truncate(from);
        let path: &[PageTableIndex] = match size {
            GIB => &[from.p4_index(), from.p3_index()],
            MIB_2 => &[from.p4_index(), from.p3_index(), from.p2_index()],
            _ => &[from.p4_index(), from.p3_index(), from.p2_index(), from.p1_index()],
        };
        let (leaf, branches) = path.split_last()?;
        let mut table = table_at(self.root);
        for index in branches {
            if table[*index].is_unused() {
                point(&mut table[*index], frames::alloc(1)?);
            }
            if table[*index].flags().contains(Flags::HUGE_PAGE) {
                return None;
            }
            table = table_at(Hpa(table[*index].addr().as_u64()));
        }
        if !table[*leaf].is_unused() {
            return None;
        }
        table[*leaf].set_addr(PhysAddr::new(to), flags);
        Some(())
    }

    /// Flags of the page, of whatever size, that holds `from`. `None`: nothing is mapped there.
    pub fn flags(&self, from: u64) -> Option<Flags> {
        self.leaf(from).map(|(entry, _)| entry.flags())
    }

    /// Where the page that holds `from` lies, and its size.
    pub fn address(&self, from: u64) -> Option<(Hpa, u64)> {
        self.leaf(from).map(|(entry, size)| (Hpa(entry.addr().as_u64()), size))
    }

    /// The entry of the page that holds `from`, and the page's size.
    fn leaf(&self, from: u64) -> Option<(PageTableEntry, u64)> {
        let from = VirtAddr::new_truncate(from);
        let mut table = table_at(self.root);
        for (index, size) in [(from.p4_index(), 512 * GIB), (from.p3_index(), GIB), (from.p2_index(), MIB_2)] {
            let entry = &table[index];
            if entry.is_unused() {
                return None;
            }
            if entry.flags().contains(Flags::HUGE_PAGE) {
                return Some((entry.clone(), size));
            }
            table = table_at(Hpa(entry.addr().as_u64()));
        }
        let entry = &table[from.p1_index()];
        (!entry.is_unused()).then(|| (entry.clone(), KIB_4))
    }

    /// Maps the page of 4 KiB at `from`, whatever was there. A larger page around it is split into smaller ones, all others of
    /// which stay as they are. `None` when no frame is left for a table: nothing has changed.
    pub fn replace(&mut self, from: u64, to: u64, flags: Flags) -> Option<()> {
        let from = VirtAddr::new_truncate(from);
        let mut table = table_at(self.root);
        for (index, size) in [(from.p4_index(), 512 * GIB), (from.p3_index(), GIB), (from.p2_index(), MIB_2)] {
            let entry = &mut table[index];
            if entry.is_unused() {
                point(entry, frames::alloc(1)?);
            } else if entry.flags().contains(Flags::HUGE_PAGE) {
                split(entry, size)?;
            }
            table = table_at(Hpa(entry.addr().as_u64()));
        }
        table[from.p1_index()].set_addr(PhysAddr::new(to), flags);
        Some(())
    }

    /// Tables like these, but that the page of 4 KiB at `page` is not there. What lies below the tables on the way to it is shared; so
    /// [`Tables::follow`] must be told of what is mapped later. `None` when no frame is left, or nothing is mapped around it.
    pub fn without(&self, page: u64) -> Option<Self> {
        let page = VirtAddr::new_truncate(page);
        let copy = Self::new()?;
        let (mut from, mut to) = (Some(self.root), copy.root);
        for (index, size) in [(page.p4_index(), 512 * GIB), (page.p3_index(), GIB), (page.p2_index(), MIB_2)] {
            copy_table(from, to);
            let entry = &mut table_at(to)[index];
            if entry.is_unused() {
                return None;
            }
            if entry.flags().contains(Flags::HUGE_PAGE) {
                split(entry, size)?;
                (from, to) = (None, Hpa(entry.addr().as_u64()));
            } else {
                from = Some(Hpa(entry.addr().as_u64()));
                to = frames::alloc(1)?;
                point(entry, to);
            }
        }
        copy_table(from, to);
        table_at(to)[page.p1_index()].set_unused();
        Some(copy)
    }

    /// These were made by [`Tables::without`] from `others`, where something has changed since, outside of the 2 MiB of `page`.
    pub fn follow(&mut self, others: &Self, page: u64) {
        let page = VirtAddr::new_truncate(page);
        let (mut to, mut from) = (self.root, others.root);
        for kept in [page.p4_index(), page.p3_index(), page.p2_index()] {
            let entries = table_at(to).iter_mut().zip(table_at(from).iter()).enumerate();
            for (_, (to, from)) in entries.filter(|(index, _)| *index != usize::from(kept)) {
                *to = from.clone();
            }
            let (mine, theirs) = (table_at(to)[kept].clone(), table_at(from)[kept].clone());
            if [&mine, &theirs].iter().any(|entry| entry.is_unused() || entry.flags().contains(Flags::HUGE_PAGE)) {
                return;
            }
            (to, from) = (Hpa(mine.addr().as_u64()), Hpa(theirs.addr().as_u64()));
        }
    }

    /// The pages of `size` bytes (2 MiB or 1 GiB) at `from`, which are mapped one to one, become one page with these flags, or (`None`)
    /// are not mapped; their tables are given back. No CPU walks them, nor has anything cached of them.
    pub fn join(&mut self, from: u64, size: u64, flags: Option<Flags>) {
        let at = VirtAddr::new_truncate(from);
        let path: &[PageTableIndex] = if size == GIB { &[at.p4_index()] } else { &[at.p4_index(), at.p3_index()] };
        let mut table = table_at(self.root);
        for index in path {
            let entry = &table[*index];
            if entry.is_unused() || entry.flags().contains(Flags::HUGE_PAGE) {
                return;
            }
            table = table_at(Hpa(entry.addr().as_u64()));
        }
        let (leaf, level) = if size == GIB { (at.p3_index(), 2) } else { (at.p2_index(), 1) };
        let old = table[leaf].clone();
        match flags {
            Some(flags) => table[leaf].set_addr(PhysAddr::new(from), flags),
            None => table[leaf].set_unused(),
        }
        if !old.is_unused() && !old.flags().contains(Flags::HUGE_PAGE) {
            let below = Hpa(old.addr().as_u64());
            free_below(below, level);
            // SAFETY: a frame of a table, to which no entry points any more; by the contract no CPU walks it.
            unsafe { frames::free(below, 1) };
        }
    }

    /// Unmaps everything and gives all tables but the root back.
    pub fn clear(&mut self) {
        free_below(self.root, LEVELS);
        table_at(self.root).zero();
    }
}

const LEVELS: u8 = 4;
/// Entries of the root that map the lower half of the addresses.
const HALF: usize = 256;

/// Makes an entry point to a table, which is complete: another CPU may walk it at once.
fn point(entry: &mut PageTableEntry, table: Hpa) {
    fence(Ordering::Release);
    entry.set_addr(PhysAddr::new(table.0), BRANCH);
}

/// Makes the entry of a page of `size` bytes one of a table of 512 smaller pages.
fn split(entry: &mut PageTableEntry, size: u64) -> Option<()> {
    let (first, mut flags, part) = (entry.addr().as_u64(), entry.flags(), size / 512);
    flags.set(Flags::HUGE_PAGE, part != KIB_4);
    let table = frames::alloc(1)?;
    for (at, smaller) in (first..).step_by(part as usize).zip(table_at(table).iter_mut()) {
        smaller.set_addr(PhysAddr::new(at), flags);
    }
    point(entry, table);
    Some(())
}

/// All entries; without a source nothing happens.
fn copy_table(from: Option<Hpa>, to: Hpa) {
    let Some(from) = from else { return };
    for (to, from) in table_at(to).iter_mut().zip(table_at(from).iter()) {
        *to = from.clone();
    }
}

/// Gives back what the entries of a table at `level` (4: the root, 1: its entries are all leaves) point to.
fn free_below(table: Hpa, level: u8) {
    free_entries(table, 0..512, level);
}

fn free_entries(table: Hpa, entries: Range<usize>, level: u8) {
    if level == 1 {
        return;
    }
    for index in entries {
        let entry = &table_at(table)[index];
        if entry.is_unused() || entry.flags().contains(Flags::HUGE_PAGE) {
            continue;
        }
        let below = Hpa(entry.addr().as_u64());
        free_below(below, level - 1);
        // SAFETY: a frame that `map` allocated for a table; the entry that pointed to it goes with its own table.
        unsafe { frames::free(below, 1) };
    }
}

fn table_at(at: Hpa) -> &'static mut PageTable {
    // SAFETY: a frame that `build` allocated for a page table; only one reference is alive at a time, since every
    // caller drops the parent's before it uses the child's.
    unsafe { &mut *direct::pointer(at).cast::<PageTable>() }
}
