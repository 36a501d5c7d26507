//! Sessions: two keys, a counter, what was seen (the paper, 5.4.6), and which of a peer's three is used for what (6.3).

use crate::aead::TAG_BYTES;
use crate::drops::DropReason;
use crate::messages::{DATA_HEADER_BYTES, DataHeader};
use crate::noise::SessionKeys;
use crate::platform::Platform;
use crate::replay::Window;
use crate::timers::constants::{
    KEEPALIVE_TIMEOUT_MS, REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME_MS, REKEY_AFTER_MESSAGES, REKEY_AFTER_TIME_MS,
    REKEY_TIMEOUT_MS,
};
use alloc::boxed::Box;

pub struct Session {
    /// By which the peer names it.
    pub local: u32,
    /// By which we name it to the peer.
    pub remote: u32,
    keys: SessionKeys,
    /// Counter of the next packet.
    pub next_counter: u64,
    seen: Window,
    born_ms: u64,
    initiator: bool,
    /// It was old when a packet came, and a new one has been asked for.
    asked_to_renew: bool,
}

impl Session {
    pub fn new(now_ms: u64, local: u32, remote: u32, keys: SessionKeys, initiator: bool) -> Self {
        let seen = Window::new();
        Self { local, remote, keys, next_counter: 0, seen, born_ms: now_ms, initiator, asked_to_renew: false }
    }

    fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.born_ms)
    }

    /// May packets still be sent or taken with it (6.2)?
    pub fn is_usable(&self, now_ms: u64) -> bool {
        self.age_ms(now_ms) < REJECT_AFTER_TIME_MS && self.next_counter < REJECT_AFTER_MESSAGES
    }

    /// After a packet was sent: is it time for a new one (6.2)?
    pub fn is_to_be_renewed(&self, now_ms: u64) -> bool {
        self.next_counter > REKEY_AFTER_MESSAGES || (self.initiator && self.age_ms(now_ms) >= REKEY_AFTER_TIME_MS)
    }

    /// After a packet has come: as [`Self::is_to_be_renewed`], so late that a handshake just fits before its end; once (6.2).
    pub fn is_about_to_end(&mut self, now_ms: u64) -> bool {
        const LATE_MS: u64 = REJECT_AFTER_TIME_MS - KEEPALIVE_TIMEOUT_MS - REKEY_TIMEOUT_MS;
        let asks = self.initiator && !self.asked_to_renew && self.age_ms(now_ms) >= LATE_MS;
        self.asked_to_renew |= asks;
        asks
    }

    /// Seals `padded` bytes behind room for the header; gives the length of the datagram. `None`: no room for header and tag.
    pub fn seal(&mut self, platform: &mut impl Platform, buffer: &mut [u8], padded: usize) -> Option<usize> {
        let (header, rest) = buffer.split_first_chunk_mut::<DATA_HEADER_BYTES>()?;
        let (packet, rest) = rest.split_at_mut_checked(padded)?;
        let tag = rest.first_chunk_mut::<TAG_BYTES>()?;
        let counter = self.next_counter;
        // A counter is used once, whatever becomes of the packet.
        self.next_counter = counter.checked_add(1)?;
        *header = DataHeader { receiver: self.remote, counter }.encode();
        *tag = platform.seal(&self.keys.send, counter, packet)?;
        Some(header.len().saturating_add(packet.len()).saturating_add(tag.len()))
    }

    /// Opens a packet in place; gives its length, padding included.
    pub fn open(
        &mut self,
        now_ms: u64,
        platform: &mut impl Platform,
        counter: u64,
        datagram: &mut [u8],
    ) -> Result<usize, DropReason> {
        if self.age_ms(now_ms) >= REJECT_AFTER_TIME_MS || counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::ExpiredSession);
        }
        let (_, sealed) = datagram.split_first_chunk_mut::<DATA_HEADER_BYTES>().ok_or(DropReason::Malformed)?;
        let (packet, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(DropReason::Malformed)?;
        platform.open(&self.keys.receive, counter, packet, tag).ok_or(DropReason::Forged)?;
        // Only what is authentic may move the window.
        if self.seen.accept(counter) { Ok(packet.len()) } else { Err(DropReason::Replayed) }
    }
}

/// A peer's sessions.
#[derive(Default)]
pub struct Sessions {
    /// What is still on its way under the one before.
    previous: Option<Box<Session>>,
    /// What is sent.
    current: Option<Box<Session>>,
    /// We have responded, and the initiator has not yet shown that it got that.
    next: Option<Box<Session>>,
}

impl Sessions {
    /// The one to send with.
    pub fn current(&mut self, now_ms: u64) -> Option<&mut Session> {
        self.current.as_deref_mut().filter(|session| session.is_usable(now_ms))
    }

    pub fn by_index(&mut self, local: u32) -> Option<&mut Session> {
        let all = [&mut self.previous, &mut self.current, &mut self.next];
        all.into_iter().flatten().map(Box::as_mut).find(|session| session.local == local)
    }

    pub fn owns(&self, local: u32) -> bool {
        [&self.previous, &self.current, &self.next].into_iter().flatten().any(|session| session.local == local)
    }

    /// Ours, just responded to: it is in use at once.
    pub fn add_initiated(&mut self, session: Session) {
        self.previous = self.next.take().or_else(|| self.current.take());
        self.current = Some(Box::new(session));
    }

    /// The peer's, to which we just respond.
    pub fn add_responded(&mut self, session: Session) {
        self.previous = None;
        self.next = Some(Box::new(session));
    }

    /// A packet came under this index: if it is the next session's, that is now the current one.
    pub fn confirm(&mut self, local: u32) -> bool {
        let confirmed = self.next.take_if(|next| next.local == local);
        let Some(session) = confirmed else { return false };
        self.previous = self.current.replace(session);
        true
    }

    /// Forgets all keys.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }
}
