//! Admin commands (NVMe s. 5).

use super::command::{Entry, status};
use super::device::{AERL, SimNvme};
use super::identify;
use super::queues::{DeviceCq, DeviceSq};
use crate::Bus;

/// Features with a value of their own, as after power-on: arbitration without a limit, the write cache on.
pub const FEATURES: [(u8, u32); 11] = [
    (0x01, 7),
    (0x02, 0),
    (0x04, 0x157),
    (0x05, 0),
    (0x06, 1),
    (0x08, 0),
    (0x09, 0),
    (0x0a, 0),
    (0x0b, 0),
    (0x0d, 0),
    (0x10, 0),
];
/// I/O queues of each kind.
const QUEUES: u16 = 64;
/// Interrupt vectors.
const VECTORS: u16 = 65;
const PAGE: u64 = 4096;
/// Bytes that a log page has at most.
const LOG_BYTES: u64 = 4096;

impl SimNvme {
    pub(super) fn execute_admin(&mut self, bus: &mut Bus<'_>, entry: &Entry) -> Result<u32, u16> {
        let id = entry.0[10] as u16;
        match entry.opcode() {
            0x00 if id == 0 => Err(status::INVALID_QUEUE),
            0x00 => self.sqs.remove(&id).map(|_| 0).ok_or(status::INVALID_QUEUE),
            0x01 => self.create_sq(entry, id),
            0x02 => self.log(bus, entry),
            0x04 => self.delete_cq(id),
            0x05 => self.create_cq(entry, id),
            0x06 => self.identify(bus, entry),
            // Nothing was aborted.
            0x08 if self.sqs.contains_key(&id) => Ok(1),
            0x08 => Err(status::INVALID_FIELD),
            0x09 | 0x0a => self.feature(bus, entry),
            // Namespaces, firmware, self-test, directives, virtualization, doorbell buffers, format, security, sanitize, and what a
            // vendor defines: done at once; the test looks at what was received.
            0x0d | 0x10 | 0x11 | 0x14..=0x1e | 0x7c | 0x80.. => Ok(0),
            _ => Err(status::INVALID_OPCODE),
        }
    }

    /// Address and number of entries of a new queue.
    fn new_queue(&self, entry: &Entry) -> Result<(u64, u32), u16> {
        let (base, last) = (entry.qword(6), entry.0[10] >> 16);
        if last == 0 || u64::from(last) > self.cap & 0xffff {
            return Err(status::INVALID_QUEUE_SIZE);
        }
        if base == 0 || !base.is_multiple_of(PAGE) {
            return Err(status::PRP_OFFSET);
        }
        Ok((base, last + 1))
    }

    fn create_cq(&mut self, entry: &Entry, id: u16) -> Result<u32, u16> {
        let vector = (entry.0[11] >> 16) as u16;
        if id == 0 || id > QUEUES || self.cqs.contains_key(&id) {
            return Err(status::INVALID_QUEUE);
        }
        let (base, size) = self.new_queue(entry)?;
        if vector >= VECTORS {
            return Err(status::INVALID_VECTOR);
        }
        if entry.0[11] & 1 == 0 {
            return Err(status::INVALID_FIELD);
        }
        let vector = (entry.0[11] & 2 != 0).then_some(vector);
        self.cqs.insert(id, DeviceCq { base, size, head: 0, tail: 0, phase: true, vector });
        Ok(0)
    }

    fn create_sq(&mut self, entry: &Entry, id: u16) -> Result<u32, u16> {
        let cq = (entry.0[11] >> 16) as u16;
        if cq == 0 || !self.cqs.contains_key(&cq) {
            return Err(status::CQ_INVALID);
        }
        if id == 0 || id > QUEUES || self.sqs.contains_key(&id) {
            return Err(status::INVALID_QUEUE);
        }
        let (base, size) = self.new_queue(entry)?;
        if entry.0[11] & 1 == 0 {
            return Err(status::INVALID_FIELD);
        }
        self.sqs.insert(id, DeviceSq { base, size, head: 0, tail: 0, cq });
        Ok(0)
    }

    fn delete_cq(&mut self, id: u16) -> Result<u32, u16> {
        if id == 0 || !self.cqs.contains_key(&id) {
            return Err(status::INVALID_QUEUE);
        }
        if self.sqs.values().any(|sq| sq.cq == id) {
            return Err(status::INVALID_DELETION);
        }
        self.cqs.remove(&id);
        Ok(0)
    }

    fn identify(&mut self, bus: &mut Bus<'_>, entry: &Entry) -> Result<u32, u16> {
        let nsid = entry.nsid();
        let page = match entry.0[10] & 0xff {
            0 => {
                self.check_nsid(nsid)?;
                identify::namespace(self.namespaces.get(&nsid))
            }
            1 => identify::controller(&self.serial, self.mdts, AERL as u8),
            2 if nsid >= 0xffff_fffe => return Err(status::INVALID_NAMESPACE),
            2 => {
                let mut page: Vec<u8> =
                    self.namespaces.keys().filter(|id| **id > nsid).flat_map(|id| id.to_le_bytes()).collect();
                page.resize(4096, 0);
                page
            }
            _ => return Err(status::INVALID_FIELD),
        };
        self.store_data(bus, entry, None, &page).map(|()| 0)
    }

    /// A page is full of its own number.
    fn log(&self, bus: &mut Bus<'_>, entry: &Entry) -> Result<u32, u16> {
        let id = entry.0[10] as u8;
        if !matches!(id, 1..=0x0d | 0x80 | 0x81 | 0xc0..) {
            return Err(status::INVALID_LOG);
        }
        if entry.qword(12) >= LOG_BYTES {
            return Err(status::INVALID_FIELD);
        }
        let len = 4 * (u64::from(entry.0[10] >> 16) + 1 + (u64::from(entry.0[11] & 0xffff) << 16));
        self.store_data(bus, entry, None, &vec![id; len as usize]).map(|()| 0)
    }

    fn feature(&mut self, bus: &mut Bus<'_>, entry: &Entry) -> Result<u32, u16> {
        let (id, sets, value) = (entry.0[10] as u8, entry.opcode() == 0x09, entry.0[11]);
        match id {
            0x07 if sets && (value & 0xffff == 0xffff || value >> 16 == 0xffff) => Err(status::INVALID_FIELD),
            0x07 => Ok(u32::from(QUEUES - 1) * 0x1_0001),
            0x0e if sets => {
                let mut bytes = [0; 8];
                self.fetch_data(bus, entry, None, &mut bytes)?;
                self.timestamp = u64::from_le_bytes(bytes);
                Ok(0)
            }
            0x0e => self.store_data(bus, entry, None, &self.timestamp.to_le_bytes()).map(|()| 0),
            // Value by data, or of nobody's concern here.
            0x03 | 0x0c | 0x0f | 0x11..=0x1f | 0x78..=0x7e | 0x80.. => Ok(0),
            _ if sets => {
                self.features.get_mut(&id).map(|feature| *feature = value).map(|()| 0).ok_or(status::INVALID_FIELD)
            }
            _ => self.features.get(&id).copied().ok_or(status::INVALID_FIELD),
        }
    }
}
