//! One port: its state, and how it starts and stops.

use crate::fis::{Fis, control};
use crate::memory::{Memory, SLOTS};
use crate::own::OwnPort;
use crate::regs::PortRegs;
use crate::spec::{cmd, det, fis, is, port, serr};
use crate::unit::{Disks, Unit};
use acs::denied::Denied;
use alloc::boxed::Box;
use alloc::sync::Arc;
use block::{Own, Part, Queue};
use mediator::disk::RangeMap;
use mediator::{BusAddr, Ctx, Device};

/// What the ports of a controller share.
pub struct Shared {
    pub queue: Queue,
    pub own: Own,
    /// The ports with commands that were issued and not copied yet: a bit each, as in IS.
    pub held: u32,
    /// Those that may have a cause which the device does not show any more ([`Port::extra`]).
    pub extra: u32,
    pub disks: Disks,
    /// The number of the port whose held command is started next.
    pub turn: u32,
    /// The controller drives 64 address lines.
    pub wide: bool,
    /// The map of disks that have none.
    pub plain: Arc<dyn RangeMap>,
}

/// The ports that are implemented, by their numbers.
#[derive(Default)]
pub struct Ports([Option<Box<Port>>; 32]);

impl Ports {
    pub fn add(&mut self, it: Port) {
        if let Some(place) = self.0.get_mut(it.number as usize) {
            *place = Some(Box::new(it));
        }
    }

    #[inline]
    pub fn get(&self, number: u32) -> Option<&Port> {
        self.0.get(number as usize)?.as_deref()
    }

    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut Port> {
        self.0.get_mut(number as usize)?.as_deref_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.0.iter().flatten().map(|it| &**it)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Port> {
        self.0.iter_mut().flatten().map(|it| &mut **it)
    }
}

/// What a command is, and so what becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// The device works on guest memory itself, or moves no data.
    #[default]
    Direct,
    /// Sectors through the arena.
    Bounced { write: bool },
    /// An answer or a list that the mediator looks at.
    Payload(Payload),
    /// Aborted by the device: a NOP is sent in its place.
    Refused,
}

/// Data that is no sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// The answer to IDENTIFY DEVICE, which is edited.
    Identify,
    /// The log of a failed queued command, whose address is translated.
    Log,
    /// The same log of a command that the mediator has refused: the device knows nothing of it, and is sent IDENTIFY DEVICE
    /// so that the guest gets its interrupt.
    OwnLog,
    /// The list of a TRIM.
    List,
}

/// A command of the guest.
#[derive(Clone, Copy, Default)]
pub struct Slot {
    pub kind: Kind,
    /// As the guest wrote it, copied.
    pub fis: Fis,
    /// As the device is sent it.
    pub sent: Fis,
    pub packet: [u8; 16],
    /// Of the header that the device is sent.
    pub flags: u32,
    /// Of our descriptor table.
    pub entries: u32,
    /// Natively queued.
    pub queued: bool,
    /// The part that the device was sent last. Kept for the log of a failed command.
    pub part: Option<Part>,
    /// Where its data lies in the arena.
    pub buffer: BusAddr,
    /// The request is cut: this is what the guest is to see once all that is left of it is moved. Of a refused command: what it is
    /// to see in place of the NOP's abort.
    pub ends: Option<Denied>,
}

impl Slot {
    /// Is the device left in a software reset (AHCI s. 10.4.1)?
    pub fn begins_reset(&self) -> bool {
        !self.is_command() && control(&self.sent) & fis::SRST != 0
    }

    /// Is the device sent a command, and no device control?
    pub fn is_command(&self) -> bool {
        let [_, flags, ..] = self.sent;
        self.kind == Kind::Refused || flags & fis::COMMAND != 0
    }
}

/// A queued command that was refused, for the log.
#[derive(Clone, Copy)]
pub struct QueuedFailure {
    pub tag: u8,
    pub fis: Fis,
    pub denied: Option<Denied>,
}

/// The error of a command that is shown in place of the abort of a NOP.
#[derive(Clone, Copy)]
pub struct Shown {
    pub denied: Denied,
    /// The guest's command was queued.
    pub queued: bool,
}

