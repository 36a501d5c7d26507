//! Where the guest finds what base address registers of guarded controllers place in memory.
//!
//! The device decodes a window where it was when it was taken over, at its home, whatever the guest writes: its own registers never
//! change. Each address at which the guest finds a window stands for one at home. All pages of all homes are hooked for good, so
//! that no window is reached beside this translation; the pages of another place are hooked as long as the window is there.
//!
//! So a place decides only what the guest can no longer see there. It must not be where the VMM itself has something: RAM, VMM memory,
//! configuration space, interrupt controllers, what firmware has reserved ([`Windows::close`]); nor where another window is.

use crate::mediated_memory::Block;
use crate::{Machine, hooks::PAGE_BYTES};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering::SeqCst;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use mediator::{Gpa, HookConflict, pci};

/// Longer ones stay at home: each page of another place is hooked on its own.
const MAX_BYTES: u64 = 1 << 20;
/// Below is memory of the first PC.
const LOWEST: u64 = 1 << 20;
/// From here up to 4 GiB are interrupt controllers, timers and firmware, whatever else a table tells.
const CHIPSET: Range<u64> = 0xfec0_0000..1 << 32;
/// An access that is aligned at one place is so at the other.
const ALIGN: u64 = 8;

/// The guest finds it nowhere.
const NOWHERE: u64 = u64::MAX;

pub(crate) struct Window {
    controller: usize,
    /// Number that the mediator knows it by.
    number: usize,
    home: u64,
    len: u64,
    /// Where the guest finds it. Changes only while the other CPUs stand; one may stand within an access that is translated already, and
    /// goes on to home.
    place: AtomicU64,
}

impl Window {
    fn new(controller: usize, number: usize, home: u64, len: u64) -> Self {
        Self { controller, number, home, len, place: AtomicU64::new(home) }
    }

    #[inline]
    fn place(&self) -> u64 {
        self.place.load(SeqCst)
    }

    /// Offset of an address in it, if it begins at `start`.
    #[inline]
    fn offset(&self, start: u64, at: u64) -> Option<u64> {
        at.checked_sub(start).filter(|offset| *offset < self.len)
    }

    fn is_movable(&self) -> bool {
        self.len <= MAX_BYTES
    }

    /// Its bytes, if it begins at `start`.
    fn range(&self, start: u64) -> Range<u64> {
        start..start.saturating_add(self.len)
    }

