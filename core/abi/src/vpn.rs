//! The service `vpn`: the tunnels of network cards, for ring 0 alone. Frames go to it and come from it many at a time.
//!
//! A batch is a header and, behind it, records up to its end: side (1 byte), length (2 bytes, little-endian), the frame. Frames are Ethernet
//! frames from the destination address to the end of the payload; records of one side are in the order in which they were sent.
//! Whoever reads a batch trusts nothing in it: the other end may be broken, or somebody else's.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use serde::{Deserialize, Serialize};

/// Its name.
pub const NAME: &str = "vpn";

/// Operations: the lowest byte of the number; the tunnel's number in the others.
pub mod op {
    pub const SHIFT: u32 = 8;
    pub const MASK: u64 = 0xff;
    /// A text for people about a tunnel into the first lease; answers its length.
    pub const TEXT: u64 = 0;
    /// A new tunnel, in place of the one that has the number. First lease: [`SETUP_VERSION`](super::SETUP_VERSION) and a postcard of
    /// [`Setup`](super::Setup); second: [`Start`](super::Start). Answers 0, or the length of a text in the third one, which tells why
    /// there can be no such tunnel.
    pub const CONFIGURE: u64 = 1;
    /// First lease: a batch with a [`Request`](super::Request), whose frames go to the tunnel. Into the second one: a batch with an
    /// [`Answer`](super::Answer), and what the tunnel hands out; answers its length. The error `NotFound`: no such tunnel; the program may have
    /// started anew.
    pub const EXCHANGE: u64 = 2;
    /// The next line for the log into the first lease; answers its length, 0: there is none.
    pub const EVENT: u64 = 3;
}

/// Tunnels at the same time; their numbers begin at 0.
pub const MAX_TUNNELS: usize = 4;
/// Longest frame, and longest batch.
pub const MAX_FRAME_BYTES: usize = 9_018;
pub const MAX_BATCH_BYTES: usize = 64 << 10;
/// Longest setup with its version.
pub const MAX_SETUP_BYTES: usize = 64 << 10;
/// Longest text of [`op::EVENT`] and of a refusal.
pub const MAX_LINE_BYTES: usize = 200;

/// The first byte of a setup.
pub const SETUP_VERSION: u8 = 1;

/// What a tunnel is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup<'a> {
    /// The card's own hardware address.
    pub mac: [u8; 6],
    pub wire: Wire,
    /// Nanoseconds from 1970 to the zero of [`Start::now_ns`], by whatever clock told them at Shoji's start.
    pub unix_ns: u64,
    #[serde(borrow)]
    pub protocol: Protocol<'a>,
}

/// The outer protocol with its parameters, keys among them.
#[derive(Clone, Serialize, Deserialize)]
pub enum Protocol<'a> {
    /// A postcard of `wg_quick::TunnelConfig`.
    WireGuard(&'a [u8]),
}

/// Without the parameters.
impl core::fmt::Debug for Protocol<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::WireGuard(_) => f.write_str("WireGuard"),
        }
    }
}

/// The network that the card is on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wire {
    /// Longest IP packet, in bytes.
    pub mtu: u16,
    pub ipv4: WireIpv4,
    pub ipv6: WireIpv6,
    /// Servers for the names of endpoints; none: those that the network tells.
    pub dns: Vec<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WireIpv4 {
    Off,
    Dhcp,
    Static { address: Ipv4Addr, prefix_len: u8, gateway: Option<Ipv4Addr> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WireIpv6 {
    Off,
    Slaac,
    Static { address: Ipv6Addr, prefix_len: u8, gateway: Option<Ipv6Addr> },
}

/// What differs from one life of a tunnel to the next: time (8 bytes, little-endian) and seed.
#[derive(Clone, Copy)]
pub struct Start<'a> {
    /// Nanoseconds since Shoji started, without those in which the machine slept.
    pub now_ns: u64,
    /// Whatever the tunnel draws by chance comes from it: nobody foretells it, and it is used once.
    pub seed: &'a [u8; SEED_BYTES],
}

pub const SEED_BYTES: usize = 32;
/// Length of [`Start`].
pub const START_BYTES: usize = 8 + SEED_BYTES;

impl<'a> Start<'a> {
    /// Into memory of the caller's, who wipes it.
    pub fn encode(&self, bytes: &mut [u8; START_BYTES]) {
        put(bytes, 0, &self.now_ns.to_le_bytes());
        put(bytes, 8, self.seed);
    }

    pub fn decode(bytes: &'a [u8; START_BYTES]) -> Option<Self> {
        Some(Self { now_ns: number(bytes, 0)?, seed: bytes.get(8..)?.first_chunk()? })
    }
}

/// Who sent a frame, or shall get it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Side {
    Guest,
    Wire,
}

