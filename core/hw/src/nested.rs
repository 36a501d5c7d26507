//! Nested page tables: guest-physical is host-physical; all but the VMM's own memory is there.
//!
//! The lowest 4 GiB are mapped at once, but for the VMM's range; what lies higher (RAM, 64-bit BARs) is mapped when the
//! guest first touches it, so that no table is kept for address space that nobody uses.

#[cfg(test)]
mod tests;

use crate::paging::{GIB, KIB_4, MIB_2, Tables};
use crate::{Hpa, HpaRange};
use alloc::vec::Vec;
use lock::{Ranked, rank};
use mediator::Gpa;
use x86_64::structures::paging::PageTableFlags as Flags;

const GIB_4: u64 = 4 << 30;
/// Four levels reach 48 bits; no machine of today has guest-physical addresses beyond.
const LEVELS_END: u64 = 1 << 48;

/// What the vendors' entries differ in.
pub trait Format {
    /// Flags of an entry for the page of `size` bytes at `at`, all but `HUGE_PAGE`. `None`: smaller pages are needed. A page
    /// of 4 KiB always has flags.
    fn leaf(&self, at: u64, size: u64) -> Option<Flags>;
}

/// Which accesses to a page leave the guest, as nested faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Hook {
    Writes,
    All,
}

impl Hook {
    /// What an entry loses. The lowest bits are rights in both formats: present (read), write, and user (execute).
    fn rights(self) -> Flags {
        match self {
            Self::Writes => Flags::WRITABLE,
            Self::All => Flags::PRESENT | Flags::WRITABLE | Flags::USER_ACCESSIBLE,
        }
    }
}

/// What became of a page that the guest touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDemand {
    /// It is mapped now.
    Mapped,
    /// It was mapped already, by another CPU if it has only just faulted.
    There,
    /// The access must be refused: the address is the VMM's or hooked, or no table can be had for it.
    Refused,
}

/// What one CPU remembers of the pages that it has touched.
#[derive(Default)]
pub struct Touched {
    /// It was there already when the CPU told of a fault.
    there: Option<u64>,
}

impl Touched {
    /// Whether the guest is to try its access to `at` again. One that faults twice on a page that is there has another cause: the
    /// guest would try for ever.
    #[inline]
    pub fn retries(&mut self, at: Gpa, outcome: OnDemand) -> bool {
        let page = Some(at.0 & !(KIB_4 - 1));
        match outcome {
            OnDemand::Mapped => true,
            OnDemand::There => core::mem::replace(&mut self.there, page) != page,
            OnDemand::Refused => false,
        }
    }
}

/// The tables of a guest, shared by its CPUs.
pub struct Nested<F> {
    root: Hpa,
    state: Ranked<State<F>, { rank::NESTED }>,
}

struct State<F> {
    tables: Tables,
    vmm: HpaRange,
    gib_pages: bool,
    /// Past the last physical address.
    end: u64,
    format: F,
    /// By page.
    hooks: Vec<(u64, Hook)>,
    /// Pages that are hooked for a time.
    passing_hooks: Vec<u64>,
    /// The same without one page; see [`Nested::root_without`].
    other: Option<(u64, Tables)>,
}

impl<F: Format> Nested<F> {
    /// Tables that leave `vmm` (whole 2 MiB pages) out. `address_bits`: of physical addresses, without bits that choose a
    /// key of encrypted memory, by which the guest would reach `vmm` under another address. `None` when the frames do not
    /// suffice.
    pub fn new(vmm: HpaRange, gib_pages: bool, address_bits: u8, format: F) -> Option<Self> {
        let end = LEVELS_END.min(1 << address_bits);
        let mut state = State {
            tables: Tables::new()?,
            vmm,
            gib_pages,
            end,
            format,
            hooks: Vec::new(),
            passing_hooks: Vec::new(),
            other: None,
        };
        state.map_low()?;
        Some(Self { root: state.tables.root(), state: Ranked::new(state) })
    }