    /// Where it is now; nothing if it is nowhere.
    fn range_now(&self) -> Range<u64> {
        match self.place() {
            NOWHERE => 0..0,
            place => self.range(place),
        }
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// All pages that hold a part of it.
pub(crate) fn pages(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    let first = range.start & !PAGE_BYTES.wrapping_sub(1);
    (first..range.end).step_by(PAGE_BYTES as usize)
}

fn has_page(range: &Range<u64>, page: u64) -> bool {
    overlap(range, &(page..page.saturating_add(PAGE_BYTES)))
}

/// A window begins or ceases to be at a place that is not its home.
#[derive(Clone, Copy)]
pub(crate) struct Moved {
    window: usize,
    from: u64,
}

/// Of all controllers.
#[derive(Default)]
pub(crate) struct Windows {
    all: Vec<Window>,
    /// Number of those that are not at home: mostly none, and then each address stands for itself.
    away: AtomicUsize,
    closed: Vec<Range<u64>>,
    /// A place that could not be hooked was logged: no memory, or no address that this CPU has.
    complained: AtomicBool,
}

impl Windows {
    /// Those of a controller that was taken over. Blocks that are in none of them get one of their own, which nobody moves.
    pub fn add(&mut self, controller: usize, windows: &[pci::Window], blocks: &[Block]) {
        let told = windows.iter().enumerate().filter(|(_, window)| window.len > 0);
        self.all.extend(told.map(|(number, it)| Window::new(controller, number, it.home.0, it.len.into())));
        for &Block { first, end, .. } in blocks {
            let holds = |window: &Window| window.home <= first && end <= window.range(window.home).end;
            if !self.all.iter().any(holds) {
                self.all.push(Window::new(controller, usize::MAX, first, end.saturating_sub(first)));
            }
        }
    }

    /// No window is placed there.
    pub fn close(&mut self, range: Range<u64>) {
        self.closed.push(range);
    }

    /// Pages that are hooked for good.
    pub fn home_pages(&self) -> impl Iterator<Item = Gpa> {
        let movable = self.all.iter().filter(|window| window.is_movable());
        movable.flat_map(|window| pages(&window.range(window.home))).map(Gpa)
    }

    /// Must the guest's accesses to the page lead here?
    pub fn has_page(&self, page: u64) -> bool {
        let at_home = |window: &Window| window.is_movable() && has_page(&window.range(window.home), page);
        self.all.iter().any(|window| at_home(window) || has_page(&window.range_now(), page))
    }

    /// What an address of the guest stands for: one at home in a window, or itself if it is in none. Nothing: it is the home of a window
    /// that the guest has elsewhere, or nowhere.
    #[inline]
    pub fn find(&self, at: Gpa) -> Option<Gpa> {
        if self.away.load(SeqCst) == 0 { Some(at) } else { self.find_away(at) }
    }

    #[cold]
    #[inline(never)]
    fn find_away(&self, at: Gpa) -> Option<Gpa> {
        let here = |window: &Window| Some(window.home.wrapping_add(window.offset(window.place(), at.0)?));
        if let Some(home) = self.all.iter().find_map(here) {
            return Some(Gpa(home));
        }
        let is_home = |window: &Window| window.offset(window.home, at.0).is_some();
        (!self.all.iter().any(is_home)).then_some(at)
    }

    /// Moves a window; gives the place where it was. Nobody else does so at the same time. It counts as away from before it leaves
    /// its home until after it is back, so that `find` never misses it.
    fn set_place(&self, window: &Window, to: u64) -> u64 {
        let (was_home, is_home) = (window.place() == window.home, to == window.home);
        if was_home && !is_home {
            self.away.fetch_add(1, SeqCst);
        }
        let from = window.place.swap(to, SeqCst);
        if is_home && !was_home {
            self.away.fetch_sub(1, SeqCst);
        }
        from
    }

    /// See [`mediator::Hooks::move_window`]. What has changed is to be given to [`Windows::make`].
    ///
    /// # Errors
    /// [`HookConflict`]: nothing was changed.
    pub fn place(&self, controller: usize, number: usize, place: Option<Gpa>) -> Result<Option<Moved>, HookConflict> {
        let is_it = |window: &Window| (window.controller, window.number) == (controller, number);
        let Some(index) = self.all.iter().position(is_it) else {
            // One without a length: there is nothing to be found, at home or elsewhere.
            return Ok(None);
        };
        let window = self.all.get(index).ok_or(HookConflict)?;
        let to = place.map_or(NOWHERE, |place| place.0);
        if to != NOWHERE && !self.may_be_at(index, window, to) {
            return Err(HookConflict);
        }
        let from = self.set_place(window, to);
        Ok((from != to).then_some(Moved { window: index, from }))
    }

    fn may_be_at(&self, index: usize, window: &Window, to: u64) -> bool {
        let Some(end) = to.checked_add(window.len) else { return false };
        let (range, at_home) = (to..end, to == window.home);
        let others = || self.all.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other);
        if others().any(|other| overlap(&other.range_now(), &range)) {
            return false;
        }
        // Another window's home is hooked as a whole, unless it is too long for that.
        let is_open = || others().any(|other| !other.is_movable() && overlap(&other.range(other.home), &range));
        let pages = to & !PAGE_BYTES.wrapping_sub(1)..end.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX);
        let is_closed = || self.closed.iter().chain(&[0..LOWEST, CHIPSET]).any(|closed| overlap(closed, &pages));
        let is_aligned = (to ^ window.home) & ALIGN.wrapping_sub(1) == 0;
        at_home || window.is_movable() && is_aligned && !is_open() && !is_closed()
    }

    /// Hooks what is to be hooked now, and no longer what was. The other CPUs stand. Where that cannot be done the guest finds the window
    /// nowhere.
    #[cold]
    pub fn make<M: Machine>(&self, machine: &mut M, Moved { window: index, from }: Moved) {
        let Some(window) = self.all.get(index) else { return };
        let place = window.place();
        if ![NOWHERE, window.home].contains(&place) {
            let hooked = pages(&window.range(place)).all(|page| machine.set_page_hook(Gpa(page), true));
            if !hooked {
                if !self.complained.swap(true, SeqCst) {
                    log::warn!(
                        "registers cannot be guarded at {place:#x}, where the guest has placed them: it finds none; further ones \
                         are not logged"
                    );
                }
                self.set_place(window, NOWHERE);
                self.open(machine, &window.range(place));
            }
        }
        if ![NOWHERE, window.home].contains(&from) {
            self.open(machine, &window.range(from));
        }
    }

    /// What is nobody's any more is the guest's again.
    fn open<M: Machine>(&self, machine: &mut M, range: &Range<u64>) {
        for page in pages(range).filter(|page| !self.has_page(*page)) {
            machine.set_page_hook(Gpa(page), false);
        }
    }
}
