//! The way in and out: datagrams and packets to their peers.

use crate::allowed_ips::{AllowedIps, IpPrefix};
use crate::cookie::Checker;
use crate::drops::{DropReason, Drops};
use crate::ip::Packet;
use crate::keys::{PrivateKey, PublicKey};
use crate::limiter::Limiter;
use crate::messages::{DATA_HEADER_BYTES, DataHeader, Message};
use crate::noise::Identity;
use crate::outbox::{Outbox, Transmit};
use crate::peer::{Peer, PeerConfig};
use crate::platform::{Platform, Tai64n};
use crate::shared::Shared;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::ops::Range;

/// Greatest number of peers.
pub const MAX_PEERS: usize = 256;

/// A peer of this tunnel, in the order of [`Tunnel::add_peer`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PeerId(pub usize);

/// What can be set of a tunnel as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Largest inner packet in bytes, beyond which none is padded. Default 1420.
    pub mtu: u16,
    /// Handshake messages a second beyond which cookies are asked for. Default 64.
    pub handshakes_per_second: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { mtu: 1420, handshakes_per_second: 64 }
    }
}

/// What became of a packet that was to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The buffer holds a datagram from its start on.
    Sealed(Transmit),
    /// It waits for a session; `poll_transmit` will hand it out.
    Kept,
    Dropped(DropReason),
}

/// What became of a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Received {
    /// An inner packet from this peer lies there in the datagram, decrypted.
    Packet(PeerId, Range<usize>),
    /// It was the protocol's own.
    Taken,
    Dropped(DropReason),
}

/// Why a peer cannot be added. Displayed as a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddPeerError {
    TooMany,
    /// There is one of this key.
    Twice,
    /// It is our own key.
    OwnKey,
    /// The key is one of the few that agree on the same with everyone.
    WeakKey,
}

impl fmt::Display for AddPeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => write!(f, "there are more than {MAX_PEERS} peers"),
            Self::Twice => f.write_str("two peers have the same public key"),
            Self::OwnKey => f.write_str("a peer has our own public key"),
            Self::WeakKey => f.write_str("a peer's public key is none that can be kept a secret with"),
        }
    }
}

impl core::error::Error for AddPeerError {}

/// A peer as `wg show` tells it.
#[derive(Clone, Copy, Debug)]
pub struct PeerStatus<'a> {
    pub public_key: PublicKey,
    pub has_preshared_key: bool,
    pub endpoint: Option<SocketAddr>,
    pub allowed_ips: &'a [IpPrefix],
    /// On the clock of the calls.
    pub latest_handshake_ms: Option<u64>,
    /// Bytes of authentic datagrams, both counters wrap.
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    /// 0: off.
    pub persistent_keepalive_s: u16,
    /// There was a handshake, and none has failed since. How long ago does not matter: an idle tunnel has no sessions.
    pub is_reached: bool,
    /// A handshake is under way that goes unanswered.
    pub is_unanswered: bool,
}

/// One interface: a private key, and peers.
pub struct Tunnel<P> {
    pub(crate) shared: Shared<P>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) by_key: BTreeMap<PublicKey, usize>,
    allowed: AllowedIps<usize>,
    pub(crate) checker: Checker,
    pub(crate) limiter: Limiter,
    /// The peer whose turn it is in `poll_transmit`.
    turn: usize,
}

impl<P: Platform> Tunnel<P> {
    #[must_use]
    pub fn new(platform: P, private: PrivateKey, options: Options) -> Self {
        let identity = Identity::new(private);
        Self {
            checker: Checker::new(&identity.public),
            shared: Shared {
                platform,
                identity,
                outbox: Outbox::default(),
                drops: Drops::default(),
                indices: BTreeMap::new(),
                last_stamp: Tai64n::default(),
                mtu: options.mtu.into(),
            },
            peers: Vec::new(),
            by_key: BTreeMap::new(),
            allowed: AllowedIps::new(),
            limiter: Limiter::new(options.handshakes_per_second),
            turn: 0,
        }
    }