/// One port. A bit of each mask is a slot.
pub struct Port {
    pub number: u32,
    pub regs: PortRegs,
    pub memory: Option<Memory>,
    /// The guest's addresses of command list and received FISes.
    pub list: u64,
    pub received: u64,
    /// Started by the guest, and so by us.
    pub running: bool,
    /// Stopped by the guest; the device may not yet have let go of its commands.
    pub stopping: bool,
    /// Stopped by a reset of the controller: the device has let go of whatever it had.
    pub reset: bool,
    /// The device has failed a command: nothing is sent until the port is started anew.
    pub failed: bool,
    /// PxCI and PxSACT as the guest sees them.
    pub issued: u32,
    pub active: u32,
    /// Issued, but not copied yet.
    pub held: u32,
    pub slots: [Slot; SLOTS],
    /// Wait for the device to be free for their kind.
    pub ready: u32,
    pub at_device: u32,
    /// Queued commands that end before one that is refused is told.
    pub before: u32,
    /// What the device has is queued.
    pub queuing: bool,
    /// The device is done, but not yet the guest's memory.
    pub delivering: u32,
    /// A command is done since the guest cleared PxIS last.
    pub news: bool,
    /// Causes of PxIS that were cleared with those of a part, and are the guest's.
    pub extra: u32,
    /// Causes of an error that the guest has not cleared before it started the port anew.
    pub stale: u32,
    /// The slot of the command that is not queued and was sent last.
    pub last: Option<usize>,
    pub unit: Unit,
    pub failure: Option<QueuedFailure>,
    /// What the guest sees of the device's last answer, until the device is sent another command or is reset.
    pub shown: Option<Shown>,
    /// A refused command was logged.
    pub complained: bool,
    /// Commands of the VMM's own.
    pub own: OwnPort,
}

impl Port {
    pub fn new(number: u32) -> Self {
        Self {
            number,
            regs: PortRegs::new(number),
            memory: None,
            list: 0,
            received: 0,
            running: false,
            stopping: false,
            reset: false,
            failed: false,
            issued: 0,
            active: 0,
            held: 0,
            slots: [Slot::default(); SLOTS],
            ready: 0,
            at_device: 0,
            before: 0,
            queuing: false,
            delivering: 0,
            news: false,
            extra: 0,
            stale: 0,
            last: None,
            unit: Unit::Unknown,
            failure: None,
            shown: None,
            complained: false,
            own: OwnPort::default(),
        }
    }

    /// The guest is to see these causes, which the device does not show any more.
    pub fn add_extra(&mut self, shared: &mut Shared, causes: u32) {
        self.extra |= causes;
        shared.extra |= self.regs.bit;
    }

    /// The queue's number of a slot's request.
    pub fn tag(&self, slot: usize) -> u32 {
        self.number.wrapping_mul(SLOTS as u32) | (slot as u32 & 31)
    }

