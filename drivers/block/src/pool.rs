//! The bounce buffers: a bounded piece of the DMA arena, lent in runs of pages.

use alloc::vec::Vec;
use mediator::{BusAddr, DmaArena, DmaBuffer};

/// Granularity of the pool.
pub const PAGE_BYTES: usize = 4096;
/// A request that wants more gets at least so much, or waits: many small parts would cost more than the wait.
const WORTHWHILE_PAGES: usize = 16;

/// A run of pages of the pool, lent to one request.
#[derive(PartialEq, Eq, Debug)]
pub struct Chunk {
    bus: BusAddr,
    pages: usize,
}

impl Chunk {
    /// Where the device finds it.
    pub fn bus_addr(&self) -> BusAddr {
        self.bus
    }

    pub fn len_bytes(&self) -> usize {
        self.pages.saturating_mul(PAGE_BYTES)
    }

    pub(crate) fn pages(&self) -> usize {
        self.pages
    }
}

/// The buffers of one controller (or channel).
pub struct Pool {
    buffer: DmaBuffer,
    /// Is the page lent?
    used: Vec<bool>,
    /// Chunks that are lent, and pages that are not.
    lent: usize,
    free: usize,
    /// Is there one page more, behind the others, that only [`Pool::take_spare`] gives? And is it there now?
    spare: Option<bool>,
}

impl Pool {
    /// A pool of `len_bytes` (a multiple of [`PAGE_BYTES`], not 0) at a multiple of `align`. `None`: the arena is full.
    pub fn new(arena: &mut dyn DmaArena, len_bytes: usize, align: usize) -> Option<Self> {
        let pages = len_bytes / PAGE_BYTES;
        let mut used = Vec::new();
        used.try_reserve_exact(pages).ok()?;
        used.resize(pages, false);
        Some(Self { buffer: arena.alloc(len_bytes, align)?, used, lent: 0, free: pages, spare: None })
    }

    /// The last page is for payloads that fit into it, so that these never wait for buffers that a device has and does not give
    /// back: a guest asks for such a payload to find out what has failed.
    #[must_use]
    pub fn with_spare(mut self) -> Self {
        if self.used.len() > 1 && self.spare.is_none() {
            self.spare = self.used.pop().map(|_| true);
            self.free = self.used.len();
        }
        self
    }

    /// Is the spare page there?
    pub(crate) fn has_spare(&self) -> bool {
        self.spare == Some(true)
    }

    /// The spare page.
    pub(crate) fn take_spare(&mut self) -> Option<Chunk> {
        let spare = self.spare.as_mut().filter(|free| **free)?;
        let bytes = u64::try_from(self.used.len().checked_mul(PAGE_BYTES)?).ok()?;
        let bus = self.buffer.bus_addr().checked_add(bytes)?;
        *spare = false;
        self.lent = self.lent.saturating_add(1);
        Some(Chunk { bus, pages: 1 })
    }

    /// A run of pages for `wanted` bytes (> 0), or for a part of them, at most `most` pages: never less than `least` bytes, nor,
    /// unless it is `urgent`, less than is worthwhile. `None`: it must wait for others.
    pub(crate) fn take(&mut self, wanted: usize, least: usize, most: usize, urgent: bool) -> Option<Chunk> {
        let pages = |len: usize| len.div_ceil(PAGE_BYTES).max(1);
        let wanted = pages(wanted).min(self.used.len());
        let least = pages(least).max(if urgent { 1 } else { wanted.min(WORTHWHILE_PAGES) });
        let wanted = wanted.min(most);
        if wanted < least {
            return None;
        }
        let (first, pages) = self.longest_free(wanted).filter(|(_, pages)| *pages >= least)?;
        let bytes = u64::try_from(first.checked_mul(PAGE_BYTES)?).ok()?;
        let bus = self.buffer.bus_addr().checked_add(bytes)?;
        self.used.iter_mut().skip(first).take(pages).for_each(|page| *page = true);
        self.lent = self.lent.saturating_add(1);
        self.free = self.free.saturating_sub(pages);
        Some(Chunk { bus, pages })
    }

    /// First page and length of the first free run of `wanted` pages, or else of the longest one.
    fn longest_free(&self, wanted: usize) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        let mut run = 0_usize;
        for (page, used) in self.used.iter().enumerate() {
            run = if *used { 0 } else { run.saturating_add(1) };
            if run > best.map_or(0, |(_, pages)| pages) {
                best = Some((page.saturating_add(1).saturating_sub(run), run));
            }
            if run == wanted {
                break;
            }
        }
        best
    }

    pub(crate) fn give_back(&mut self, chunk: Chunk) {
        let offset = chunk.bus.0.saturating_sub(self.buffer.bus_addr().0);
        let first = usize::try_from(offset).unwrap_or(usize::MAX) / PAGE_BYTES;
        self.lent = self.lent.saturating_sub(1);
        if first == self.used.len() {
            self.spare = Some(true);
            return;
        }
        self.used.iter_mut().skip(first).take(chunk.pages).for_each(|page| *page = false);
        self.free = self.free.saturating_add(chunk.pages);
    }

    /// Chunks that are lent now.
    pub fn lent(&self) -> usize {
        self.lent
    }

    pub(crate) fn pages(&self) -> usize {
        self.used.len()
    }

    pub(crate) fn free_pages(&self) -> usize {
        self.free
    }

    /// Size of the whole pool.
    pub fn len_bytes(&self) -> usize {
        self.used.len().saturating_mul(PAGE_BYTES)
    }

    /// The arena memory back, when the pool is not used any more.
    pub fn into_buffer(self) -> DmaBuffer {
        self.buffer
    }
}
