//! Frames for the guest's driver: its receive ring (SDM s. 3.2, DS s. 7.1).
//!
//! A frame goes into as many buffers as it needs, or not at all. The data are written first, then the fields of the descriptor, its status
//! last, since the guest may look meanwhile. The 82574's packet split is served without splitting, which its manual allows for headers that
//! it does not know: the frame fills the four buffers in turn.

use crate::desc::{DESCRIPTOR_BYTES, Received, SPLIT_BYTES, address, rx};
use crate::model::{Filtered, Model, Ring};
use crate::spec::{cause, ctrl, rctl, reg, rxcsum};
use mediator::net::MAX_FRAME_BYTES;
use mediator::{Gpa, GuestMemory};
use net::{FCS_BYTES, MIN_FRAME_BYTES, Sum};

/// The longest frame without and with a VLAN tag where long ones are not enabled, with the check sequence (SDM s. 13.4.22, LPE).
const SHORT_FRAME_BYTES: usize = 1522;
/// Buffers of a descriptor of packet split.
const SPLIT_BUFFERS: usize = 4;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RxRing {
    pub ring: Ring,
}

/// What became of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    Yes,
    /// The guest has not asked for such frames, or for any.
    NotWanted,
    /// There was no room.
    Missed,
}

impl Model {
    fn descriptor_bytes(&self) -> u32 {
        (if self.is_split() { SPLIT_BYTES } else { DESCRIPTOR_BYTES }) as u32
    }

    /// Lengths of the buffers of one descriptor.
    fn buffers(&self) -> [usize; SPLIT_BUFFERS] {
        if self.is_split() {
            let control = self.kept(reg::PSRCTL);
            // The first in 128 bytes, the others in KiB.
            let field = |shift: u32, mask: u32, unit: usize| {
                ((control.wrapping_shr(shift) & mask) as usize).saturating_mul(unit)
            };
            return [field(0, 0x7f, 128), field(8, 0x3f, 1024), field(16, 0x3f, 1024), field(24, 0x3f, 1024)];
        }
        let flexible = self.rctl.wrapping_shr(rctl::FLXBUF_SHIFT) & 0xf;
        if self.kind.is_82574() && flexible != 0 {
            return [(flexible as usize).saturating_mul(1024), 0, 0, 0];
        }
        let size = self.rctl.wrapping_shr(rctl::BSIZE_SHIFT) & 3;
        let len = match (self.rctl & rctl::BSEX != 0, size) {
            (false, size) => 2048_usize.wrapping_shr(size),
            // Reserved, and as QEMU has it; the others are 16, 8 and 4 KiB.
            (true, 0) => 2048,
            (true, size) => 32_768_usize.wrapping_shr(size),
        };
        [len, 0, 0, 0]
    }

    fn descriptor_room(&self) -> usize {
        self.buffers().iter().fold(0, |sum, len| sum.saturating_add(*len))
    }

    fn longest(&self) -> usize {
        if self.rctl & rctl::LPE != 0 { MAX_FRAME_BYTES.saturating_add(FCS_BYTES) } else { SHORT_FRAME_BYTES }
    }

    /// Is the guest's receiver on?
    pub fn receives(&self) -> bool {
        self.rctl & rctl::EN != 0 && self.rctl & rctl::LOOPBACK == 0
    }

    /// Is there room for any frame that the guest can get? With a receiver that is off there always is: what comes is lost.
    pub fn has_room(&self) -> bool {
        let each = self.descriptor_bytes();
        let (count, filled) = (self.rx.ring.count(each), self.rx.ring.filled(each));
        let Some(needed) = self.longest().div_ceil(self.descriptor_room().max(1)).try_into().ok() else { return false };
        // A ring that is too short for the longest frame shall get short ones.
        !self.receives() || filled > 0 && filled >= u32::min(needed, count.saturating_sub(1))
    }

    /// Hands a frame to the guest; `frame` may be changed, and has room behind the first `len` bytes for padding and check sequence.
    pub fn deliver(&mut self, guest: &mut dyn GuestMemory, frame: &mut [u8], len: usize) -> Delivered {
        let filter = self.lets_in(frame.get(..len).unwrap_or_default());
        let octets = len.max(MIN_FRAME_BYTES).saturating_add(FCS_BYTES);
        if !self.receives() || filter == Filtered::Out || octets > self.longest() {
            return Delivered::NotWanted;
        }
        let (mut last, stripped) = self.describe(frame, len);
        let fcs = if self.rctl & rctl::SECRC == 0 { FCS_BYTES } else { 0 };
        // Padding, and a check sequence that is not computed: no driver looks at more than its length.
        let end = octets.saturating_sub(FCS_BYTES).saturating_add(fcs);
        let (Some(()), Some(data)) = (frame.get_mut(len..end).map(|rest| rest.fill(0)), frame.get_mut(..end)) else {
            return Delivered::NotWanted;
        };
        let data = if stripped { net::strip(data) } else { data };
        if !self.fits(data.len()) {
            self.statistics.missed();
            self.add_cause(cause::RXO);
            return Delivered::Missed;
        }
        self.statistics.received(data, octets);
        last.status |= if filter == Filtered::ByHash { rx::PIF } else { 0 };
        self.fill(guest, data, last);
        self.tell();
        Delivered::Yes
    }

    fn fits(&self, len: usize) -> bool {
        let filled = self.rx.ring.filled(self.descriptor_bytes()) as usize;
        len <= filled.saturating_mul(self.descriptor_room())
    }

