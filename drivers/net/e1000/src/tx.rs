//! Frames of the guest's driver: its transmit ring (SDM s. 3.3 to 3.5, DS s. 7.2).
//!
//! Each descriptor is copied once, and its buffer with it; what they become depends on the copies alone. A packet is put together until its
//! last piece, sums and segments are made in software, and only whole frames go on.

use crate::desc::{self, Context, DESCRIPTOR_BYTES, DONE, Data, Sums, TX_STATUS, Transmit};
use crate::model::{Model, Ring};
use crate::spec::{cause, ctrl, tctl};
use alloc::vec::Vec;
use mediator::{Gpa, GuestMemory};
use net::{Checksum, MAX_PACKET_BYTES, Offload, Segmentation};

/// Most descriptors, and most bytes of buffers, that are looked at in one call; what is left is for the next one.
pub const MAX_DESCRIPTORS: usize = 512;
pub const MAX_BYTES: usize = 256 << 10;
const EACH: u32 = DESCRIPTOR_BYTES as u32;

/// The ring, contexts, and the packet that is not whole yet.
#[derive(Default)]
pub struct TxRing {
    pub ring: Ring,
    /// For packets that are segmented, and for others (SDM s. 3.3.5).
    segmenting: Context,
    plain: Context,
    packet: Vec<u8>,
    /// What the packet's first piece has said of sums.
    sums: Option<Sums>,
    /// The packet is longer than any, or a part of it was in no RAM.
    broken: bool,
}

/// Where the guest's frames go.
pub trait Outlet {
    /// May a packet be begun, which may become many frames?
    fn has_room(&mut self) -> bool;
    fn emit(&mut self, frame: &[u8]);
}

/// What came of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    pub frames: u64,
    pub dropped: u64,
    /// There is more, for the next call.
    pub more: bool,
}

impl TxRing {
    pub fn reset(&mut self) {
        (self.ring, self.segmenting, self.plain) = Default::default();
        self.forget();
    }

    fn forget(&mut self) {
        self.packet.clear();
        (self.sums, self.broken) = (None, false);
    }

    /// Copies a piece; gives how many bytes that was.
    fn gather(&mut self, guest: &mut dyn GuestMemory, data: &Data) -> usize {
        self.sums.get_or_insert(data.sums);
        let len = usize::try_from(data.len).unwrap_or(usize::MAX);
        let before = self.packet.len();
        if self.broken || len > MAX_PACKET_BYTES.saturating_sub(before) || self.packet.try_reserve(len).is_err() {
            self.broken = true;
            return 0;
        }
        self.packet.resize(before.saturating_add(len), 0);
        let target = self.packet.get_mut(before..).unwrap_or_default();
        self.broken |= guest.read(data.at, target).is_err();
        len
    }

    fn offload(&self, data: &Data, tag_type: Option<u16>) -> Offload {
        let tag = tag_type.zip(data.tag);
        match self.sums {
            Some(Sums::Context { network, transport, segmented }) => {
                let context = if segmented { self.segmenting } else { self.plain };
                Offload { tag, ..context.offload(network, transport, segmented) }
            }
            // The legacy form: of the last piece.
            _ => {
                let sum = if let Sums::Legacy(sum) = data.sums { sum } else { None };
                let sum = sum.map(|(from, to)| Checksum { start: from.into(), at: to.into(), last: None });
                Offload { transport: sum, tag, ..Offload::default() }
            }
        }
    }
}

impl Context {
    fn offload(self, network: bool, transport: bool, segmented: bool) -> Offload {
        let last = |last: u16| (last != 0).then_some(usize::from(last));
        let sum = |on: bool, start: u8, at: u8, end: u16| {
            on.then_some(Checksum { start: start.into(), at: at.into(), last: last(end) })
        };
        let segmentation = Segmentation {
            header_bytes: self.header_bytes.into(),
            mss: self.mss.into(),
            network: self.network_start.into(),
            ipv4: self.ipv4,
            transport: self.transport_start.into(),
            tcp: self.tcp,
        };
        Offload {
            network: sum(network, self.network_start, self.network_sum, self.network_last),
            transport: sum(transport, self.transport_start, self.transport_sum, self.transport_last),
            segmentation: segmented.then_some(segmentation),
            tag: None,
        }
    }
}

