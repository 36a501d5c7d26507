//! What a mediator can reach during one call.

use crate::pci::Place;
use crate::{BusAddr, Gpa, RegionId, Width, Work};
use alloc::vec::Vec;

/// Nanoseconds since Shoji started; monotonic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Instant(pub u64);

/// The machine, for the length of one call.
pub struct Ctx<'a> {
    /// The mediator's own controller.
    pub device: &'a mut dyn Device,
    /// The guest's RAM: copies only.
    pub guest: &'a mut dyn GuestMemory,
    /// VMM-owned memory that the device may address.
    pub arena: &'a mut dyn DmaArena,
    /// Which ports and which device memory lead here.
    pub hooks: &'a mut dyn Hooks,
    /// Copies and transforms to perform outside the lock, in order, before this CPU of the guest runs on.
    pub work: &'a mut Vec<Work>,
    pub now: Instant,
}

/// The registers of the real controller. Never faults: an absent device reads all ones, and so does what lies outside of its
/// region. Ports have no qwords; in memory an access is one of the bus, uncached, at a multiple of its width.
pub trait Device {
    /// Reads a register; the value is zero-extended.
    fn read(&mut self, region: RegionId, offset: u32, width: Width) -> u64;
    fn write(&mut self, region: RegionId, offset: u32, width: Width, value: u64);
    /// Fills `data` by repeated reads of one data port; its length is a multiple of the width.
    fn read_string(&mut self, region: RegionId, offset: u32, width: Width, data: &mut [u8]);
    /// Writes `data` by repeated writes to one data port; its length is a multiple of the width.
    fn write_string(&mut self, region: RegionId, offset: u32, width: Width, data: &[u8]);
    /// Reads the function's PCI configuration space, `offset` aligned to `width` (at most a dword).
    fn config_read(&mut self, offset: u16, width: Width) -> u32;
    fn config_write(&mut self, offset: u16, width: Width, value: u32);
}

/// An address range that is not, or not wholly, RAM of the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotRam(pub Gpa);

/// The guest's RAM. VMM memory is never part of it.
pub trait GuestMemory {
    /// Copies from guest memory.
    ///
    /// # Errors
    /// [`NotRam`] when a byte of the range is no RAM of the guest; `data` may then be partly filled.
    fn read(&mut self, from: Gpa, data: &mut [u8]) -> Result<(), NotRam>;

    /// Copies to guest memory.
    ///
    /// # Errors
    /// [`NotRam`] when a byte of the range is no RAM of the guest; a part may then have been written.
    fn write(&mut self, to: Gpa, data: &[u8]) -> Result<(), NotRam>;

    /// One aligned value of `width` becomes `new` if it is `old`, in one step that no other CPU of the guest comes between.
    /// Gives whether it was.
    ///
    /// # Errors
    /// [`NotRam`] when `at` is no multiple of the width, or no RAM of the guest that can be written; nothing was changed.
    fn compare_exchange(&mut self, at: Gpa, width: Width, old: u64, new: u64) -> Result<bool, NotRam>;

    /// Where the device finds the range on the bus, for a descriptor that points at guest memory itself (plain,
    /// unbounced transfers). Never device memory: the registers of guarded controllers lie there, and what one of them
    /// is told by another's transfer passes by its mediator.
    ///
    /// # Errors
    /// [`NotRam`] when a byte of the range is no RAM of the guest.
    fn bus_addr(&self, of: Gpa, len_bytes: u64) -> Result<BusAddr, NotRam>;
}

/// A piece of the DMA arena; physically contiguous. Owned by who allocated it, until it is freed.
#[derive(PartialEq, Eq, Debug)]
pub struct DmaBuffer {
    bus: BusAddr,
    len_bytes: usize,
}

impl DmaBuffer {
    /// For implementations of [`DmaArena`] only.
    pub fn new(bus: BusAddr, len_bytes: usize) -> Self {
        Self { bus, len_bytes }
    }

    /// Where the device finds it.
    pub fn bus_addr(&self) -> BusAddr {
        self.bus
    }

    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

/// An offset or length outside a buffer, or a buffer that is not of this arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfArena;

/// VMM-owned memory that devices may address. Below 4 GiB.
pub trait DmaArena {
    /// A zeroed buffer of `len_bytes` at a multiple of `align` (a power of two), or `None` when the arena is full.
    fn alloc(&mut self, len_bytes: usize, align: usize) -> Option<DmaBuffer>;
    fn free(&mut self, buffer: DmaBuffer);
    /// The bytes of a piece of the arena. The device must not be at work on it.
    ///
    /// # Errors
    /// [`OutOfArena`] when `at..at + len_bytes` is not wholly inside the arena.
    fn bytes(&mut self, at: BusAddr, len_bytes: usize) -> Result<&mut [u8], OutOfArena>;
}

/// A region cannot be moved there: the place belongs to something else that the VMM guards, or is of another kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HookConflict;

/// Which ports and which device memory lead to this mediator.
pub trait Hooks {
    /// When this call ends the region lies at `place`, or nowhere (`None`). A region of ports stays one of ports.
    ///
    /// # Errors
    /// [`HookConflict`]: nothing was changed. Only a write to configuration space ([`crate::Mediator::on_config`]) moves
    /// regions; in any other call this is the answer.
    fn move_region(&mut self, region: RegionId, place: Option<Place>) -> Result<(), HookConflict>;

    /// When this call ends the guest finds the window of this number ([`crate::pci::Attached::windows`]) at `place`, or nowhere
    /// (`None`); all begin at home. The device decodes it where it was all the while, and the mediator reaches it there. A place that
    /// the guest has left and that is not home is its own again.
    ///
    /// # Errors
    /// As [`Hooks::move_region`].
    fn move_window(&mut self, window: usize, place: Option<Gpa>) -> Result<(), HookConflict>;
}
