//! What a guest leaves to its card on the way out: checksums, segmentation, VLAN tags.
//!
//! The guest describes its packet, and may lie: every place is looked at before it is used, and a packet with a description that does not
//! fit is dropped as a whole.

use crate::{Sum, be16, push_tagged, put_be16};
use alloc::vec::Vec;
use mediator::net::MAX_FRAME_BYTES;

/// Longest packet that is segmented: the longest of IPv4 with its frame's header and some room.
pub const MAX_PACKET_BYTES: usize = 65_536 + 256;
/// Most frames that one packet becomes. A TCP segment of 128 bytes makes as many of the longest packet.
pub const MAX_SEGMENTS: usize = 512;

/// A checksum to be put into a frame: the sum over `start..` of the frame as it stands goes to `at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksum {
    pub start: usize,
    pub at: usize,
    /// The last byte that counts; `None`: the frame's.
    pub last: Option<usize>,
}

/// A packet that becomes several frames, each with the headers of the first `header_bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segmentation {
    pub header_bytes: usize,
    /// Most bytes of payload of a frame.
    pub mss: usize,
    /// Where the IP header begins.
    pub network: usize,
    pub ipv4: bool,
    /// Where the header of TCP or UDP begins.
    pub transport: usize,
    pub tcp: bool,
}

/// All of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offload {
    /// The header checksum of IPv4.
    pub network: Option<Checksum>,
    /// That of TCP or UDP. With segmentation the sum of the pseudo header without the length stands in its place.
    pub transport: Option<Checksum>,
    pub segmentation: Option<Segmentation>,
    /// Type and control information of a VLAN tag.
    pub tag: Option<(u16, u16)>,
}

/// The description does not fit the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lie;

/// TCP: sequence number, data offset and flags; FIN and PSH belong to the last segment (RFC 9293 s. 3.1).
const TCP_SEQUENCE: usize = 4;
const TCP_FLAGS: usize = 13;
const TCP_LAST: u8 = 0x09;
/// UDP: length.
const UDP_LENGTH: usize = 4;
/// IPv4: total length, identification. IPv6: payload length, from the end of its header.
const IPV4_LENGTH: usize = 2;
const IPV4_ID: usize = 4;
const IPV6_LENGTH: usize = 4;
const IPV6_HEADER_BYTES: usize = 40;

impl Offload {
    /// Hands every frame that the packet becomes to `emit`; each is put together in `frame`.
    ///
    /// # Errors
    /// [`Lie`]: nothing was handed out.
    pub fn perform(&self, packet: &mut [u8], frame: &mut Vec<u8>, emit: &mut dyn FnMut(&[u8])) -> Result<(), Lie> {
        match self.segmentation {
            Some(segmentation) => self.segment(packet, segmentation, frame, emit),
            None => self.whole(packet, frame, emit),
        }
    }

    fn whole(&self, packet: &mut [u8], frame: &mut Vec<u8>, emit: &mut dyn FnMut(&[u8])) -> Result<(), Lie> {
        let tagged = if self.tag.is_some() { crate::TAG_BYTES } else { 0 };
        if packet.len() < crate::HEADER_BYTES || packet.len().saturating_add(tagged) > MAX_FRAME_BYTES {
            return Err(Lie);
        }
        // The header's own first: that of TCP and UDP lies behind what it changes.
        for checksum in [self.network, self.transport].into_iter().flatten() {
            put(packet, checksum, 0)?;
        }
        self.hand_out(packet, frame, emit);
        Ok(())
    }

    fn hand_out(&self, frame: &[u8], tagged: &mut Vec<u8>, emit: &mut dyn FnMut(&[u8])) {
        let Some((tag_type, control)) = self.tag else { return emit(frame) };
        tagged.clear();
        push_tagged(tagged, frame, tag_type, control);
        emit(tagged);
    }

