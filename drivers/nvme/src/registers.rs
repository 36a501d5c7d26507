//! The controller's registers: the real ones, and what the guest sees of them (NVMe s. 3.1).

use crate::cmd::Command;
use crate::guard::REGISTERS;
use crate::queues::MAX_IO_QUEUES;
use crate::ring::{CQ_ENTRIES, Ring, SQ_ENTRIES};
use crate::spec::{PAGE_BYTES, cap, cc, csts, queue, reg};
use mediator::{BusAddr, Device, Gpa, Width};

/// Who has the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Power {
    /// We, for what is read before the guest starts; the guest sees a controller that is disabled.
    Ours,
    /// Nobody: it is disabled, and reaches no memory.
    Off,
    /// The guest, or it is being disabled. It may reach the queues.
    On,
}

/// Registers, as the guest sees them.
pub struct Registers {
    pub power: Power,
    /// With what is not offered hidden.
    cap: u64,
    /// Bytes between doorbells.
    stride: u32,
    pub cc: u32,
    pub aqa: u32,
    pub asq: u64,
    pub acq: u64,
}

impl Registers {
    /// `None`: no controller that could be served, or none at all.
    pub fn read(device: &mut dyn Device) -> Option<Self> {
        let low = read(device, reg::CAP);
        let all = u64::from(low) | u64::from(read(device, reg::CAP_HIGH)) << 32;
        let least = u64::from(SQ_ENTRIES.saturating_sub(1));
        let served = all != u64::MAX && all & cap::CSS_NVM != 0 && all & cap::MPSMIN == 0 && all & cap::MQES >= least;
        if !served {
            return None;
        }
        let stride = 4_u32.wrapping_shl(u32::try_from((all & cap::DSTRD) >> cap::DSTRD_SHIFT).unwrap_or(0));
        let cap = all & (cap::MQES | cap::TO | cap::DSTRD) | cap::CQR | cap::CSS_NVM;
        Some(Self { power: Power::Ours, cap, stride, cc: 0, aqa: 0, asq: 0, acq: 0 })
    }

    /// Do both serve the same queues, behind the same doorbells?
    pub fn is_like(&self, other: &Self) -> bool {
        self.cap == other.cap
    }

    /// The longest time until the controller is ready, or not ready any more, in milliseconds.
    pub fn timeout_ms(&self) -> u64 {
        ((self.cap & cap::TO) >> cap::TO_SHIFT).saturating_mul(500).max(500)
    }

    /// Most entries of a queue of the guest's.
    pub fn max_entries(&self) -> u32 {
        u32::try_from(self.cap & cap::MQES).unwrap_or(0).saturating_add(1)
    }

    /// The last entry of a shadow, which is how a queue command tells its size. [`Registers::read`] wants room for a submission queue; where a
    /// completion queue would be too long all of the device's is used.
    pub fn last_entry(&self, wanted: u16) -> u16 {
        let most = u16::try_from(self.cap & cap::MQES).unwrap_or(u16::MAX);
        wanted.saturating_sub(1).min(most)
    }

    /// The first byte behind the doorbells that lead to a queue.
    pub fn doorbells_end(&self) -> u32 {
        let count = u32::from(MAX_IO_QUEUES).saturating_add(1).saturating_mul(2);
        count.saturating_mul(self.stride).saturating_add(reg::DOORBELLS)
    }

    /// Queue, and whether it is a completion queue, of the doorbell at an offset.
    pub fn doorbell(&self, offset: u32) -> Option<(u16, bool)> {
        let from_first = offset.checked_sub(reg::DOORBELLS)?;
        if from_first.checked_rem(self.stride)? != 0 {
            return None;
        }
        let index = from_first.checked_div(self.stride)?;
        Some((u16::try_from(index >> 1).ok()?, index & 1 != 0))
    }

    pub fn write_doorbell(&self, device: &mut dyn Device, queue: u16, completion: bool, value: u16) {
        let index = u32::from(queue) << 1 | u32::from(completion);
        let offset = index.saturating_mul(self.stride).saturating_add(reg::DOORBELLS);
        device.write(REGISTERS, offset, Width::Dword, value.into());
    }

    /// The guest's admin queues, as it has placed them.
    pub fn admin_rings(&self) -> (Ring, Ring) {
        let entries = |field: u32| (field & 0xfff).saturating_add(1);
        let at = |base: u64| Gpa(base & !PAGE_BYTES.saturating_sub(1));
        let (sq, cq) = (entries(self.aqa), entries(self.aqa >> 16));
        (Ring { base: at(self.asq), entries: sq }, Ring { base: at(self.acq), entries: cq })
    }

    /// What the guest reads at a multiple of 8; CSTS is not in it.
    pub fn qword(&self, device: &mut dyn Device, offset: u32) -> u64 {
        let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        match offset {
            reg::CAP => self.cap,
            reg::VS => join(read(device, reg::VS), read(device, reg::INTMS)),
            reg::INTMC => join(read(device, reg::INTMC), self.cc),
            // Bit 63..32: AQA. The lower half resets the subsystem, which is not offered.
            0x20 => join(0, self.aqa),
            reg::ASQ => self.asq,
            reg::ACQ => self.acq,
            _ => 0,
        }
    }

    /// Gives the controller its admin queues, and enables it. It is disabled.
    pub fn enable(&self, device: &mut dyn Device, sq: BusAddr, cq: BusAddr) {
        let last = |entries: u16| u32::from(entries.saturating_sub(1));
        // Admin queues may have 4096 entries whatever CAP.MQES says.
        write(device, reg::AQA, last(SQ_ENTRIES) | last(CQ_ENTRIES) << 16);
        write_qword(device, reg::ASQ, sq.0);
        write_qword(device, reg::ACQ, cq.0);
        write(device, reg::CC, cc::EN | cc::ENTRY_SIZES);
    }
}

/// A command that creates a queue, with a shadow of so many entries (from 0) in the place of the guest's.
pub fn create_queue(command: Command, entries: u16) -> Command {
    let choices = queue::PC | queue::IEN | 0xffff_0000 | 0x3 << 1;
    let own = Command::new(command.opcode(), 0);
    let own = own.with_dword(10, u32::from(command.low10()) | u32::from(entries) << 16);
    own.with_dword(11, command.dword(11) & choices)
}

/// Begins to disable the controller.
pub fn disable(device: &mut dyn Device) {
    let now = read(device, reg::CC);
    write(device, reg::CC, now & !cc::EN);
}

/// Is the controller disabled, so that it reaches no memory? A controller that does not answer is not known to be.
pub fn is_disabled(device: &mut dyn Device) -> bool {
    read(device, reg::CSTS) & csts::RDY == 0 && read(device, reg::CC) & cc::EN == 0
}

pub fn read(device: &mut dyn Device, offset: u32) -> u32 {
    u32::try_from(device.read(REGISTERS, offset, Width::Dword)).unwrap_or(u32::MAX)
}

pub fn write(device: &mut dyn Device, offset: u32, value: u32) {
    device.write(REGISTERS, offset, Width::Dword, value.into());
}

/// In two halves, as every controller takes it.
fn write_qword(device: &mut dyn Device, offset: u32, value: u64) {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    write(device, offset, u32::from_le_bytes([a, b, c, d]));
    write(device, offset.saturating_add(4), u32::from_le_bytes([e, f, g, h]));
}