impl Model {
    /// Is there anything that the guest wants to send?
    pub fn has_to_send(&self) -> bool {
        self.tctl & tctl::EN != 0 && self.tx.ring.filled(EACH) > 0
    }

    /// Takes packets from the guest's ring as long as there is room before each one. `frame` is memory to put frames together in.
    pub fn transmit(&mut self, guest: &mut dyn GuestMemory, frame: &mut Vec<u8>, outlet: &mut dyn Outlet) -> Sent {
        let (mut sent, mut bytes, mut told) = (Sent::default(), 0_usize, false);
        let mut descriptors = 0_usize;
        while self.has_to_send() {
            let starts = self.tx.packet.is_empty() && !self.tx.broken;
            if descriptors >= MAX_DESCRIPTORS || bytes >= MAX_BYTES || starts && !outlet.has_room() {
                sent.more = true;
                break;
            }
            descriptors = descriptors.saturating_add(1);
            let at = self.tx.ring.at_head(EACH);
            let mut copy = [0; DESCRIPTOR_BYTES];
            // A ring in no RAM is one of zeros: nothing is sent, and nothing is written back.
            let in_ram = guest.read(at, &mut copy).is_ok();
            if in_ram {
                bytes = bytes.saturating_add(self.take(guest, &copy, frame, outlet, &mut sent));
            }
            self.tx.ring.advance(EACH);
            if in_ram && desc::reports(&copy) {
                self.report(guest, at, &copy);
                told = true;
            }
        }
        let empty = descriptors > 0 && self.tx.ring.filled(EACH) == 0;
        self.add_cause(if told { cause::TXDW } else { 0 } | if empty { cause::TXQE } else { 0 });
        sent
    }

    fn report(&self, guest: &mut dyn GuestMemory, at: Gpa, copy: &[u8; DESCRIPTOR_BYTES]) {
        let [.., status, _, _, _] = copy;
        // Its place is in RAM: it was read from there. Only the byte that is the card's is written.
        if let Some(place) = at.checked_add(TX_STATUS) {
            let _ = guest.write(place, &[status & 0xf0 | DONE]);
        }
    }

    /// One descriptor; gives how many bytes were copied.
    fn take(
        &mut self,
        guest: &mut dyn GuestMemory,
        copy: &[u8; DESCRIPTOR_BYTES],
        frame: &mut Vec<u8>,
        outlet: &mut dyn Outlet,
        sent: &mut Sent,
    ) -> usize {
        let data = match desc::parse(copy) {
            Transmit::Context(context) if context.segmented => {
                self.tx.segmenting = context;
                return 0;
            }
            Transmit::Context(context) => {
                self.tx.plain = context;
                return 0;
            }
            Transmit::Data(data) => data,
            Transmit::Unknown => {
                self.tx.broken = true;
                return 0;
            }
        };
        let len = self.tx.gather(guest, &data);
        if data.end {
            self.finish(&data, frame, outlet, sent);
        }
        len
    }

    fn finish(&mut self, data: &Data, frame: &mut Vec<u8>, outlet: &mut dyn Outlet, sent: &mut Sent) {
        let tag_type = (self.ctrl & ctrl::VME != 0).then(|| self.tag_type());
        let offload = self.tx.offload(data, tag_type);
        let mut packet = core::mem::take(&mut self.tx.packet);
        let statistics = &mut self.statistics;
        let mut each = |frame: &[u8]| {
            let octets = frame.len().max(net::MIN_FRAME_BYTES).saturating_add(net::FCS_BYTES);
            statistics.sent(frame, octets);
            sent.frames = sent.frames.saturating_add(1);
            outlet.emit(frame);
        };
        if self.tx.broken || offload.perform(&mut packet, frame, &mut each).is_err() {
            sent.dropped = sent.dropped.saturating_add(1);
        } else if offload.segmentation.is_some() {
            self.statistics.segmented();
        }
        // Its memory is used again.
        self.tx.packet = packet;
        self.tx.forget();
    }
}
