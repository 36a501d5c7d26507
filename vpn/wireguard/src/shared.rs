//! What all peers of a tunnel share.

use crate::drops::{DropReason, Drops};
use crate::keys::{KEY_BYTES, PrivateKey};
use crate::noise::Identity;
use crate::outbox::Outbox;
use crate::platform::{Platform, Tai64n};
use crate::timers::constants::MAX_JITTER_MS;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use core::net::SocketAddr;
use zeroize::Zeroizing;

/// Draws until an index is free; with a thousand of them in use, two are hardly ever needed.
const DRAWS: usize = 16;
const JITTERS: u64 = MAX_JITTER_MS + 1;

pub struct Shared<P> {
    pub platform: P,
    pub identity: Identity,
    pub outbox: Outbox,
    pub drops: Drops,
    /// Which peer has a session or handshake of this index.
    pub indices: BTreeMap<u32, usize>,
    /// The last stamp that went into an initiation.
    pub last_stamp: Tai64n,
    /// Largest inner packet; padding does not go beyond it.
    pub mtu: usize,
}

impl<P: Platform> Shared<P> {
    pub fn new_index(&mut self, peer: usize) -> Option<u32> {
        for _ in 0..DRAWS {
            let mut bytes = [0; 4];
            self.platform.random(&mut bytes).ok()?;
            let index = u32::from_le_bytes(bytes);
            if let Entry::Vacant(free) = self.indices.entry(index) {
                free.insert(peer);
                return Some(index);
            }
        }
        None
    }

    pub fn new_ephemeral(&mut self) -> Option<PrivateKey> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        self.platform.random(&mut *bytes).ok()?;
        Some(PrivateKey::new(*bytes))
    }

    /// The time of day, or a little more: later than any stamp before.
    pub fn new_stamp(&mut self) -> Option<Tai64n> {
        let stamp = self.platform.tai64n().ok()?.max(self.last_stamp.successor());
        self.last_stamp = stamp;
        Some(stamp)
    }

    /// Up to a third of a second; none where there is no chance to be had.
    pub fn jitter_ms(&mut self) -> u64 {
        let mut bytes = [0; 2];
        let drawn = self.platform.random(&mut bytes).map(|()| u16::from_le_bytes(bytes));
        u64::from(drawn.unwrap_or(0)) % JITTERS
    }

    /// Into the outbox.
    pub fn send(&mut self, to: SocketAddr, message: &[u8]) -> bool {
        let sent = self.outbox.push(to, message);
        if !sent {
            self.drops.count(DropReason::OutboxFull);
        }
        sent
    }
}
