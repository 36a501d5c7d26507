//! The four messages as bytes (the paper, 5.4.2 to 5.4.7). All numbers are little endian; a message begins with its type and three
//! bytes of zero.
//!
//! | type | bytes | fields |
//! |---|---|---|
//! | 1 initiation | 148 | sender 4, ephemeral 32, static 32+16, stamp 12+16, MAC1 16, MAC2 16 |
//! | 2 response | 92 | sender 4, receiver 4, ephemeral 32, empty 0+16, MAC1 16, MAC2 16 |
//! | 3 cookie reply | 64 | receiver 4, nonce 24, cookie 16+16 |
//! | 4 data | from 32 on | receiver 4, counter 8, packet n+16 |

use crate::aead::{TAG_BYTES, XNONCE_BYTES};
use crate::hash::MAC_BYTES;
use crate::keys::{KEY_BYTES, PublicKey};

const INITIATION: u32 = 1;
const RESPONSE: u32 = 2;
const COOKIE_REPLY: u32 = 3;
const DATA: u32 = 4;

pub const INITIATION_BYTES: usize = 148;
pub const RESPONSE_BYTES: usize = 92;
pub const COOKIE_REPLY_BYTES: usize = 64;
/// Bytes in front of the encrypted packet.
pub const DATA_HEADER_BYTES: usize = 16;
/// The longest message that is not a packet.
pub const MAX_HANDSHAKE_BYTES: usize = INITIATION_BYTES;
/// What a packet's length is padded to a multiple of.
pub const PADDING_BYTES: usize = 16;

pub type SealedStatic = [u8; KEY_BYTES + TAG_BYTES];
pub type SealedStamp = [u8; 12 + TAG_BYTES];

/// MAC1 and MAC2 are the last 32 bytes of the datagram.
pub struct Initiation {
    pub sender: u32,
    pub ephemeral: PublicKey,
    pub sealed_static: SealedStatic,
    pub sealed_stamp: SealedStamp,
}

/// MAC1 and MAC2 are the last 32 bytes of the datagram.
pub struct Response {
    pub sender: u32,
    pub receiver: u32,
    pub ephemeral: PublicKey,
    pub sealed_empty: [u8; TAG_BYTES],
}

pub struct CookieReply {
    pub receiver: u32,
    pub nonce: [u8; XNONCE_BYTES],
    pub cookie: [u8; MAC_BYTES],
    pub tag: [u8; TAG_BYTES],
}

/// The encrypted packet lies behind it.
pub struct DataHeader {
    pub receiver: u32,
    pub counter: u64,
}

pub enum Message {
    Initiation(Initiation),
    Response(Response),
    CookieReply(CookieReply),
    Data(DataHeader),
}

impl Message {
    /// `None`: no type of message, or not the length of its type.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let rest = &mut &*datagram;
        match (u32::from_le_bytes(take(rest)?), datagram.len()) {
            (INITIATION, INITIATION_BYTES) => Some(Self::Initiation(Initiation {
                sender: u32::from_le_bytes(take(rest)?),
                ephemeral: PublicKey(take(rest)?),
                sealed_static: take(rest)?,
                sealed_stamp: take(rest)?,
            })),
            (RESPONSE, RESPONSE_BYTES) => Some(Self::Response(Response {
                sender: u32::from_le_bytes(take(rest)?),
                receiver: u32::from_le_bytes(take(rest)?),
                ephemeral: PublicKey(take(rest)?),
                sealed_empty: take(rest)?,
            })),
            (COOKIE_REPLY, COOKIE_REPLY_BYTES) => Some(Self::CookieReply(CookieReply {
                receiver: u32::from_le_bytes(take(rest)?),
                nonce: take(rest)?,
                cookie: take(rest)?,
                tag: take(rest)?,
            })),
            (DATA, length) if length >= DATA_HEADER_BYTES.saturating_add(TAG_BYTES) => Some(Self::Data(DataHeader {
                receiver: u32::from_le_bytes(take(rest)?),
                counter: u64::from_le_bytes(take(rest)?),
            })),
            _ => None,
        }
    }
}

impl Initiation {
    /// With MACs of zero.
    pub fn encode(&self) -> [u8; INITIATION_BYTES] {
        let (kind, sender) = (INITIATION.to_le_bytes(), self.sender.to_le_bytes());
        join(&[&kind, &sender, &self.ephemeral.0, &self.sealed_static, &self.sealed_stamp])
    }
}

impl Response {
    /// With MACs of zero.
    pub fn encode(&self) -> [u8; RESPONSE_BYTES] {
        let (kind, sender, receiver) = (RESPONSE.to_le_bytes(), self.sender.to_le_bytes(), self.receiver.to_le_bytes());
        join(&[&kind, &sender, &receiver, &self.ephemeral.0, &self.sealed_empty])
    }
}

impl CookieReply {
    pub fn encode(&self) -> [u8; COOKIE_REPLY_BYTES] {
        let (kind, receiver) = (COOKIE_REPLY.to_le_bytes(), self.receiver.to_le_bytes());
        join(&[&kind, &receiver, &self.nonce, &self.cookie, &self.tag])
    }
}

impl DataHeader {
    pub fn encode(&self) -> [u8; DATA_HEADER_BYTES] {
        let (kind, receiver) = (DATA.to_le_bytes(), self.receiver.to_le_bytes());
        join(&[&kind, &receiver, &self.counter.to_le_bytes()])
    }
}

/// The next bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*first)
}

/// The parts, one behind the other, and zeros.
fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(parts.iter().copied().flatten()).for_each(|(to, from)| *to = *from);
    out
}