    pub fn is_refused(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|it| it.kind == Kind::Refused)
    }

    pub fn slot_mut(&mut self, slot: usize) -> Option<&mut Slot> {
        self.slots.get_mut(slot)
    }

    /// Is the port pointed at our memory? Not after power was lost, or when firmware has used it since.
    fn is_ours(&self, cx: &mut Ctx<'_>) -> bool {
        let Some(memory) = &self.memory else { return false };
        let addresses = [(port::CLB, port::CLBU, memory.list()), (port::FB, port::FBU, memory.received())];
        addresses.into_iter().all(|(low, high, at)| {
            let (low, high) = (self.regs.read(cx.device, low), self.regs.read(cx.device, high));
            u64::from(low) | u64::from(high) << 32 == at.0
        })
    }

    /// Points the port at our memory. It must not run.
    pub fn program(&mut self, cx: &mut Ctx<'_>) -> bool {
        if self.memory.is_none() {
            self.memory = Memory::new(cx.arena);
        }
        let Some(memory) = &self.memory else { return false };
        for (low, high, at) in [(port::CLB, port::CLBU, memory.list()), (port::FB, port::FBU, memory.received())] {
            let [a, b, c, d, e, f, g, h] = at.0.to_le_bytes();
            self.regs.write(cx.device, low, u32::from_le_bytes([a, b, c, d]));
            self.regs.write(cx.device, high, u32::from_le_bytes([e, f, g, h]));
        }
        true
    }

    /// The guest writes PxCMD.
    pub fn write_command(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, value: u32) {
        self.finish_stop(cx, shared);
        self.sync_own(cx, shared);
        if self.restarts() && value & cmd::ST != 0 {
            return self.regs.write(cx.device, port::CMD, value & !(cmd::PMA | cmd::ST));
        }
        let old = self.regs.read(cx.device, port::CMD);
        let mut new = value & !cmd::PMA;
        let starts = new & !old & (cmd::ST | cmd::FRE);
        // A port that still runs down may not be pointed elsewhere; nor may one without memory run.
        let free = !self.stopping && old & (cmd::CR | cmd::FR | cmd::ST | cmd::FRE) == 0;
        if new & (cmd::ST | cmd::FRE) != 0 && !(self.is_ours(cx) || free && self.program(cx)) {
            new &= !(cmd::FRE | cmd::ST);
        }
        if starts & cmd::ST != 0 && (self.stopping || old & cmd::CR != 0) {
            new &= !cmd::ST;
        }
        self.regs.write(cx.device, port::CMD, new);
        match (self.running, new & cmd::ST != 0) {
            (false, true) => {
                self.running = true;
                self.stale = self.regs.read(cx.device, port::IS) & is::FATAL;
            }
            (true, false) => self.stop(cx, shared),
            _ => {}
        }
    }

    /// The device's list of commands is empty from the guest's point of view.
    pub fn stop(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        self.running = false;
        self.stopping = true;
        (self.issued, self.active, self.held, self.ready) = (0, 0, 0, 0);
        shared.held &= !self.regs.bit;
        self.finish_stop(cx, shared);
    }

    /// Once the port has stopped, its buffers are free. Those of commands that the device had are not: some controllers (QEMU's)
    /// go on working on them until the port is reset.
    pub fn finish_stop(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        if !self.stopping || self.regs.is_running(cx.device) {
            return;
        }
        let (port, had) = (self.number, self.at_device);
        let is_own = |tag: u32| tag >> 5 == port;
        shared.queue.abandon(cx, |tag| is_own(tag) && had & bit((tag & 31) as usize) != 0);
        shared.queue.cancel(cx, is_own);
        self.lose_own(cx, shared);
        if self.reset {
            self.release(cx, shared);
        }
        (self.ready, self.at_device, self.delivering, self.extra, self.before) = (0, 0, 0, 0, 0);
        (self.stopping, self.failed, self.queuing, self.news, self.reset) = (false, false, false, false, false);
    }

    /// The device has forgotten what it had when the port was stopped.
    pub fn release(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        let (port, ours) = (self.number, self.release_own());
        let is_own = |tag: u32| match Own::disk_of(tag) {
            Some(disk) => ours & bit(disk) != 0,
            None => tag >> 5 == port,
        };
        shared.queue.release(cx, is_own);
    }

    /// The guest writes PxSCTL. The link is reset while DET is 1 (AHCI s. 10.4.2).
    pub fn write_control(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared, value: u32) {
        self.finish_stop(cx, shared);
        let old = self.regs.read(cx.device, port::SCTL);
        if value & det::MASK != 0 {
            // DET is not to be written while the port runs (AHCI s. 3.3.11): what leaves the list from here on is not done.
            self.failed |= self.running;
            self.own.task_file = None;
            self.own.in_reset = false;
            self.shown = None;
            self.unit = Unit::Unknown;
        }
        self.regs.write(cx.device, port::SCTL, value);
        if old & det::MASK == det::RESET && value & det::MASK == 0 {
            self.release(cx, shared);
        }
    }

    /// The guest writes PxSERR.
    pub fn write_errors(&mut self, cx: &mut Ctx<'_>, value: u32) {
        // The device may be another one from here on.
        if self.regs.read(cx.device, port::SERR) & value & serr::CHANGED != 0 {
            self.own.task_file = None;
            self.shown = None;
            self.unit = Unit::Unknown;
        }
        self.regs.write(cx.device, port::SERR, value);
    }

    /// The controller was reset, and with it the port.
    pub fn on_reset(&mut self, cx: &mut Ctx<'_>, shared: &mut Shared) {
        self.unit = Unit::Unknown;
        self.failure = None;
        self.shown = None;
        self.reset = true;
        self.reset_own();
        self.stop(cx, shared);
    }

    /// Has the guest cleared the causes of all that is done, and is nothing more under way? Until then it may be polling, and is to
    /// find what has been received.
    pub fn is_quiet(&self) -> bool {
        !self.news
            && !self.failed
            && self.at_device | self.delivering | self.ready == 0
            && !self.has_own()
            && self.own.waiting.is_none()
    }

    /// Is a command under way that a device without bus or registers could not end?
    pub fn in_transfer(&self) -> bool {
        self.issued | self.at_device != 0
    }

    /// Has the packet device of an unknown unit told its signature?
    pub fn is_packet(&self, device: &mut dyn Device) -> bool {
        self.unit == Unit::Unknown && self.regs.read(device, port::SIG) == crate::spec::SIGNATURE_PACKET
    }
}

/// The slots of a mask, in order.
pub fn slots_of(mut mask: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = mask.trailing_zeros();
        mask &= mask.checked_sub(1)?;
        Some(lowest as usize)
    })
}

pub fn bit(slot: usize) -> u32 {
    1_u32.wrapping_shl(slot as u32)
}

/// A NOP, which every drive aborts (ATA/ATAPI-7 s. 6.23).
pub const NOP: Fis = {
    let mut nop = [0; fis::BYTES];
    nop[0] = fis::HOST_TO_DEVICE;
    nop[1] = fis::COMMAND;
    nop
};
