//! What a listener on the wire may see. It reads bytes by itself, with nothing of the code that it judges.

use super::world::{LOWERED_MTU, MAC, MTU, OUTER_PORT};
use std::format;
use std::string::String;

/// In every payload of the guest and of the server.
pub const MARKER: &[u8] = b"PLAINTEXT";

/// What a frame of ours is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Arp,
    Ndp,
    Dhcp,
    Dns,
    Handshake,
    Data,
}

pub fn has_marker(frame: &[u8]) -> bool {
    frame.windows(MARKER.len()).any(|window| window == MARKER)
}

/// Judges a frame that the tunnel has put on the wire.
pub fn judge(frame: &[u8]) -> Result<Kind, String> {
    if has_marker(frame) {
        return Err(format!("plaintext: {frame:02x?}"));
    }
    if frame.len() < 42 || frame.len() > 1514 || frame[6..12] != MAC {
        return Err(format!("length or sender: {frame:02x?}"));
    }
    let (ip_bytes, protocol, payload) = match frame[12..14] {
        [8, 6] if frame.len() == 42 => return Ok(Kind::Arp),
        [8, 0] if frame[14] == 0x45 => (u16::from_be_bytes([frame[16], frame[17]]), frame[23], &frame[34..]),
        [0x86, 0xDD] => (u16::from_be_bytes([frame[18], frame[19]]) + 40, frame[20], &frame[54..]),
        _ => return Err(format!("neither ARP nor IP: {frame:02x?}")),
    };
    if usize::from(ip_bytes) + 14 != frame.len() {
        return Err(format!("bytes behind the packet: {frame:02x?}"));
    }
    match (protocol, payload) {
        (58, [133 | 135 | 136, ..]) if frame[12..14] == [0x86, 0xDD] => Ok(Kind::Ndp),
        (17, datagram) => {
            let port = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
            match (port(0), port(2)) {
                (68, 67) => Ok(Kind::Dhcp),
                (OUTER_PORT, _) => wireguard(&datagram[8..]).ok_or(format!("no message of WireGuard: {frame:02x?}")),
                (_, 53) => Ok(Kind::Dns),
                _ => Err(format!("another port: {frame:02x?}")),
            }
        }
        _ => Err(format!("another protocol: {frame:02x?}")),
    }
}

/// By type and length (the paper, 5.4).
fn wireguard(message: &[u8]) -> Option<Kind> {
    match (message.first_chunk()?, message.len()) {
        ([1, 0, 0, 0], 148) | ([2, 0, 0, 0], 92) | ([3, 0, 0, 0], 64) => Some(Kind::Handshake),
        ([4, 0, 0, 0], len) if len >= 32 && (len % 16 == 0 || [MTU, LOWERED_MTU].contains(&(len as u16 - 32))) => {
            Some(Kind::Data)
        }
        _ => None,
    }
}