    /// What its last descriptor tells of a frame, and whether its tag is taken off.
    fn describe(&self, frame: &[u8], len: usize) -> (Received, bool) {
        let frame = frame.get(..len).unwrap_or_default();
        let mut said = Received { status: rx::EOP, ..Received::default() };
        let tag = self.tag_of(frame).filter(|_| self.ctrl & ctrl::VME != 0);
        if let Some(tag) = tag {
            (said.status, said.tag) = (said.status | rx::VP, tag);
        }
        let (network, transport) = self.checks();
        let found = if network || transport { net::verify(frame) } else { net::Verified::default() };
        if let Some(good) = found.network.filter(|_| network) {
            said.status |= rx::IPCS;
            said.errors |= if good { 0 } else { rx::IPE };
        }
        if let Some(good) = found.transport.filter(|_| transport) {
            said.status |= rx::TCPCS | if found.udp && self.kind.is_82574() { rx::UDPCS } else { 0 };
            said.errors |= if good { 0 } else { rx::TCPE };
        }
        said.status |= if said.status & (rx::IPCS | rx::TCPCS) == 0 { rx::IXSM } else { 0 };
        let control = self.kept(reg::RXCSUM);
        if control & rxcsum::PCSD == 0 {
            let start = (control & rxcsum::PCSS) as usize;
            said.sum = Sum::default().bytes(frame.get(start..).unwrap_or_default()).folded();
            said.sum = !said.sum;
        }
        (said, tag.is_some())
    }

    /// Writes the frame, for which there is room.
    fn fill(&mut self, guest: &mut dyn GuestMemory, mut data: &[u8], last: Received) {
        let (each, mut first) = (self.descriptor_bytes(), true);
        loop {
            let at = self.rx.ring.at_head(each);
            let mut said = Received { status: 0, ..last };
            data = if self.is_split() {
                self.fill_split(guest, at, data, first, &mut said)
            } else {
                let [room, ..] = self.buffers();
                let (piece, rest) = data.split_at_checked(room).unwrap_or((data, &[]));
                let mut copy = [0; DESCRIPTOR_BYTES];
                if guest.read(at, &mut copy).is_ok() {
                    put(guest, address(&copy), piece);
                }
                said.len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
                rest
            };
            let ends = data.is_empty();
            said.status = if ends { last.status | rx::DD } else { rx::DD };
            said.errors = if ends { last.errors } else { 0 };
            self.publish(guest, at, said);
            self.rx.ring.advance(each);
            first = false;
            if ends || self.rx.ring.filled(each) == 0 {
                return;
            }
        }
    }

    /// One descriptor with four buffers. The first is left empty by all but a frame's first descriptor (DS s. 7.1.5.1).
    fn fill_split<'a>(
        &self,
        guest: &mut dyn GuestMemory,
        at: Gpa,
        data: &'a [u8],
        first: bool,
        said: &mut Received,
    ) -> &'a [u8] {
        let mut copy = [0; SPLIT_BYTES];
        let addresses = guest.read(at, &mut copy).ok().map(|()| copy.as_chunks::<8>().0);
        let Received { len, more, .. } = said;
        let mut rest = data;
        let lens = core::iter::once(len).chain(more);
        for (index, ((room, len), place)) in
            self.buffers().into_iter().zip(lens).zip(addresses.unwrap_or(&[[0; 8]; SPLIT_BUFFERS])).enumerate()
        {
            let room = if index == 0 && !first { 0 } else { room };
            let (piece, behind) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            put(guest, Gpa(u64::from_le_bytes(*place)), piece);
            *len = u16::try_from(piece.len()).unwrap_or(u16::MAX);
            rest = behind;
        }
        rest
    }

    /// Writes a descriptor, its status last. One in no RAM is written nowhere.
    fn publish(&self, guest: &mut dyn GuestMemory, at: Gpa, said: Received) {
        let mut write = |offset: u64, bytes: &[u8]| {
            let _ = at.checked_add(offset).map(|at| guest.write(at, bytes));
        };
        if !self.is_extended() {
            let [a, b, c, d, status, errors, e, f] = said.legacy();
            write(8, &[a, b, c, d]);
            write(14, &[e, f]);
            return write(12, &[status, errors]);
        }
        if self.is_split() {
            let [lens, reserved] = said.split_rest();
            write(16, &lens);
            write(24, &reserved);
        }
        let [first, second] = said.extended();
        let [status @ .., a, b, c, d] = second;
        write(0, &first);
        write(12, &[a, b, c, d]);
        write(8, &status);
    }

    /// Causes: a frame has come, and few descriptors are left.
    fn tell(&mut self) {
        let each = self.descriptor_bytes();
        let share = match self.rctl.wrapping_shr(rctl::RDMTS_SHIFT) & 3 {
            0 => 2,
            1 => 4,
            _ => 8,
        };
        let least = self.rx.ring.count(each).checked_div(share).unwrap_or(0);
        let few = self.rx.ring.filled(each) <= least;
        self.add_cause(cause::RXT0 | if few { cause::RXDMT0 } else { 0 });
    }
}

/// Writes to a buffer. One at 0 is none, and one in no RAM swallows it, as nothing answers there (SDM s. 3.2.3).
fn put(guest: &mut dyn GuestMemory, at: Gpa, data: &[u8]) {
    if at.0 != 0 && !data.is_empty() {
        let _ = guest.write(at, data);
    }
}