    /// Takes effect from the next packet or message on.
    pub fn set_options(&mut self, options: Options) {
        self.shared.mtu = options.mtu.into();
        self.limiter.set_max_per_second(options.handshakes_per_second);
    }

    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.shared.identity.public
    }

    /// # Errors
    /// [`AddPeerError`]; then nothing has changed.
    pub fn add_peer(&mut self, now_ms: u64, config: PeerConfig) -> Result<PeerId, AddPeerError> {
        let number = self.peers.len();
        let key = config.public_key;
        if number >= MAX_PEERS {
            return Err(AddPeerError::TooMany);
        }
        if key == self.public_key() {
            return Err(AddPeerError::OwnKey);
        }
        if self.by_key.contains_key(&key) {
            return Err(AddPeerError::Twice);
        }
        let static_static = self.shared.identity.agree(&key).ok_or(AddPeerError::WeakKey)?;
        self.by_key.insert(key, number);
        config.allowed_ips.iter().for_each(|prefix| self.allowed.insert(*prefix, number));
        self.peers.push(Peer::new(number, now_ms, config, static_static));
        Ok(PeerId(number))
    }

    /// Tells where a peer is, after its name was resolved for instance.
    pub fn set_endpoint(&mut self, peer: PeerId, endpoint: SocketAddr) {
        if let Some(peer) = self.peers.get_mut(peer.0) {
            peer.config.endpoint = Some(endpoint);
        }
    }

    /// A packet to send. It lies in `buffer` from [`DATA_HEADER_BYTES`](crate::DATA_HEADER_BYTES) on, `len` bytes long; behind it there must be
    /// room for up to 15 bytes of padding and [`TAG_BYTES`](crate::TAG_BYTES). It is sealed where it lies, or copied to wait for a session.
    pub fn on_packet(&mut self, now_ms: u64, buffer: &mut [u8], len: usize) -> Sent {
        let sent = self.try_packet(now_ms, buffer, len);
        match sent {
            Ok(Some(transmit)) => Sent::Sealed(transmit),
            Ok(None) => Sent::Kept,
            Err(reason) => {
                self.shared.drops.count(reason);
                Sent::Dropped(reason)
            }
        }
    }

    fn try_packet(&mut self, now_ms: u64, buffer: &mut [u8], len: usize) -> Result<Option<Transmit>, DropReason> {
        let bytes = buffer.get(DATA_HEADER_BYTES..).and_then(|rest| rest.get(..len)).ok_or(DropReason::NoRoom)?;
        let packet = Packet::parse(bytes).ok_or(DropReason::NotIp)?;
        let peer = self.allowed.lookup(packet.destination).ok_or(DropReason::NoRoute)?;
        let peer = self.peers.get_mut(peer).ok_or(DropReason::NoRoute)?;
        peer.on_packet(now_ms, buffer, packet.length, &mut self.shared)
    }

    /// A datagram has come. A packet in it is opened where it lies.
    pub fn on_datagram(&mut self, now_ms: u64, from: SocketAddr, datagram: &mut [u8]) -> Received {
        let received = match Message::parse(datagram) {
            None => Err(DropReason::Malformed),
            Some(Message::Data(header)) => self.on_data(now_ms, from, &header, datagram),
            Some(Message::CookieReply(reply)) => self.on_cookie_reply(now_ms, &reply),
            Some(Message::Initiation(initiation)) => self
                .admit(now_ms, from, datagram, initiation.sender)
                .and_then(|()| self.on_initiation(now_ms, from, &initiation)),
            Some(Message::Response(response)) => self
                .admit(now_ms, from, datagram, response.sender)
                .and_then(|()| self.on_response(now_ms, from, &response)),
        };
        received.unwrap_or_else(|reason| {
            self.shared.drops.count(reason);
            Received::Dropped(reason)
        })
    }

    fn on_data(
        &mut self,
        now_ms: u64,
        from: SocketAddr,
        header: &DataHeader,
        datagram: &mut [u8],
    ) -> Result<Received, DropReason> {
        let number = *self.shared.indices.get(&header.receiver).ok_or(DropReason::UnknownIndex)?;
        let peer = self.peers.get_mut(number).ok_or(DropReason::UnknownIndex)?;
        let session = peer.sessions.by_index(header.receiver).ok_or(DropReason::UnknownIndex)?;
        let length = session.open(now_ms, &mut self.shared.platform, header.counter, datagram)?;
        let about_to_end = session.is_about_to_end(now_ms);
        if peer.sessions.confirm(header.receiver) {
            peer.on_handshake_complete(now_ms);
        }
        peer.on_any_received(now_ms, from, datagram.len());
        if about_to_end {
            peer.initiate(now_ms, false, &mut self.shared);
        }
        if length == 0 {
            return Ok(Received::Taken);
        }
        peer.on_data_received(now_ms);
        let packet = datagram.get(DATA_HEADER_BYTES..).and_then(|rest| rest.get(..length));
        let packet = packet.and_then(Packet::parse).ok_or(DropReason::NotIp)?;
        if self.allowed.lookup(packet.source) != Some(number) {
            return Err(DropReason::SourceNotAllowed);
        }
        let end = DATA_HEADER_BYTES.saturating_add(packet.length);
        Ok(Received::Packet(PeerId(number), DATA_HEADER_BYTES..end))
    }

    /// The next datagram to send, at the start of `out`. Until `None`, after each other call that takes `now_ms`; `out` should have
    /// room for the MTU and [`OVERHEAD_BYTES`](crate::OVERHEAD_BYTES), and at least [`MAX_HANDSHAKE_BYTES`](crate::MAX_HANDSHAKE_BYTES).
    pub fn poll_transmit(&mut self, now_ms: u64, out: &mut [u8]) -> Option<Transmit> {
        while let Some(popped) = self.shared.outbox.pop(out) {
            match popped {
                Ok(transmit) => return Some(transmit),
                Err(()) => self.shared.drops.count(DropReason::NoRoom),
            }
        }
        let count = self.peers.len();
        let (before, from) = self.peers.split_at_mut_checked(self.turn)?;
        for (number, peer) in (self.turn..).zip(from).chain((0..).zip(before)) {
            if let Some(transmit) = peer.poll_transmit(now_ms, out, &mut self.shared) {
                // The next one comes first the next time.
                self.turn = number.saturating_add(1);
                self.turn = if self.turn < count { self.turn } else { 0 };
                return Some(transmit);
            }
        }
        None
    }

    /// When [`Tunnel::on_timeout`] is wanted at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.peers.iter().filter_map(Peer::next_timeout).min()
    }

    /// Serves what is due.
    pub fn on_timeout(&mut self, now_ms: u64) {
        self.peers.iter_mut().for_each(|peer| peer.on_timeout(now_ms, &mut self.shared));
    }

    /// When [`Tunnel::wipe`] is wanted at the latest. For callers that cannot send at the moment, and so leave `on_timeout` alone.
    #[must_use]
    pub fn poll_wipe(&self) -> Option<u64> {
        self.peers.iter().filter_map(Peer::wipe_timeout).min()
    }

    /// Wipes keys whose time is over (6.3), and does nothing else that is due.
    pub fn wipe(&mut self, now_ms: u64) {
        self.peers.iter_mut().for_each(|peer| peer.wipe_if_due(now_ms, &mut self.shared));
    }

    /// Can packets be sent to this peer at once?
    #[must_use]
    pub fn is_up(&mut self, now_ms: u64, peer: PeerId) -> bool {
        self.peers.get_mut(peer.0).is_some_and(|peer| peer.sessions.current(now_ms).is_some())
    }

    /// In the order of their ids.
    pub fn peers(&self) -> impl Iterator<Item = PeerStatus<'_>> {
        self.peers.iter().map(|peer| PeerStatus {
            public_key: peer.config.public_key,
            has_preshared_key: peer.config.preshared_key.is_some(),
            endpoint: peer.config.endpoint,
            allowed_ips: &peer.config.allowed_ips,
            latest_handshake_ms: peer.latest_handshake_ms,
            rx_bytes: peer.rx_bytes,
            tx_bytes: peer.tx_bytes,
            persistent_keepalive_s: peer.config.persistent_keepalive_s,
            is_reached: peer.is_reached(),
            is_unanswered: peer.is_unanswered(),
        })
    }

    #[must_use]
    pub fn drops(&self) -> &Drops {
        &self.shared.drops
    }
}
