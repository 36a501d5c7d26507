//! The commands of a disk (ATA7 vol. 1, s. 6; ATA8-ACS, s. 7).

use super::channel::{Next, Phase};
use super::transfer::{Role, Transfer};
use super::{Channel, Kind, error, identify, status};
use crate::SECTOR_BYTES;

pub const DEVICE_RESET: u8 = 0x08;
pub const EXECUTE_DEVICE_DIAGNOSTIC: u8 = 0x90;
const DATA_SET_MANAGEMENT: u8 = 0x06;
const IDENTIFY_DEVICE: u8 = 0xec;
const INITIALIZE_DEVICE_PARAMETERS: u8 = 0x91;
const READ_BUFFER: u8 = 0xe4;
const READ_NATIVE_MAX: u8 = 0xf8;
const READ_NATIVE_MAX_EXT: u8 = 0x27;
const SET_FEATURES: u8 = 0xef;
const SET_MULTIPLE_MODE: u8 = 0xc6;
const SMART: u8 = 0xb0;
const WRITE_BUFFER: u8 = 0xe8;

/// How sectors move.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Pio,
    Multiple,
    Dma,
}

/// Direction, width and transport of a command that moves sectors.
fn media(command: u8) -> Option<(bool, bool, By)> {
    let (to_device, ext) = (true, true);
    Some(match command {
        0x20 | 0x21 => (!to_device, !ext, By::Pio),
        0x24 => (!to_device, ext, By::Pio),
        0x25 => (!to_device, ext, By::Dma),
        0x29 => (!to_device, ext, By::Multiple),
        0x30 | 0x31 | 0x3c => (to_device, !ext, By::Pio),
        0x34 => (to_device, ext, By::Pio),
        0x35 | 0x3d => (to_device, ext, By::Dma),
        0x39 | 0xce => (to_device, ext, By::Multiple),
        0xc4 => (!to_device, !ext, By::Multiple),
        0xc5 => (to_device, !ext, By::Multiple),
        0xc8 | 0xc9 => (!to_device, !ext, By::Dma),
        0xca | 0xcb => (to_device, !ext, By::Dma),
        _ => return None,
    })
}

impl Channel {
    /// A command was written.
    pub(super) fn start(&mut self, command: u8) {
        let unit = &mut self.units[self.active];
        unit.taskfile.status &= !(status::ERR | status::DF);
        unit.taskfile.error = 0;
        let phase = match command {
            EXECUTE_DEVICE_DIAGNOSTIC => Phase::Busy(Next::Reset { diagnostic: true }),
            _ if unit.kind.is_cdrom() => self.start_packet_device(command),
            _ => self.start_disk(command),
        };
        self.go(phase);
    }

    fn start_disk(&mut self, command: u8) -> Phase {
        if let Some((to_device, ext, by)) = media(command) {
            return self.start_media(to_device, ext, by);
        }
        let taskfile = self.units[self.active].taskfile;
        match command {
            DATA_SET_MANAGEMENT if taskfile.features[0] == 1 => {
                let left = u32::from(taskfile.count[0]) | u32::from(taskfile.count[1]) << 8;
                if left == 0 { abort() } else { Phase::Dma(Transfer::new(true, Role::Trim { left }, 1)) }
            }
            IDENTIFY_DEVICE => {
                let Kind::Disk(disk) = &self.units[self.active].kind else { return abort() };
                answer(identify::disk(disk).to_vec())
            }
            READ_BUFFER => answer(vec![0xb0; SECTOR_BYTES]),
            WRITE_BUFFER => Phase::Busy(Next::Block(Transfer::new(true, Role::Discard, 1))),
            SMART => self.smart(taskfile.features[0]),
            // READ VERIFY SECTOR(S), (EXT).
            0x40 | 0x41 => self.verify(false),
            0x42 => self.verify(true),
            _ => Phase::Busy(Next::End(self.without_data(command))),
        }
    }