    fn segment(
        &self,
        packet: &[u8],
        it: Segmentation,
        tagged: &mut Vec<u8>,
        emit: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Lie> {
        let (header, payload) = packet.split_at_checked(it.header_bytes).ok_or(Lie)?;
        it.check(header)?;
        let longest = it.header_bytes.saturating_add(it.mss.min(payload.len())).saturating_add(crate::TAG_BYTES);
        let count = payload.len().checked_div(it.mss).ok_or(Lie)?;
        if payload.is_empty() || longest > MAX_FRAME_BYTES || count >= MAX_SEGMENTS {
            return Err(Lie);
        }
        for checksum in [self.network, self.transport].into_iter().flatten() {
            // A sum that does not lie in the headers would be another one in each frame.
            if checksum.at.saturating_add(2) > header.len() || checksum.start > checksum.at {
                return Err(Lie);
            }
        }
        let mut frame = Vec::new();
        frame.try_reserve_exact(longest).map_err(|_| Lie)?;
        let last = payload.len().saturating_sub(1).checked_div(it.mss).unwrap_or(0);
        for (index, piece) in payload.chunks(it.mss).enumerate() {
            frame.clear();
            frame.extend_from_slice(header);
            frame.extend_from_slice(piece);
            it.adapt(&mut frame, index, index == last);
            self.sums(&mut frame, it)?;
            self.hand_out(&frame, tagged, emit);
        }
        Ok(())
    }

    fn sums(&self, frame: &mut [u8], it: Segmentation) -> Result<(), Lie> {
        if let Some(network) = self.network {
            put_be16(frame, network.at, 0);
            put(frame, network, 0)?;
        }
        if let Some(transport) = self.transport {
            let len = u16::try_from(frame.len().saturating_sub(it.transport)).map_err(|_| Lie)?;
            put(frame, transport, len)?;
        }
        Ok(())
    }
}

/// `more`: a word that counts too.
fn put(frame: &mut [u8], checksum: Checksum, more: u16) -> Result<(), Lie> {
    let len = frame.len();
    // A guest that gives a place beyond its short packet gets no sum there, like with a card.
    let end = checksum.last.map_or(len, |last| last.saturating_add(1)).min(len);
    let range = frame.get(checksum.start..end).ok_or(Lie)?;
    let sum = Sum::default().word(more).bytes(range).checksum();
    if checksum.at.saturating_add(2) > len {
        return Err(Lie);
    }
    put_be16(frame, checksum.at, sum);
    Ok(())
}

impl Segmentation {
    /// Do the headers that are changed lie within what is said to be headers, one behind the other?
    fn check(&self, header: &[u8]) -> Result<(), Lie> {
        let transport_bytes: usize = if self.tcp { 20 } else { 8 };
        let network_bytes: usize = if self.ipv4 { 20 } else { IPV6_HEADER_BYTES };
        let network_end = self.network.checked_add(network_bytes).ok_or(Lie)?;
        let transport_end = self.transport.checked_add(transport_bytes).ok_or(Lie)?;
        let good = self.mss > 0
            && self.network >= crate::HEADER_BYTES
            && network_end <= self.transport
            && transport_end <= header.len();
        if good { Ok(()) } else { Err(Lie) }
    }

    /// Makes the headers of the packet those of its segment of this number.
    fn adapt(&self, frame: &mut [u8], index: usize, is_last: bool) {
        let len = frame.len();
        let after = |start: usize| u16::try_from(len.saturating_sub(start)).unwrap_or(u16::MAX);
        if self.ipv4 {
            put_be16(frame, self.network.saturating_add(IPV4_LENGTH), after(self.network));
            let at = self.network.saturating_add(IPV4_ID);
            let id = be16(frame, at).unwrap_or(0).wrapping_add(index as u16);
            put_be16(frame, at, id);
        } else {
            let end = self.network.saturating_add(IPV6_HEADER_BYTES);
            put_be16(frame, self.network.saturating_add(IPV6_LENGTH), after(end));
        }
        if !self.tcp {
            put_be16(frame, self.transport.saturating_add(UDP_LENGTH), after(self.transport));
            return;
        }
        let at = self.transport.saturating_add(TCP_SEQUENCE);
        if let Some(bytes) = frame.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            // Sequence numbers wrap.
            let sent = index.wrapping_mul(self.mss) as u32;
            *bytes = u32::from_be_bytes(*bytes).wrapping_add(sent).to_be_bytes();
        }
        if let Some(flags) = frame.get_mut(self.transport.saturating_add(TCP_FLAGS)).filter(|_| !is_last) {
            *flags &= !TCP_LAST;
        }
    }
}
