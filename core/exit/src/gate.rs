//! Which polled registers of a controller may be read past its mediator, for now.
//!
//! A CPU that reads one looks at the gate, reads the port, and looks again: if the gate has changed, a call of the mediator
//! fell between, and what was read may be the device's word for what the mediator has not done yet (data that is not
//! decrypted). Then the mediator is asked. IN and OUT wait for all stores before them (SDM Vol. 3A 9.3), so a closed gate is
//! seen before anything that the mediator does to the device.

use crate::port_table::RegionOwner;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::SeqCst;

/// Of one controller. Written under its lock only.
///
/// Bits 31:0: the regions whose polled register passes, by the low five bits of their owner's byte. Bits 63:32: how often the
/// gate was opened, so that no reader takes a gate that was closed and opened again for one that never moved.
#[derive(Default)]
pub(crate) struct Gate(AtomicU64);

const REGIONS: u64 = 0xffff_ffff;
const OPENED: u64 = 1 << 32;

/// The gate at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    /// Is it open for the polled register of this region, given by its owner's byte?
    #[inline(always)]
    pub fn lets_pass(self, owner: u8) -> bool {
        self.0 as u32 & 1_u32.wrapping_shl(owner.into()) != 0
    }
}

impl Gate {
    #[inline(always)]
    pub fn look(&self) -> Seen {
        Seen(self.0.load(SeqCst))
    }

    /// Nothing passes.
    #[inline]
    pub fn close(&self) {
        let Seen(state) = self.look();
        if state & REGIONS != 0 {
            self.0.store(state & !REGIONS, SeqCst);
        }
    }

    /// From now on the polled registers of these regions of the controller pass ([`mediator::Mediator::passing_reads`]).
    #[inline]
    pub fn open(&self, controller: usize, passing: u8) {
        if passing != 0 {
            let Seen(state) = self.look();
            let first = RegionOwner { controller, region: 0 }.encode();
            let passing = u32::from(passing).wrapping_shl(first.into());
            self.0.store(state.wrapping_add(OPENED) & !REGIONS | u64::from(passing), SeqCst);
        }
    }
}
