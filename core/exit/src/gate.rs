//! Which polled registers of a controller may be read past its mediator, for now.
//!
//! A CPU that reads one looks at the gate, reads the port, and looks again: if the gate has changed, a call of the mediator
//! fell between, and what was read may be the device's word for what the mediator has not done yet (data that is not
//! decrypted). Then the mediator is asked. IN and OUT wait for all stores before them (SDM Vol. 3A 9.3), so a closed gate is
//! seen before anything that the mediator does to the device.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::SeqCst;

/// Of one controller. Written under its lock only.
///
/// Bits 7:0: the regions whose polled register passes. Bits 31:8: how often the gate was opened, so that no reader takes a
/// gate that was closed and opened again for one that never moved.
#[derive(Default)]
pub(crate) struct Gate(AtomicU32);

const REGIONS: u32 = 0xff;
const OPENED: u32 = 0x100;

/// The gate at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u32);

impl Seen {
    /// Is it open for the polled register of this region?
    #[inline(always)]
    pub fn lets_pass(self, region: usize) -> bool {
        self.0 & 1_u32.wrapping_shl(region as u32) != 0
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

    /// What passes from now on: [`mediator::Mediator::passing_reads`].
    #[inline]
    pub fn open(&self, passing: u8) {
        if passing != 0 {
            let Seen(state) = self.look();
            self.0.store(state.wrapping_add(OPENED) & !REGIONS | u32::from(passing), SeqCst);
        }
    }
}
