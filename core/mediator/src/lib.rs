//! The contract between a device mediator and the VMM.
//!
//! A mediator stands between the guest's driver and the real controller. Everything of the machine reaches it in
//! [`Ctx`], for the length of one call; nothing else is reachable, so every driver also runs on the host against a
//! simulated device. The VMM side of the contract (who owns which port, what a [`Violation`] leads to, when
//! [`Work`] runs) is the crate `exit`.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

mod access;
mod addr;
mod ctx;
pub mod disk;
pub mod net;
pub mod pci;
mod work;

pub use access::{Access, ConfigAccess, Op, RegionId, StringIo, Verdict, Violation, Width};
pub use addr::{BusAddr, Gpa};
pub use ctx::{Ctx, Device, DmaArena, DmaBuffer, GuestMemory, HookConflict, Hooks, Instant, NotRam, OutOfArena};
pub use work::{Direction, GuestSegment, TransformRun, Work, WorkError};

/// How the guest's driver learns that the device has done something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Completions {
    /// It reads a register that the mediator owns before it trusts memory; that read makes the data complete first.
    TrappedRegister,
    /// It looks at memory alone, once an interrupt has come, or by polling.
    MemoryOnly,
}

/// A device mediator: a state machine over the guest's accesses to one controller.
///
/// Every call happens under the mediator's own lock. Bulk copies and transforms are not made here but pushed to
/// [`Ctx::work`]; the VMM performs them on the same CPU without the lock and hands each back through
/// [`Mediator::on_work_done`] before that CPU of the guest runs again. Until a work is back its buffers are lent, and any other
/// call may come in between, from other CPUs: also another work that was pushed later may come back first.
pub trait Mediator: Send {
    /// Name for the log, e.g. `ata 00:01.1`.
    fn name(&self) -> &str;

    /// One decoded access of the guest to a region that this mediator owns.
    ///
    /// # Errors
    /// A [`Violation`] is an access that the mediator refuses; the dispatcher alone decides what follows.
    fn on_access(&mut self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation>;

    /// A repeated string access (REP INS, REP OUTS) to one port: as many elements as the buffer holds.
    ///
    /// Returns how many *elements* were transferred; fewer than offered means that the VMM asks again for the
    /// rest, after it has performed the work that was pushed. Zero without new work counts as a violation, so that a
    /// guest can never hang the VMM.
    ///
    /// # Errors
    /// As [`Mediator::on_access`].
    fn on_string(
        &mut self,
        cx: &mut Ctx<'_>,
        region: RegionId,
        offset: u32,
        io: StringIo<'_>,
    ) -> Result<usize, Violation>;

    /// An access to the PCI configuration space of a function that this mediator guards. On
    /// [`Verdict::Passthrough`] the VMM performs the access after this call, so hooks moved through [`Ctx::hooks`]
    /// are in force before the device sees the write.
    ///
    /// # Errors
    /// As [`Mediator::on_access`].
    fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation>;

    /// How the guest's driver learns of completions. Never changes.
    fn completions(&self) -> Completions {
        Completions::TrappedRegister
    }

    /// Of [`Completions::MemoryOnly`]: is there anything whose completion the guest must not hear of before
    /// [`Mediator::on_interrupt`]? Asked after every other call; from the call on that made it so until [`Mediator::on_interrupt`]
    /// the VMM sees interrupts before every CPU of the guest does.
    fn wants_interrupts(&self) -> bool {
        false
    }

    /// Of [`Completions::MemoryOnly`]: from now on some interrupts do (`pass`), or none does, reach the guest without
    /// [`Mediator::on_interrupt`] before. Then the guest may have looked for a completion in vain before it is published, and
    /// needs another interrupt. None does until told.
    fn on_interrupts_pass(&mut self, pass: bool) {
        let _ = pass;
    }

    /// An interrupt has come, of this controller or not; the guest will take it once this call and the work that it pushes are
    /// done. What the device has completed is to be published to the guest now.
    fn on_interrupt(&mut self, cx: &mut Ctx<'_>) {
        let _ = cx;
    }

    /// Bit n: as things stand, a read of a byte from the polled register of region n would get [`Verdict::Passthrough`]
    /// and change nothing here. The VMM asks after every call of another method, and performs such reads itself until
    /// the next one.
    fn passing_reads(&self) -> u8 {
        0
    }

    /// The machine has slept (ACPI S3), and the controller and its devices are as after a reset, their configuration space too.
    /// What was under way is lost, as the guest expects. Hooks must lie where the registers lie now before this returns.
    fn on_resume(&mut self, cx: &mut Ctx<'_>);

    /// Work pushed earlier is done, or could not be done (`result`). The `Work` comes back so that its buffers can
    /// be used again. May push further work.
    fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: Work, result: Result<(), WorkError>);

    /// What it offers as a controller of disks. Every one of those gives itself.
    fn as_disks(&mut self) -> Option<&mut dyn disk::DiskController> {
        None
    }

    /// What it offers as a network card. Every one of those gives itself.
    fn as_card(&mut self) -> Option<&mut dyn net::NetController> {
        None
    }
}