    /// The page that the CPUs are pointed at. It stays the same.
    pub fn root(&self) -> Hpa {
        self.root
    }

    /// A second root: all that the first one has but the page around `at`, which lies below 4 GiB; every access to it leaves the
    /// guest. There is but one such page, the first that is asked for. `None` when the frames do not suffice, or it is another page.
    /// Not for tables that are mapped anew.
    pub fn root_without(&self, at: Gpa) -> Option<Hpa> {
        self.state.lock().root_without(at.0 & !(KIB_4 - 1))
    }

    /// Is it the format that everything is mapped in?
    pub fn has_format(&self, format: &F) -> bool
    where
        F: PartialEq,
    {
        self.state.lock().format == *format
    }

    /// From now on these accesses to the page around `at` leave the guest; those of an earlier hook on it do so still. Before
    /// the guest starts: what CPUs have cached is not invalidated. `None`: the frames do not suffice, or it is no page of the
    /// guest's.
    pub fn hook_page(&self, at: Gpa, hook: Hook) -> Option<()> {
        self.state.lock().hook(at.0 & !(KIB_4 - 1), hook)
    }

    /// Every access to the page around `at` leaves the guest from now on, or (`on` is false) no longer, unless [`Nested::hook_page`] wants it. No
    /// CPU is in the guest, and each invalidates what it has cached before it enters again. However often pages change, no more tables
    /// are kept than the hooks of the moment need. `None`, and nothing has changed: the frames do not suffice, or it is no page of the
    /// guest's.
    pub fn hook_for_a_time(&self, at: Gpa, on: bool) -> Option<()> {
        let (mut state, page) = (self.state.lock(), at.0 & !(KIB_4 - 1));
        if on { state.hook_for_a_time(page) } else { state.unhook(page) }
    }

    /// Maps everything anew in another format; hooks stay. No CPU is in the guest, and each invalidates what it has cached of
    /// the old tables before it enters again. `None` when the frames do not suffice: parts are then missing.
    pub fn reformat(&self, format: F) -> Option<()> {
        self.state.lock().reformat(format)
    }

    /// Maps the page around an address that the guest touched for the first time.
    #[inline(always)]
    pub fn map_on_demand(&self, at: Gpa) -> OnDemand {
        // Below 4 GiB all is mapped that ever will be. Hooked pages fault often, and no CPU is to wait for another then.
        if at.0 < GIB_4 { OnDemand::Refused } else { self.map_high(at) }
    }

    #[cold]
    #[inline(never)]
    fn map_high(&self, at: Gpa) -> OnDemand {
        self.state.lock().map_on_demand(at.0)
    }
}

impl<F: Format> State<F> {
    fn hook(&mut self, page: u64, hook: Hook) -> Option<()> {
        if page >= self.end || self.vmm.overlaps(page, page + KIB_4) {
            return None;
        }
        let hook = self.hook_at(page).map_or(hook, |before| before.max(hook));
        let flags = self.format.leaf(page, KIB_4)?;
        self.tables.replace(page, page, flags - hook.rights())?;
        self.hooks.retain(|&(hooked, _)| hooked != page);
        self.hooks.push((page, hook));
        Some(())
    }

    fn hook_for_a_time(&mut self, page: u64) -> Option<()> {
        let near_the_missing = self.other.as_ref().is_some_and(|(missing, _)| missing / MIB_2 == page / MIB_2);
        if page >= self.end || self.vmm.overlaps(page, page + KIB_4) || near_the_missing {
            return None;
        }
        if self.passing_hooks.contains(&page) {
            return Some(());
        }
        let flags = self.format.leaf(page, KIB_4)?;
        let hooked = self.tables.replace(page, page, flags - Hook::All.rights());
        if hooked.is_some() {
            self.passing_hooks.push(page);
        }
        // Tables on the way may be new even so.
        self.follow();
        hooked
    }

