//! Commands as bytes: header, FIS and task file.

use crate::spec::{fis, header};
use acs::spec::device;
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

const COMMAND: usize = 2;
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

/// The task file that a FIS loads (Serial ATA 3.2 s. 10.5.5).
pub fn taskfile(fis: &Fis) -> Taskfile {
    let [_, _, _, features, low, mid, high, device, low2, mid2, high2, features2, count, count2, ..] = *fis;
    Taskfile::new([features, count, low, mid, high], [features2, count2, low2, mid2, high2], device)
}

/// Puts the task file into a FIS. Of a register FIS from the device only the address and count.
pub fn load(bytes: &mut Fis, taskfile: &Taskfile) {
    let (current, previous) = taskfile.two_deep_registers();
    let [_, _, _, features, low, mid, high, device, low2, mid2, high2, features2, count, count2, ..] = bytes;
    [*features, *count, *low, *mid, *high] = current;
    [*features2, *count2, *low2, *mid2, *high2] = previous;
    *device = taskfile.device;
}

/// READ and WRITE FPDMA QUEUED: the count is in the features (Serial ATA 3.2 s. 13.6.4).
pub fn queued_request(fis: &Fis) -> Request {
    let [_, _, _, features, low, mid, high, _, low2, mid2, high2, features2, ..] = *fis;
    let count = u16::from_le_bytes([features, features2]);
    let sectors = if count == 0 { 0x1_0000 } else { u32::from(count) };
    Request { form: Form::Lba48, lba: u64::from_le_bytes([low, mid, high, low2, mid2, high2, 0, 0]), sectors }
}

/// The tag of a queued command.
pub fn tag(fis: &Fis) -> usize {
    let [_, _, _, _, _, _, _, _, _, _, _, _, count, ..] = *fis;
    usize::from(count >> 3)
}

/// Puts address, its form and count into the FIS of a command, queued or not; the rest stays as the guest wrote it.
pub fn address(fis: &mut Fis, request: Request, queued: bool) {
    if queued {
        let [_, _, _, features, low, mid, high, device, low2, mid2, high2, features2, ..] = fis;
        [*low, *mid, *high, *low2, *mid2, *high2, _, _] = request.lba.to_le_bytes();
        [*features, *features2, _, _] = request.sectors.to_le_bytes();
        *device |= device::LBA;
        return;
    }
    let mut new = taskfile(fis);
    new.set_request(request, NO_GEOMETRY);
    load(fis, &new);
}