    /// Commands without data: does it, and gives the error register.
    fn without_data(&mut self, command: u8) -> u8 {
        let unit = &mut self.units[self.active];
        let taskfile = &mut unit.taskfile;
        let Kind::Disk(disk) = &mut unit.kind else { return error::ABRT };
        match command {
            // RECALIBRATE and SEEK.
            0x10..=0x1f | 0x70..=0x7f => {}
            INITIALIZE_DEVICE_PARAMETERS if taskfile.count[0] > 0 => {
                disk.geometry = (u64::from(taskfile.device & 0xf) + 1, u64::from(taskfile.count[0]));
            }
            // A power of two up to 16 sectors, or 0 to disable.
            SET_MULTIPLE_MODE if taskfile.count[0] <= 16 && taskfile.count[0].count_ones() <= 1 => {
                disk.multiple = taskfile.count[0];
            }
            // STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, SLEEP.
            0xe0..=0xe3 | 0xe6 => {}
            // CHECK POWER MODE: active.
            0xe5 => taskfile.count[0] = 0xff,
            // FLUSH CACHE, FLUSH CACHE EXT.
            0xe7 | 0xea => disk.platter.flush(),
            // Write cache, transfer mode, read look-ahead, on or off; APM off.
            SET_FEATURES if matches!(taskfile.features[0], 0x02 | 0x03 | 0x55 | 0x66 | 0x82 | 0x85 | 0xaa | 0xcc) => {}
            READ_NATIVE_MAX => taskfile.report(disk.platter.sectors().min(0x0fff_ffff) - 1, false, disk.geometry),
            READ_NATIVE_MAX_EXT => taskfile.report(disk.platter.sectors() - 1, true, disk.geometry),
            // NOP among them.
            _ => return error::ABRT,
        }
        0
    }

    /// First sector and number of sectors in the registers.
    fn extent(&self, ext: bool) -> Option<(u64, u32)> {
        let unit = &self.units[self.active];
        let Kind::Disk(disk) = &unit.kind else { return None };
        Some((unit.taskfile.address(ext, disk.geometry)?, unit.taskfile.sectors(ext)))
    }

    fn start_media(&mut self, to_device: bool, ext: bool, by: By) -> Phase {
        let Some((lba, left)) = self.extent(ext) else { return Phase::Busy(Next::End(error::IDNF)) };
        let Kind::Disk(disk) = &self.units[self.active].kind else { return abort() };
        if lba + u64::from(left) > disk.platter.sectors() {
            return Phase::Busy(Next::End(error::IDNF));
        }
        let per_block = match by {
            By::Multiple if disk.multiple == 0 => return abort(),
            By::Multiple => u32::from(disk.multiple),
            By::Pio | By::Dma => 1,
        };
        let transfer = Transfer::new(to_device, Role::Media { lba, left, ext }, per_block);
        if by == By::Dma { Phase::Dma(transfer) } else { Phase::Busy(Next::Block(transfer)) }
    }

    fn verify(&mut self, ext: bool) -> Phase {
        let Some((lba, sectors)) = self.extent(ext) else { return Phase::Busy(Next::End(error::IDNF)) };
        let bad = (lba..lba + u64::from(sectors)).find_map(|lba| self.media(lba, ext).err());
        Phase::Busy(Next::End(bad.unwrap_or(0)))
    }

    /// SMART (ATA8-ACS, s. 7.52): READ DATA, READ LOG, ENABLE, DISABLE, RETURN STATUS.
    fn smart(&mut self, features: u8) -> Phase {
        let taskfile = &mut self.units[self.active].taskfile;
        if [taskfile.lba[1][0], taskfile.lba[2][0]] != [0x4f, 0xc2] {
            return abort();
        }
        match features {
            0xd0 | 0xd5 => answer(vec![0; SECTOR_BYTES]),
            0xd8..=0xda => Phase::Busy(Next::End(0)),
            _ => abort(),
        }
    }
}

/// The command ends with ABRT.
pub(super) fn abort() -> Phase {
    Phase::Busy(Next::End(error::ABRT))
}

/// The device gives one block.
fn answer(rest: Vec<u8>) -> Phase {
    let chunk = rest.len();
    Phase::Busy(Next::Block(Transfer::new(false, Role::Answer { rest, chunk }, 1)))
}