    fn unhook(&mut self, page: u64) -> Option<()> {
        let Some(place) = self.passing_hooks.iter().position(|hooked| *hooked == page) else { return Some(()) };
        let flags = self.format.leaf(page, KIB_4)?;
        let rights =
            self.hooks.iter().find(|(hooked, _)| *hooked == page).map_or(Flags::empty(), |(_, hook)| hook.rights());
        self.passing_hooks.swap_remove(place);
        // What was split for it becomes whole again; above 4 GiB it is mapped anew when the guest touches it.
        let size = if page < GIB_4 { MIB_2 } else { GIB };
        let area = page & !(size - 1);
        let is_used =
            self.hooked().any(|(hooked, _)| hooked & !(size - 1) == area) || self.vmm.overlaps(area, area + size);
        let whole = self.format.leaf(area, size).map(|flags| flags | Flags::HUGE_PAGE).filter(|_| page < GIB_4);
        if is_used || page < GIB_4 && whole.is_none() {
            self.tables.replace(page, page, flags - rights)?;
        } else {
            self.tables.join(area, size, whole);
        }
        self.follow();
        Some(())
    }

    /// The other tables, if there are any, get what these have.
    fn follow(&mut self) {
        if let Some((page, tables)) = &mut self.other {
            tables.follow(&self.tables, *page);
        }
    }

    /// All hooked pages.
    fn hooked(&self) -> impl Iterator<Item = (u64, Hook)> {
        self.hooks.iter().copied().chain(self.passing_hooks.iter().map(|&page| (page, Hook::All)))
    }

    fn root_without(&mut self, page: u64) -> Option<Hpa> {
        if self.other.is_none() && page < GIB_4 {
            self.other = Some((page, self.tables.without(page)?));
        }
        self.other.as_ref().filter(|(missing, _)| *missing == page).map(|(_, tables)| tables.root())
    }

    fn hook_at(&self, page: u64) -> Option<Hook> {
        self.hooked().filter(|&(hooked, _)| hooked == page).map(|(_, hook)| hook).max()
    }

    fn reformat(&mut self, format: F) -> Option<()> {
        self.tables.clear();
        self.format = format;
        // First of all: with too few frames other pages are missing, but none is open that must not be.
        for (page, hook) in self.hooks.clone() {
            self.hook(page, hook)?;
        }
        for page in core::mem::take(&mut self.passing_hooks) {
            self.hook_for_a_time(page)?;
        }
        self.map_low()
    }

    fn map_on_demand(&mut self, at: u64) -> OnDemand {
        if at >= self.end || self.hook_at(at & !(KIB_4 - 1)).is_some() {
            return OnDemand::Refused;
        }
        let sizes = if self.gib_pages { &[GIB, MIB_2, KIB_4][..] } else { &[MIB_2, KIB_4] };
        if sizes.iter().any(|&size| self.map(at & !(size - 1), size).is_some()) {
            self.follow();
            OnDemand::Mapped
        } else if self.tables.flags(at).is_some() {
            OnDemand::There
        } else {
            OnDemand::Refused
        }
    }

    fn map_low(&mut self) -> Option<()> {
        let (vmm, hooks): (_, Vec<_>) = (self.vmm, self.hooked().collect());
        for at in (0..GIB_4).step_by(MIB_2 as usize).filter(|&at| !vmm.overlaps(at, at + MIB_2)) {
            let hooked = hooks.iter().any(|(page, _)| page & !(MIB_2 - 1) == at);
            if !hooked && self.format.leaf(at, MIB_2).is_some() {
                self.map(at, MIB_2)?;
                continue;
            }
            let free = (at..at + MIB_2).step_by(KIB_4 as usize).filter(|at| hooks.iter().all(|(page, _)| page != at));
            for at in free {
                self.map(at, KIB_4)?;
            }
        }
        Some(())
    }

    fn map(&mut self, at: u64, size: u64) -> Option<()> {
        if self.vmm.overlaps(at, at + size) {
            return None;
        }
        let flags = self.format.leaf(at, size)?;
        let huge = if size == KIB_4 { Flags::empty() } else { Flags::HUGE_PAGE };
        self.tables.map(at, at, size, flags | huge)
    }
}
