//! Datagrams that came in pieces (RFC 791 s. 3.2, RFC 8200 s. 4.5), within bounds. Pieces that overlap end their datagram (RFC 5722).
//!
//! smoltcp puts IPv4 together only, and lets pieces overlap.

use alloc::vec::Vec;
use core::net::IpAddr;
use frames::Packet;
use mediator::Instant;
use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

/// Datagrams that are put together at a time; the oldest one goes for a new one.
const MAX_DATAGRAMS: usize = 4;
const MAX_PIECES: usize = 16;
/// Longest payload of a whole.
const MAX_BYTES: usize = 9000;
const LIFETIME_NS: u64 = 15_000_000_000;
const UNIT_BYTES: usize = 8;
const IPV4_HEADER_BYTES: usize = 20;
const IPV6_HEADER_BYTES: usize = 40;
const IPV6_NEXT_HEADER_AT: usize = 6;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    from: IpAddr,
    to: IpAddr,
    id: u32,
}

struct Datagram {
    key: Key,
    until: Instant,
    /// Of its first piece.
    header: Vec<u8>,
    payload: Vec<u8>,
    /// From and to, in bytes; none overlaps another.
    pieces: Vec<(usize, usize)>,
    /// Known once its last piece is there.
    len: Option<usize>,
}

/// A piece that leads to nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Useless;

#[derive(Default)]
pub struct Reassembly(Vec<Datagram>);

impl Reassembly {
    /// Takes a piece; the packet that it makes whole, if it does.
    ///
    /// # Errors
    /// [`Useless`]: the piece, and what it would have been a part of, is lost.
    pub fn on_piece(&mut self, now: Instant, piece: &Packet<'_>) -> Result<Option<Vec<u8>>, Useless> {
        self.0.retain(|datagram| datagram.until > now);
        let fragment = piece.fragment.ok_or(Useless)?;
        let key = Key { from: piece.source, to: piece.destination, id: fragment.id };
        let at = match self.0.iter().position(|datagram| datagram.key == key) {
            Some(at) => at,
            None => self.begin(key, now),
        };
        let datagram = self.0.get_mut(at).ok_or(Useless)?;
        let added = datagram.add(piece, fragment.offset.into(), fragment.more);
        match added {
            Some(false) => Ok(None),
            Some(true) => self.0.swap_remove(at).whole().map(Some).ok_or(Useless),
            None => {
                self.0.swap_remove(at);
                Err(Useless)
            }
        }
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn begin(&mut self, key: Key, now: Instant) -> usize {
        if self.0.len() >= MAX_DATAGRAMS
            && let Some(oldest) = (0..).zip(&self.0).min_by_key(|(_, datagram)| datagram.until).map(|(at, _)| at)
        {
            self.0.swap_remove(oldest);
        }
        let until = Instant(now.0.saturating_add(LIFETIME_NS));
        let (header, payload, pieces) = (Vec::new(), Vec::new(), Vec::new());
        self.0.push(Datagram { key, until, header, payload, pieces, len: None });
        self.0.len().saturating_sub(1)
    }
}

impl Datagram {
    /// Is it whole now? `None`: the piece contradicts what is there, or the bounds.
    fn add(&mut self, piece: &Packet<'_>, from: usize, more: bool) -> Option<bool> {
        let bytes = piece.payload();
        let to = from.checked_add(bytes.len()).filter(|to| *to <= MAX_BYTES)?;
        let has_options = !matches!(piece.unfragmentable_bytes, IPV4_HEADER_BYTES | IPV6_HEADER_BYTES);
        if bytes.is_empty() || has_options || (more && !bytes.len().is_multiple_of(UNIT_BYTES)) {
            return None;
        }
        if self.pieces.contains(&(from, to)) {
            return Some(false);
        }
        let overlaps = self.pieces.iter().any(|&(start, end)| start < to && from < end);
        let beyond = self.len.is_some_and(|len| to > len || !more);
        let last_too_short = !more && self.pieces.iter().any(|&(_, end)| end > to);
        if overlaps || beyond || last_too_short || self.pieces.len() >= MAX_PIECES {
            return None;
        }
        if !more {
            self.len = Some(to);
        }
        if from == 0 {
            self.header = piece.bytes.get(..piece.unfragmentable_bytes)?.to_vec();
            if let Some(next) = self.header.get_mut(IPV6_NEXT_HEADER_AT).filter(|_| piece.source.is_ipv6()) {
                *next = piece.protocol;
            }
        }
        self.payload.resize(self.payload.len().max(to), 0);
        self.payload.get_mut(from..to)?.copy_from_slice(bytes);
        self.pieces.push((from, to));
        let have = self.pieces.iter().fold(0usize, |sum, &(start, end)| sum.saturating_add(end.saturating_sub(start)));
        Some(self.len == Some(have))
    }

    fn whole(self) -> Option<Vec<u8>> {
        let mut packet = self.header;
        packet.extend_from_slice(&self.payload);
        let len = u16::try_from(packet.len()).ok()?;
        match self.key.from {
            IpAddr::V4(_) if packet.len() >= IPV4_HEADER_BYTES => {
                let mut header = Ipv4Packet::new_unchecked(packet.as_mut_slice());
                header.set_total_len(len);
                header.clear_flags();
                header.set_frag_offset(0);
                header.fill_checksum();
            }
            IpAddr::V6(_) if packet.len() >= IPV6_HEADER_BYTES => {
                let payload_bytes = u16::try_from(self.payload.len()).ok()?;
                Ipv6Packet::new_unchecked(packet.as_mut_slice()).set_payload_len(payload_bytes);
            }
            _ => return None,
        }
        Some(packet)
    }
}
