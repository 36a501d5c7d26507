//! Commands as bytes: header, FIS and task file.

use crate::spec::{fis, header};
use acs::spec::{device, reg};
use acs::taskfile::{Form, Geometry, Request, Taskfile};

/// A register FIS from host to device, whole.
pub type Fis = [u8; fis::BYTES];

/// Addresses by cylinder, head and sector are not used on serial disks.
pub const NO_GEOMETRY: Geometry = Geometry { heads: 0, sectors: 0 };

/// A command header, copied.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub flags: u32,
    /// Address of the command table.
    pub table: u64,
}

impl Header {
    pub fn parse(bytes: &[u8; header::BYTES]) -> Self {
        let dword = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).copied().map_or(0, u32::from_le_bytes);
        // Tables are aligned to 128 bytes.
        Self { flags: dword(0), table: u64::from(dword(8) & !0x7f) | u64::from(dword(12)) << 32 }
    }

    pub fn entries(&self) -> u32 {
        self.flags >> header::PRDTL_SHIFT
    }
}

/// Fields of a FIS by register, current content and previous one (Serial ATA 3.2 s. 10.5.5).
const FIELDS: [(u32, usize, usize); 5] =
    [(reg::FEATURES, 3, 11), (reg::COUNT, 12, 13), (reg::LBA_LOW, 4, 8), (reg::LBA_MID, 5, 9), (reg::LBA_HIGH, 6, 10)];
const COMMAND: usize = 2;
const DEVICE: usize = 7;
const CONTROL: usize = 15;

pub fn command(fis: &Fis) -> u8 {
    let [_, _, command, ..] = *fis;
    command
}

/// Device control.
pub fn control(fis: &Fis) -> u8 {
    fis.get(CONTROL).copied().unwrap_or(0)
}

pub fn set_command(fis: &mut Fis, command: u8) {
    if let Some(byte) = fis.get_mut(COMMAND) {
        *byte = command;
    }
}

/// The task file that a FIS loads.
pub fn taskfile(fis: &Fis) -> Taskfile {
    let byte = |at: usize| fis.get(at).copied().unwrap_or(0);
    let mut taskfile = Taskfile::after_reset(byte(DEVICE));
    for (register, current, previous) in FIELDS {
        taskfile.write(register, byte(previous));
        taskfile.write(register, byte(current));
    }
    taskfile
}

/// Puts the task file into a FIS. Of a register FIS from the device only the address and count.
pub fn load(bytes: &mut Fis, taskfile: &Taskfile) {
    for (register, current, previous) in FIELDS {
        for (at, hob) in [(current, false), (previous, true)] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = taskfile.two_deep(register, hob);
            }
        }
    }
    if let Some(byte) = bytes.get_mut(DEVICE) {
        *byte = taskfile.device;
    }
}

/// READ and WRITE FPDMA QUEUED: the count is in the features (Serial ATA 3.2 s. 13.6.4).
pub fn queued_request(taskfile: &Taskfile) -> Request {
    let byte = |register, hob| taskfile.two_deep(register, hob);
    let count = u16::from_le_bytes([byte(reg::FEATURES, false), byte(reg::FEATURES, true)]);
    let lba = [(reg::LBA_LOW, false), (reg::LBA_MID, false), (reg::LBA_HIGH, false)].into_iter();
    let lba = lba.chain([(reg::LBA_LOW, true), (reg::LBA_MID, true), (reg::LBA_HIGH, true)]);
    let lba =
        lba.zip((0_u32..).step_by(8)).fold(0, |lba, ((r, hob), at)| lba | u64::from(byte(r, hob)).wrapping_shl(at));
    let sectors = if count == 0 { 0x1_0000 } else { u32::from(count) };
    Request { form: Form::Lba48, lba, sectors }
}

/// The tag of a queued command.
pub fn tag(taskfile: &Taskfile) -> usize {
    usize::from(taskfile.count() >> 3)
}

/// Puts address, its form and count into the FIS of a command, queued or not; the rest stays as the guest wrote it.
pub fn address(fis: &mut Fis, request: Request, queued: bool) {
    let before = taskfile(fis);
    let mut new = before;
    new.set_request(request, NO_GEOMETRY);
    load(fis, &new);
    if !queued {
        // Features are the guest's.
        return restore(fis, &before, &[reg::FEATURES]);
    }
    let [low, high, ..] = request.sectors.to_le_bytes();
    restore(fis, &before, &[reg::COUNT]);
    for (at, byte) in [(3, low), (11, high), (DEVICE, before.device | device::LBA)] {
        if let Some(to) = fis.get_mut(at) {
            *to = byte;
        }
    }
}

fn restore(fis: &mut Fis, from: &Taskfile, registers: &[u32]) {
    for (register, current, previous) in FIELDS.into_iter().filter(|(register, ..)| registers.contains(register)) {
        for (at, hob) in [(current, false), (previous, true)] {
            if let Some(byte) = fis.get_mut(at) {
                *byte = from.two_deep(register, hob);
            }
        }
    }
}
