//! One peer: its handshake, its sessions, its timers (the paper, 6).

use crate::cookie::Signer;
use crate::drops::DropReason;
use crate::keys::{PresharedKey, PublicKey, SharedKey};
use crate::messages::{DATA_HEADER_BYTES, PADDING_BYTES, Response};
use crate::noise::{self, Pending, SessionKeys};
use crate::outbox::Transmit;
use crate::platform::{Platform, Tai64n};
use crate::session::{Session, Sessions};
use crate::shared::Shared;
use crate::staging::Staging;
use crate::timers::constants::{KEEPALIVE_TIMEOUT_MS, REKEY_ATTEMPT_TIME_MS, REKEY_TIMEOUT_MS, ZERO_KEYS_AFTER_MS};
use crate::timers::{Timer, Timers};
use crate::{IpPrefix, OVERHEAD_BYTES};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Initiations without an answer after which a peer is taken to be away: one or two may have been lost.
const UNREACHED_AFTER: u32 = 3;

/// A peer as it is configured.
pub struct PeerConfig {
    pub public_key: PublicKey,
    pub preshared_key: Option<PresharedKey>,
    /// Where it is; `None`: it will come to us.
    pub endpoint: Option<SocketAddr>,
    /// Inner addresses that are its.
    pub allowed_ips: Vec<IpPrefix>,
    /// Seconds between packets that keep the way open; 0: off.
    pub persistent_keepalive_s: u16,
}