/// Something for each side.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Both<T> {
    pub guest: T,
    pub wire: T,
}

impl<T> Both<T> {
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Guest => &self.guest,
            Side::Wire => &self.wire,
        }
    }

    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Guest => &mut self.guest,
            Side::Wire => &mut self.wire,
        }
    }
}

/// Header of a batch to the tunnel: time (8 bytes), flags (4), room for the guest's side and for the wire's (4 each).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Nanoseconds since Shoji started.
    pub now_ns: u64,
    /// The cable is plugged in.
    pub link_up: bool,
    /// Bytes of records that each side takes.
    pub room: Both<u32>,
}

/// Length of [`Request`].
pub const REQUEST_BYTES: usize = 20;

impl Request {
    const LINK_UP: u32 = 1;

    pub fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        put(&mut bytes, 0, &self.now_ns.to_le_bytes());
        put(&mut bytes, 8, &u32::from(self.link_up).to_le_bytes());
        put(&mut bytes, 12, &self.room.guest.to_le_bytes());
        put(&mut bytes, 16, &self.room.wire.to_le_bytes());
        bytes
    }

    /// `None`: the batch is too short to have one.
    pub fn decode(batch: &[u8]) -> Option<(Self, Records<'_>)> {
        let (bytes, records) = batch.split_at_checked(REQUEST_BYTES)?;
        let link_up = short(bytes, 8)? & Self::LINK_UP != 0;
        let room = Both { guest: short(bytes, 12)?, wire: short(bytes, 16)? };
        Some((Self { now_ns: number(bytes, 0)?, link_up, room }, Records(records)))
    }
}

/// Header of a batch from the tunnel: deadline (8 bytes, all ones: none), flags (4).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Answer {
    /// When the next exchange is wanted at the latest, on the clock of [`Request::now_ns`].
    pub deadline_ns: Option<u64>,
    /// Packets of the guest get through.
    pub is_up: bool,
    /// Each side's room came to its end, and there may be more for it.
    pub more: Both<bool>,
    /// [`op::EVENT`] has something to tell.
    pub has_event: bool,
}

/// Length of [`Answer`].
pub const ANSWER_BYTES: usize = 12;

impl Answer {
    const UP: u32 = 1;
    const MORE_FOR_GUEST: u32 = 2;
    const MORE_FOR_WIRE: u32 = 4;
    const EVENT: u32 = 8;

