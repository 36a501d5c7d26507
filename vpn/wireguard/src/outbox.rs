//! Handshake messages and cookies that wait to be sent.

use crate::messages::MAX_HANDSHAKE_BYTES;
use alloc::collections::VecDeque;
use core::net::SocketAddr;

/// Messages at a time; one that finds no room is lost, as on the way.
const MAX_MESSAGES: usize = 64;

/// A datagram in the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where it goes.
    pub to: SocketAddr,
    /// Bytes from the start of the buffer.
    pub len: usize,
}

struct Waiting {
    to: SocketAddr,
    len: usize,
    bytes: [u8; MAX_HANDSHAKE_BYTES],
}

#[derive(Default)]
pub struct Outbox(VecDeque<Waiting>);

impl Outbox {
    /// `false`: there is no room.
    pub fn push(&mut self, to: SocketAddr, message: &[u8]) -> bool {
        let mut bytes = [0; MAX_HANDSHAKE_BYTES];
        let room = bytes.get_mut(..message.len()).filter(|_| self.0.len() < MAX_MESSAGES);
        let Some(room) = room else { return false };
        room.copy_from_slice(message);
        if self.0.try_reserve(1).is_err() {
            return false;
        }
        self.0.push_back(Waiting { to, len: message.len(), bytes });
        true
    }

    /// Moves the oldest one into `out`. One for which that is too small is lost: `Err`.
    pub fn pop(&mut self, out: &mut [u8]) -> Option<Result<Transmit, ()>> {
        let Waiting { to, len, bytes } = self.0.pop_front()?;
        let (Some(room), Some(message)) = (out.get_mut(..len), bytes.get(..len)) else { return Some(Err(())) };
        room.copy_from_slice(message);
        Some(Ok(Transmit { to, len }))
    }
}