pub struct Peer {
    /// Its place among the tunnel's peers.
    number: usize,
    pub config: PeerConfig,
    pub static_static: SharedKey,
    pub signer: Signer,
    pub sessions: Sessions,
    pub pending: Option<Pending>,
    /// Stamp of its last initiation, and when that came.
    pub last_initiation: Option<(Tai64n, u64)>,
    staging: Staging,
    timers: Timers,
    /// An empty packet is to be sent.
    keepalive_wanted: bool,
    /// Data came while the keepalive timer ran.
    another_keepalive: bool,
    /// When we sent the last handshake message.
    handshake_sent_ms: Option<u64>,
    /// Since when initiations are repeated.
    attempt_since_ms: u64,
    /// Initiations since anything authentic has come.
    unanswered: u32,
    pub latest_handshake_ms: Option<u64>,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

impl Peer {
    pub fn new(number: usize, now_ms: u64, config: PeerConfig, static_static: SharedKey) -> Self {
        let mut timers = Timers::default();
        if config.persistent_keepalive_s != 0 {
            timers.arm(Timer::Persistent, now_ms);
        }
        Self {
            number,
            signer: Signer::new(&config.public_key),
            config,
            static_static,
            sessions: Sessions::default(),
            pending: None,
            last_initiation: None,
            staging: Staging::default(),
            timers,
            keepalive_wanted: false,
            another_keepalive: false,
            handshake_sent_ms: None,
            attempt_since_ms: 0,
            unanswered: 0,
            latest_handshake_ms: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }

    /// Is this index one of its sessions', or of its handshake?
    pub fn owns(&self, local: u32) -> bool {
        self.sessions.owns(local) || self.pending.as_ref().is_some_and(|pending| pending.local == local)
    }

    pub fn next_timeout(&self) -> Option<u64> {
        self.timers.next()
    }

    pub fn wipe_timeout(&self) -> Option<u64> {
        self.timers.at(Timer::ZeroKeys)
    }

    /// Serves the timer of [`Peer::wipe_timeout`] alone.
    pub fn wipe_if_due(&mut self, now_ms: u64, shared: &mut Shared<impl Platform>) {
        if self.timers.take(Timer::ZeroKeys, now_ms) {
            self.wipe(shared);
        }
    }

    /// There was a handshake, and it does not seem that another one would fail.
    pub fn is_reached(&self) -> bool {
        self.latest_handshake_ms.is_some() && self.unanswered < UNREACHED_AFTER
    }

    /// A handshake is under way whose first message was lost or is not answered.
    pub fn is_unanswered(&self) -> bool {
        self.unanswered > 1 && self.timers.is_armed(Timer::Retransmit)
    }

    /// Begins a handshake, or repeats an initiation; at most one every [`REKEY_TIMEOUT_MS`] (6.4).
    pub fn initiate(&mut self, now_ms: u64, is_retry: bool, shared: &mut Shared<impl Platform>) {
        if !is_retry {
            self.attempt_since_ms = now_ms;
        }
        let Some(endpoint) = self.config.endpoint else { return };
        let earliest = self.handshake_sent_ms.map_or(0, |sent| sent.saturating_add(REKEY_TIMEOUT_MS));
        if now_ms < earliest {
            // Whatever wants a session here is not forgotten.
            if !self.timers.is_armed(Timer::Retransmit) {
                self.timers.arm(Timer::Retransmit, earliest.saturating_add(shared.jitter_ms()));
            }
            return;
        }
        self.handshake_sent_ms = Some(now_ms);
        self.unanswered = self.unanswered.saturating_add(1);
        // What a handshake leaves behind is wiped as a session is.
        if !self.timers.is_armed(Timer::ZeroKeys) {
            self.timers.arm(Timer::ZeroKeys, now_ms.saturating_add(ZERO_KEYS_AFTER_MS));
        }
        self.timers.arm(Timer::Retransmit, now_ms.saturating_add(REKEY_TIMEOUT_MS).saturating_add(shared.jitter_ms()));
        let Some(message) = self.make_initiation(now_ms, shared) else {
            return shared.drops.count(DropReason::Unavailable);
        };
        self.on_any_sent(now_ms);
        self.send_message(endpoint, &message, shared);
    }

    fn make_initiation(
        &mut self,
        now_ms: u64,
        shared: &mut Shared<impl Platform>,
    ) -> Option<[u8; crate::messages::INITIATION_BYTES]> {
        let (ephemeral, stamp) = (shared.new_ephemeral()?, shared.new_stamp()?);
        if let Some(given_up) = self.pending.take() {
            shared.indices.remove(&given_up.local);
        }
        let local = shared.new_index(self.number)?;
        let peer = &self.config.public_key;
        let made = noise::initiate(&shared.identity, peer, &self.static_static, ephemeral, local, stamp);
        let Some((pending, initiation)) = made else {
            shared.indices.remove(&local);
            return None;
        };
        self.pending = Some(pending);
        let mut message = initiation.encode();
        self.signer.sign(now_ms, &mut message)?;
        Some(message)
    }

    /// Answers an initiation.
    pub fn respond(
        &mut self,
        now_ms: u64,
        from: SocketAddr,
        response: &Response,
        keys: SessionKeys,
        shared: &mut Shared<impl Platform>,
    ) {
        self.sessions.add_responded(Session::new(now_ms, response.sender, response.receiver, keys, false));
        self.timers.arm(Timer::ZeroKeys, now_ms.saturating_add(ZERO_KEYS_AFTER_MS));
        self.handshake_sent_ms = Some(now_ms);
        let mut message = response.encode();
        if self.signer.sign(now_ms, &mut message).is_none() {
            return shared.drops.count(DropReason::Unavailable);
        }
        self.on_any_sent(now_ms);
        self.send_message(from, &message, shared);
    }

    fn send_message(&mut self, to: SocketAddr, message: &[u8], shared: &mut Shared<impl Platform>) {
        if shared.send(to, message) {
            self.tx_bytes = self.tx_bytes.wrapping_add(message.len() as u64);
        }
    }

    /// Takes the session of a handshake that we began.
    pub fn add_initiated(&mut self, now_ms: u64, session: Session, shared: &mut Shared<impl Platform>) {
        self.pending = None;
        self.sessions.add_initiated(session);
        self.timers.arm(Timer::ZeroKeys, now_ms.saturating_add(ZERO_KEYS_AFTER_MS));
        self.on_handshake_complete(now_ms);
        // The first packet shows the responder that its response was had (5.4.6).
        self.want_keepalive(now_ms, shared);
    }

    pub fn on_handshake_complete(&mut self, now_ms: u64) {
        self.timers.disarm(Timer::Retransmit);
        self.latest_handshake_ms = Some(now_ms);
    }

    /// Takes a packet that lies at [`DATA_HEADER_BYTES`] of `buffer`, sealed in place. `Ok(None)`: it was kept for later.
    pub fn on_packet(
        &mut self,
        now_ms: u64,
        buffer: &mut [u8],
        len: usize,
        shared: &mut Shared<impl Platform>,
    ) -> Result<Option<Transmit>, DropReason> {
        if self.config.endpoint.is_none() {
            return Err(DropReason::NoEndpoint);
        }
        // Packets that wait go first.
        if self.staging.is_empty() && self.sessions.current(now_ms).is_some() {
            return self.seal(now_ms, buffer, len, shared).map(Some);
        }
        let packet = buffer.get(DATA_HEADER_BYTES..).and_then(|packet| packet.get(..len));
        let lost = self.staging.push(packet.ok_or(DropReason::NoRoom)?);
        shared.drops.add(DropReason::NotDelivered, lost);
        if self.sessions.current(now_ms).is_none() {
            self.initiate(now_ms, false, shared);
        }
        Ok(None)
    }

    /// Seals a packet of `len` bytes, 0 for a keepalive.
    fn seal(
        &mut self,
        now_ms: u64,
        buffer: &mut [u8],
        len: usize,
        shared: &mut Shared<impl Platform>,
    ) -> Result<Transmit, DropReason> {
        let to = self.config.endpoint.ok_or(DropReason::NoEndpoint)?;
        let padded = len.next_multiple_of(PADDING_BYTES).min(shared.mtu.max(len));
        if buffer.len() < padded.saturating_add(OVERHEAD_BYTES) {
            return Err(DropReason::NoRoom);
        }
        let packet = buffer.get_mut(DATA_HEADER_BYTES..).and_then(|packet| packet.get_mut(..padded));
        packet.and_then(|packet| packet.get_mut(len..)).ok_or(DropReason::NoRoom)?.fill(0);
        let session = self.sessions.current(now_ms).ok_or(DropReason::ExpiredSession)?;
        let sealed = session.seal(&mut shared.platform, buffer, padded).ok_or(DropReason::NoRoom)?;
        let renew = session.is_to_be_renewed(now_ms);
        self.tx_bytes = self.tx_bytes.wrapping_add(sealed as u64);
        self.on_any_sent(now_ms);
        if len != 0 && !self.timers.is_armed(Timer::Silence) {
            let wait_ms = KEEPALIVE_TIMEOUT_MS.saturating_add(REKEY_TIMEOUT_MS).saturating_add(shared.jitter_ms());
            self.timers.arm(Timer::Silence, now_ms.saturating_add(wait_ms));
        }
        if renew {
            self.initiate(now_ms, false, shared);
        }
        Ok(Transmit { to, len: sealed })
    }

    /// The next packet that waited, or the keepalive that is due, sealed into `out`.
    pub fn poll_transmit(
        &mut self,
        now_ms: u64,
        out: &mut [u8],
        shared: &mut Shared<impl Platform>,
    ) -> Option<Transmit> {
        while !self.staging.is_empty() && self.sessions.current(now_ms).is_some() {
            let packet = self.staging.pop()?;
            self.keepalive_wanted = false;
            let room = out.get_mut(DATA_HEADER_BYTES..).and_then(|room| room.get_mut(..packet.len()));
            let sealed = match room {
                None => Err(DropReason::NoRoom),
                Some(room) => {
                    room.copy_from_slice(&packet);
                    self.seal(now_ms, out, packet.len(), shared)
                }
            };
            match sealed {
                Ok(transmit) => return Some(transmit),
                Err(reason) => shared.drops.count(reason),
            }
        }
        let wanted = core::mem::take(&mut self.keepalive_wanted) && self.sessions.current(now_ms).is_some();
        wanted.then(|| self.seal(now_ms, out, 0, shared).map_err(|reason| shared.drops.count(reason)).ok())?
    }

    /// Something goes out, an empty packet if there is nothing else; without a session, a handshake.
    fn want_keepalive(&mut self, now_ms: u64, shared: &mut Shared<impl Platform>) {
        if self.sessions.current(now_ms).is_none() {
            self.initiate(now_ms, false, shared);
        } else {
            self.keepalive_wanted = self.staging.is_empty();
        }
    }

    /// Anything authentic was sent.
    fn on_any_sent(&mut self, now_ms: u64) {
        self.timers.disarm(Timer::Keepalive);
        self.on_any_passed(now_ms);
    }

    /// Anything authentic has come, from here.
    pub fn on_any_received(&mut self, now_ms: u64, from: SocketAddr, bytes: usize) {
        self.config.endpoint = Some(from);
        self.rx_bytes = self.rx_bytes.wrapping_add(bytes as u64);
        self.unanswered = 0;
        self.timers.disarm(Timer::Silence);
        self.on_any_passed(now_ms);
    }

    fn on_any_passed(&mut self, now_ms: u64) {
        let every_ms = u64::from(self.config.persistent_keepalive_s).saturating_mul(1000);
        if every_ms != 0 {
            self.timers.arm(Timer::Persistent, now_ms.saturating_add(every_ms));
        }
    }

    /// A packet with something in it has come: it is answered, with nothing if need be.
    pub fn on_data_received(&mut self, now_ms: u64) {
        if self.timers.is_armed(Timer::Keepalive) {
            self.another_keepalive = true;
        } else {
            self.timers.arm(Timer::Keepalive, now_ms.saturating_add(KEEPALIVE_TIMEOUT_MS));
        }
    }

    /// Serves the timers that are due.
    pub fn on_timeout(&mut self, now_ms: u64, shared: &mut Shared<impl Platform>) {
        for timer in self.timers.take_due(now_ms) {
            match timer {
                Timer::Retransmit => self.repeat_initiation(now_ms, shared),
                Timer::Keepalive => {
                    self.want_keepalive(now_ms, shared);
                    if core::mem::take(&mut self.another_keepalive) {
                        self.timers.arm(Timer::Keepalive, now_ms.saturating_add(KEEPALIVE_TIMEOUT_MS));
                    }
                }
                Timer::Silence => self.initiate(now_ms, false, shared),
                Timer::ZeroKeys => self.wipe(shared),
                Timer::Persistent => {
                    self.want_keepalive(now_ms, shared);
                    // Where nothing could be sent, the next try is not forgotten.
                    self.on_any_passed(now_ms);
                }
            }
        }
    }

    fn repeat_initiation(&mut self, now_ms: u64, shared: &mut Shared<impl Platform>) {
        if now_ms.saturating_sub(self.attempt_since_ms) < REKEY_ATTEMPT_TIME_MS {
            return self.initiate(now_ms, true, shared);
        }
        // 6.4: given up, until there is something new to send.
        self.timers.disarm(Timer::Keepalive);
        shared.drops.add(DropReason::NotDelivered, self.staging.clear());
        if !self.timers.is_armed(Timer::ZeroKeys) {
            self.timers.arm(Timer::ZeroKeys, now_ms.saturating_add(ZERO_KEYS_AFTER_MS));
        }
    }

    fn wipe(&mut self, shared: &mut Shared<impl Platform>) {
        self.sessions.wipe();
        self.pending = None;
        shared.indices.retain(|_, peer| *peer != self.number);
    }
}
