//! A CD drive: just enough of the PACKET protocol (ATA7 vol. 2, s. 11.8; MMC-5) to move data by PIO and DMA.

use super::channel::{Next, Phase};
use super::command::{DEVICE_RESET, abort};
use super::transfer::{Role, Transfer};
use super::{Cdrom, Channel, Kind, Taskfile, error, identify};

const IDENTIFY_DEVICE: u8 = 0xec;
const IDENTIFY_PACKET_DEVICE: u8 = 0xa1;
const PACKET: u8 = 0xa0;
const SET_FEATURES: u8 = 0xef;

/// Bytes of a CD block.
pub const BLOCK_BYTES: usize = 2048;

/// Interrupt reason (count register): command or data, to the host or to the device.
const COMMAND_PHASE: u8 = 1;
const TO_HOST: u8 = 2;

/// Sense keys and additional codes.
const ILLEGAL_COMMAND: (u8, u8) = (5, 0x20);
const OUT_OF_RANGE: (u8, u8) = (5, 0x21);

/// Sets the registers that tell the host what it has to move.
pub(super) fn announce(taskfile: &mut Taskfile, is_packet: bool, len_bytes: usize) {
    taskfile.count[0] = if is_packet { COMMAND_PHASE } else { TO_HOST };
    if !is_packet {
        [taskfile.lba[1][0], taskfile.lba[2][0]] = (len_bytes as u16).to_le_bytes();
    }
}

/// What block `n` of the disc holds.
pub fn block(number: u32) -> [u8; BLOCK_BYTES] {
    let mut data = [0; BLOCK_BYTES];
    data.chunks_exact_mut(2).for_each(|pair| pair.copy_from_slice(&(number as u16).to_le_bytes()));
    data
}

impl Channel {
    pub(super) fn start_packet_device(&mut self, command: u8) -> Phase {
        match command {
            PACKET => Phase::Busy(Next::Block(Transfer::new(true, Role::Packet, 1))),
            IDENTIFY_PACKET_DEVICE => {
                let rest = identify::cdrom().to_vec();
                Phase::Busy(Next::Block(Transfer::new(false, Role::Answer { rest, chunk: 512 }, 1)))
            }
            IDENTIFY_DEVICE => {
                self.units[self.active].taskfile.sign(0x14, 0xeb);
                abort()
            }
            DEVICE_RESET => Phase::Busy(Next::DeviceReset),
            SET_FEATURES => Phase::Busy(Next::End(0)),
            _ => abort(),
        }
    }

    /// The packet has arrived.
    pub(super) fn packet(&mut self, packet: Vec<u8>) {
        let unit = &mut self.units[self.active];
        let Kind::Cdrom(drive) = &mut unit.kind else { return };
        let outcome = drive.execute(&packet);
        let taskfile = unit.taskfile;
        unit.taskfile.count[0] = COMMAND_PHASE | TO_HOST;
        let phase = match outcome {
            Err(sense) => {
                drive.sense = sense;
                Phase::Busy(Next::End(sense.0 << 4 | error::ABRT))
            }
            Ok(rest) if rest.is_empty() => Phase::Busy(Next::End(0)),
            Ok(rest) if taskfile.features[0] & 1 != 0 => {
                Phase::Dma(Transfer::new(false, Role::Answer { rest, chunk: BLOCK_BYTES }, 1))
            }
            Ok(rest) => {
                let limit = usize::from(u16::from_le_bytes([taskfile.lba[1][0], taskfile.lba[2][0]]) & !1);
                let chunk = if limit == 0 { 0xfffe } else { limit };
                Phase::Busy(Next::Block(Transfer::new(false, Role::Answer { rest, chunk }, 1)))
            }
        };
        self.go(phase);
    }
}

impl Cdrom {
    /// Gives the answer, or sense key and code.
    fn execute(&mut self, packet: &[u8]) -> Result<Vec<u8>, (u8, u8)> {
        let big_endian = |at: usize, len: usize| packet[at..at + len].iter().fold(0u32, |n, b| n << 8 | u32::from(*b));
        match packet[0] {
            // TEST UNIT READY.
            0x00 => Ok(Vec::new()),
            // REQUEST SENSE.
            0x03 => {
                let mut sense = vec![0; 18];
                (sense[0], sense[2], sense[7], sense[12]) = (0x70, self.sense.0, 10, self.sense.1);
                self.sense = (0, 0);
                Ok(cut(sense, usize::from(packet[4])))
            }
            // INQUIRY.
            0x12 => {
                let mut data = vec![5, 0x80, 0, 0x21, 31, 0, 0, 0];
                data.extend_from_slice(b"SIM     SIMULATED CD    1.0 ");
                Ok(cut(data, big_endian(3, 2) as usize))
            }
            // READ CAPACITY.
            0x25 => Ok([(self.blocks - 1).to_be_bytes(), (BLOCK_BYTES as u32).to_be_bytes()].concat()),
            // READ (10).
            0x28 => {
                let (first, count) = (big_endian(2, 4), big_endian(7, 2));
                let end = first.checked_add(count).filter(|end| *end <= self.blocks).ok_or(OUT_OF_RANGE)?;
                Ok((first..end).flat_map(block).collect())
            }
            _ => Err(ILLEGAL_COMMAND),
        }
    }
}

fn cut(mut data: Vec<u8>, len_bytes: usize) -> Vec<u8> {
    data.truncate(len_bytes);
    data
}
