//! Packets that wait for a session.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

const MAX_PACKETS: usize = 64;
const MAX_BYTES: usize = 128 << 10;

/// The oldest one goes when there is no room.
#[derive(Default)]
pub struct Staging {
    packets: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Staging {
    /// Copies a packet in; gives how many were lost for it, itself included where there is no memory.
    pub fn push(&mut self, packet: &[u8]) -> u64 {
        let mut lost = 0u64;
        while self.packets.len() >= MAX_PACKETS
            || (!self.is_empty() && self.bytes.saturating_add(packet.len()) > MAX_BYTES)
        {
            self.pop();
            lost = lost.saturating_add(1);
        }
        let mut copy = Vec::new();
        if copy.try_reserve_exact(packet.len()).is_err() || self.packets.try_reserve(1).is_err() {
            return lost.saturating_add(1);
        }
        copy.extend_from_slice(packet);
        self.bytes = self.bytes.saturating_add(copy.len());
        self.packets.push_back(copy);
        lost
    }

    pub fn pop(&mut self) -> Option<Vec<u8>> {
        let packet = self.packets.pop_front()?;
        self.bytes = self.bytes.saturating_sub(packet.len());
        Some(packet)
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Gives how many there were.
    pub fn clear(&mut self) -> u64 {
        let lost = self.packets.len() as u64;
        *self = Self::default();
        lost
    }
}