    pub fn encode(&self) -> [u8; ANSWER_BYTES] {
        let flags = [
            (self.is_up, Self::UP),
            (self.more.guest, Self::MORE_FOR_GUEST),
            (self.more.wire, Self::MORE_FOR_WIRE),
            (self.has_event, Self::EVENT),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
        let mut bytes = [0; ANSWER_BYTES];
        put(&mut bytes, 0, &self.deadline_ns.unwrap_or(u64::MAX).to_le_bytes());
        put(&mut bytes, 8, &u32::to_le_bytes(flags));
        bytes
    }

    /// `None`: the batch is too short to have one.
    pub fn decode(batch: &[u8]) -> Option<(Self, Records<'_>)> {
        let (bytes, records) = batch.split_at_checked(ANSWER_BYTES)?;
        let flags = short(bytes, 8)?;
        let has = |flag| flags & flag != 0;
        let answer = Self {
            deadline_ns: Some(number(bytes, 0)?).filter(|at| *at != u64::MAX),
            is_up: has(Self::UP),
            more: Both { guest: has(Self::MORE_FOR_GUEST), wire: has(Self::MORE_FOR_WIRE) },
            has_event: has(Self::EVENT),
        };
        Some((answer, Records(records)))
    }
}

/// What stands before each frame.
pub const RECORD_HEADER_BYTES: usize = 3;
/// Longest record.
pub const MAX_RECORD_BYTES: usize = RECORD_HEADER_BYTES + MAX_FRAME_BYTES;

/// The header of a record. `None`: there is no frame of such a length.
pub fn record_header(side: Side, len_bytes: usize) -> Option<[u8; RECORD_HEADER_BYTES]> {
    let [low, high] = u16::try_from(len_bytes).ok().filter(|_| is_frame(len_bytes))?.to_le_bytes();
    Some([side as u8, low, high])
}

fn is_frame(len_bytes: usize) -> bool {
    (1..=MAX_FRAME_BYTES).contains(&len_bytes)
}

/// A record that cannot be: no such side or length, or it is cut off. What follows it cannot be read either.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadRecord;

/// The frames of a batch, with their sides.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    fn take(&mut self) -> Option<(Side, &'a [u8])> {
        let ([side, low, high], rest) = self.0.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let side = match side {
            0 => Side::Guest,
            1 => Side::Wire,
            _ => return None,
        };
        let len = usize::from(u16::from_le_bytes([*low, *high]));
        let (frame, rest) = rest.split_at_checked(len).filter(|_| is_frame(len))?;
        self.0 = rest;
        Some((side, frame))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Side, &'a [u8]), BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = self.take().ok_or(BadRecord);
        if record.is_err() {
            self.0 = &[];
        }
        Some(record)
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn short(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_as_they_were_and_have_their_lengths() {
        let request = Request { now_ns: u64::MAX - 1, link_up: true, room: Both { guest: 7, wire: u32::MAX } };
        assert_eq!(Request::decode(&request.encode()).map(|(it, _)| it), Some(request));
        let answer =
            Answer { deadline_ns: Some(5), is_up: true, more: Both { guest: false, wire: true }, has_event: false };
        assert_eq!(Answer::decode(&answer.encode()).map(|(it, _)| it), Some(answer));
        let answer = Answer { more: Both { guest: true, wire: false }, has_event: true, ..Answer::default() };
        assert_eq!(Answer::decode(&answer.encode()).map(|(it, _)| it), Some(answer));
        assert!(Request::decode(&[0; REQUEST_BYTES - 1]).is_none());
        assert!(Answer::decode(&[0; ANSWER_BYTES - 1]).is_none());
        let mut bytes = [0; START_BYTES];
        Start { now_ns: 9, seed: &[3; SEED_BYTES] }.encode(&mut bytes);
        let start = Start::decode(&bytes).unwrap();
        assert_eq!((start.now_ns, start.seed), (9, &[3; SEED_BYTES]));
    }

    #[test]
    fn records_are_read_up_to_the_first_that_cannot_be() {
        let mut batch = Answer::default().encode().to_vec();
        for (side, frame) in [(Side::Wire, &b"one"[..]), (Side::Guest, b"two!")] {
            batch.extend(record_header(side, frame.len()).unwrap());
            batch.extend(frame);
        }
        let good = [Ok((Side::Wire, &b"one"[..])), Ok((Side::Guest, b"two!"))];
        assert!(Answer::decode(&batch).unwrap().1.eq(good));
        for bad in [&[2, 1, 0, 9, 0, 1, 0, 9][..], &[0, 0, 0, 0, 1, 0, 9], &[0, 2, 0, 9], &[0, 1], &[1, 0xff, 0xff, 0]]
        {
            let batch = [&batch, bad].concat();
            let records: Vec<_> = Answer::decode(&batch).unwrap().1.collect();
            assert_eq!(records.len(), 3, "{bad:?}");
            assert_eq!(records.last(), Some(&Err(BadRecord)), "{bad:?}");
        }
    }

    #[test]
    fn a_frame_has_a_length_that_some_card_can_send() {
        for (len, can_be) in [(0, false), (1, true), (MAX_FRAME_BYTES, true), (MAX_FRAME_BYTES + 1, false)] {
            assert_eq!(record_header(Side::Guest, len).is_some(), can_be, "{len}");
        }
        assert_eq!(record_header(Side::Wire, 0x1234), Some([1, 0x34, 0x12]));
    }
}
