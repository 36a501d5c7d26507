//! What each disk of a controller is sure of, whatever the others do: a disk whose requests never end keeps its buffers and its places
//! for ever, and nobody else's.
//!
//! A disk may have all that is free but for what the others' shares lack. One that has less than its share gets that much.

use crate::PAGE_BYTES;
use alloc::vec::Vec;

/// Pages of the pool that are a disk's share, at most: a part that is worth its command.
const PAGES: usize = 16;
/// The same in bytes.
pub const SHARE_BYTES: usize = PAGES * PAGE_BYTES;
/// Of what there is, the shares of all disks together are one part of so many at most.
const PART: usize = 2;

/// What the requests of a disk hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Of the pool.
    pub pages: usize,
    pub requests: usize,
    /// Pieces of guest memory.
    pub segments: usize,
}

struct Disk {
    number: u32,
    held: Held,
    /// Its oldest request that waits must wait on.
    blocked: bool,
}

/// The disks of a queue.
#[derive(Default)]
pub struct Shares {
    disks: Vec<Disk>,
    /// There is a share for one more, that nobody has heard of.
    newcomer: bool,
}

impl Shares {
    /// From now on the disk has its share. False: no memory.
    pub fn note(&mut self, number: u32) -> bool {
        if self.disks.iter().all(|disk| disk.number != number) {
            if self.disks.try_reserve(1).is_err() {
                return false;
            }
            self.disks.push(Disk { number, held: Held::default(), blocked: false });
        }
        true
    }

    /// Disks may come.
    pub fn expect_newcomer(&mut self) {
        self.newcomer = true;
    }

    fn of(&mut self, number: u32) -> Option<&mut Disk> {
        self.disks.iter_mut().find(|disk| disk.number == number)
    }

    /// What the disk holds is `change`d.
    pub fn change(&mut self, number: u32, change: impl FnOnce(&mut Held)) {
        if let Some(disk) = self.of(number) {
            change(&mut disk.held);
        }
    }

    /// Each disk's share of `all`, and how much of them the others than `number` lack.
    fn kept(&self, number: u32, all: usize, most: usize, of: fn(&Held) -> usize) -> (usize, usize) {
        let count = self.disks.len().saturating_add(usize::from(self.newcomer));
        let share = all.checked_div(count.saturating_mul(PART)).unwrap_or(all).clamp(1, most);
        let others = self.disks.iter().filter(|disk| disk.number != number);
        let lacking: usize = others.map(|disk| share.saturating_sub(of(&disk.held))).sum();
        (share, lacking.saturating_add(if self.newcomer { share } else { 0 }))
    }

    /// Of `all`, `free` are left; may the disk have one more? It may go beyond its share as long as the others' are whole.
    pub fn may_have(&self, number: u32, all: usize, free: usize, of: fn(&Held) -> usize) -> bool {
        let (share, lacking) = self.kept(number, all, usize::MAX, of);
        free > lacking || self.held(number, of) < share
    }

    /// Pages of the pool that the disk may have now.
    pub fn pages(&self, number: u32, all: usize, free: usize) -> usize {
        let of = |held: &Held| held.pages;
        let (share, lacking) = self.kept(number, all, PAGES, of);
        free.saturating_sub(lacking).max(share.saturating_sub(self.held(number, of)))
    }

    pub fn held(&self, number: u32, of: fn(&Held) -> usize) -> usize {
        self.disks.iter().find(|disk| disk.number == number).map_or(0, |disk| of(&disk.held))
    }

    /// Nobody is blocked any more.
    pub fn unblock(&mut self) {
        self.disks.iter_mut().for_each(|disk| disk.blocked = false);
    }

    pub fn block(&mut self, number: u32) {
        if let Some(disk) = self.of(number) {
            disk.blocked = true;
        }
    }

    pub fn is_blocked(&self, number: u32) -> bool {
        self.disks.iter().any(|disk| disk.blocked && disk.number == number)
    }

    pub fn all_are_blocked(&self) -> bool {
        self.disks.iter().all(|disk| disk.blocked)
    }
}
