//! WireGuard's messages (whitepaper of 2020-06-01, s. 5.4), as far as they can be told without keys.

use super::Wrong;
use std::collections::HashMap;
use std::collections::HashSet;

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
const COOKIE: u8 = 3;
const DATA: u8 = 4;
const INITIATION_BYTES: usize = 148;
const RESPONSE_BYTES: usize = 92;
const COOKIE_BYTES: usize = 64;
/// Header and authentication tag; a packet is padded to a multiple of 16, but not beyond the tunnel's MTU.
const DATA_OVERHEAD: usize = 32;
const PADDING: usize = 16;
/// The ephemeral key of an initiation and of a response: new each time.
const EPHEMERAL_BYTES: usize = 32;

/// A right message.
pub struct Message {
    /// From 0: initiation, response, cookie, data.
    pub kind: usize,
    /// Data without a packet.
    pub is_keepalive: bool,
}

/// What a sender has said so far.
#[derive(Default)]
pub struct Judge {
    /// Last counter by the receiver's index.
    counters: HashMap<[u8; 4], u64>,
    ephemerals: HashSet<[u8; EPHEMERAL_BYTES]>,
}

impl Judge {
    pub fn check(&mut self, message: &[u8], mtu: usize) -> Result<Message, Wrong> {
        let [kind, 0, 0, 0, ..] = *message else {
            return Err(format!("no WireGuard message: {:02x?}", &message[..message.len().min(8)]));
        };
        let len = message.len();
        let right = match kind {
            INITIATION => len == INITIATION_BYTES && self.is_new(message, 8),
            RESPONSE => len == RESPONSE_BYTES && self.is_new(message, 12),
            COOKIE => len == COOKIE_BYTES,
            DATA => {
                len.checked_sub(DATA_OVERHEAD).is_some_and(|padded| padded.is_multiple_of(PADDING) || padded == mtu)
            }
            _ => return Err(format!("a WireGuard message of type {kind}")),
        };
        if !right {
            return Err(format!("a WireGuard message of type {kind} with {len} bytes, or one that was sent before"));
        }
        if kind == DATA {
            self.count(message)?;
        }
        Ok(Message { kind: usize::from(kind - 1), is_keepalive: kind == DATA && len == DATA_OVERHEAD })
    }

    fn is_new(&mut self, message: &[u8], at: usize) -> bool {
        message.get(at..).and_then(|rest| rest.first_chunk()).is_some_and(|key| self.ephemerals.insert(*key))
    }

    /// A sender never goes back, nor repeats itself.
    fn count(&mut self, message: &[u8]) -> Result<(), Wrong> {
        let (Some(receiver), Some(counter)) = (message[4..].first_chunk(), message[8..].first_chunk()) else {
            return Err("data without a counter".into());
        };
        let counter = u64::from_le_bytes(*counter);
        match self.counters.insert(*receiver, counter) {
            Some(last) if counter <= last => Err(format!("data number {counter} behind {last} of the same session")),
            _ => Ok(()),
        }
    }
}
