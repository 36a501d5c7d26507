//! Handshake messages that come in (the paper, 5.4.2 to 5.4.4, 5.4.7).

use crate::cookie::Checker;
use crate::drops::DropReason;
use crate::messages::{CookieReply, Initiation, Response};
use crate::noise;
use crate::peer::Peer;
use crate::platform::{Platform, Tai64n};
use crate::session::Session;
use crate::timers::constants::MIN_INITIATION_INTERVAL_MS;
use crate::tunnel::{Received, Tunnel};
use core::net::SocketAddr;

impl<P: Platform> Tunnel<P> {
    /// Is an initiation or a response worth the look (5.3)? `sender` is its own index.
    pub(crate) fn admit(
        &mut self,
        now_ms: u64,
        from: SocketAddr,
        message: &[u8],
        sender: u32,
    ) -> Result<(), DropReason> {
        if !self.checker.mac1_is_right(message) {
            return Err(DropReason::Mac1);
        }
        if !self.limiter.is_under_load(now_ms) {
            return Ok(());
        }
        let platform = &mut self.shared.platform;
        let cookie = self.checker.cookie_of(now_ms, from, platform).map_err(|_| DropReason::Unavailable)?;
        if !Checker::mac2_is_right(message, &cookie) {
            let reply = self.checker.reply(message, sender, cookie, platform).map_err(|_| DropReason::Unavailable)?;
            self.shared.send(from, &reply.encode());
            return Err(DropReason::CookieSent);
        }
        self.limiter.allows(now_ms, from.ip()).then_some(()).ok_or(DropReason::RateLimited)
    }

    pub(crate) fn on_initiation(
        &mut self,
        now_ms: u64,
        from: SocketAddr,
        initiation: &Initiation,
    ) -> Result<Received, DropReason> {
        let shared = &mut self.shared;
        let claimed = noise::read_static(&shared.identity, initiation).ok_or(DropReason::Forged)?;
        let initiator = claimed.initiator;
        let number = *self.by_key.get(&initiator).ok_or(DropReason::UnknownPeer)?;
        let peer = self.peers.get_mut(number).ok_or(DropReason::UnknownPeer)?;
        let authentic = claimed.read_stamp(&peer.static_static, initiation).ok_or(DropReason::Forged)?;
        check_stamp(peer, now_ms, authentic.stamp)?;
        peer.last_initiation = Some((authentic.stamp, now_ms));
        let ephemeral = shared.new_ephemeral().ok_or(DropReason::Unavailable)?;
        let local = shared.new_index(number).ok_or(DropReason::Unavailable)?;
        let preshared = peer.config.preshared_key.as_ref();
        let made = authentic.respond(&initiator, preshared, &ephemeral, local, initiation);
        let (response, keys) = made.ok_or(DropReason::Forged).inspect_err(|_| {
            shared.indices.remove(&local);
        })?;
        peer.on_any_received(now_ms, from, crate::messages::INITIATION_BYTES);
        peer.respond(now_ms, from, &response, keys, shared);
        self.forget_dead_indices(number);
        Ok(Received::Taken)
    }

    pub(crate) fn on_response(
        &mut self,
        now_ms: u64,
        from: SocketAddr,
        response: &Response,
    ) -> Result<Received, DropReason> {
        let number = *self.shared.indices.get(&response.receiver).ok_or(DropReason::UnknownIndex)?;
        let peer = self.peers.get_mut(number).ok_or(DropReason::UnknownIndex)?;
        let pending = peer.pending.as_ref().filter(|pending| pending.local == response.receiver);
        let pending = pending.ok_or(DropReason::UnknownIndex)?;
        let preshared = peer.config.preshared_key.as_ref();
        let keys = pending.finish(&self.shared.identity, preshared, response).ok_or(DropReason::Forged)?;
        let session = Session::new(now_ms, pending.local, response.sender, keys, true);
        peer.on_any_received(now_ms, from, crate::messages::RESPONSE_BYTES);
        peer.add_initiated(now_ms, session, &mut self.shared);
        self.forget_dead_indices(number);
        Ok(Received::Taken)
    }

    pub(crate) fn on_cookie_reply(&mut self, now_ms: u64, reply: &CookieReply) -> Result<Received, DropReason> {
        let number = *self.shared.indices.get(&reply.receiver).ok_or(DropReason::UnknownIndex)?;
        let peer = self.peers.get_mut(number).ok_or(DropReason::UnknownIndex)?;
        // It is used when the message is sent again, not before: 6.6.
        peer.signer.take(now_ms, reply).ok_or(DropReason::Forged)?;
        Ok(Received::Taken)
    }

    /// Indices of sessions that were just replaced.
    fn forget_dead_indices(&mut self, number: usize) {
        let Some(peer) = self.peers.get(number) else { return };
        self.shared.indices.retain(|index, of| *of != number || peer.owns(*index));
    }
}

/// An initiation counts once, and not too often (5.1).
fn check_stamp(peer: &Peer, now_ms: u64, stamp: Tai64n) -> Result<(), DropReason> {
    let Some((last, came_ms)) = peer.last_initiation else { return Ok(()) };
    if stamp <= last {
        return Err(DropReason::OldInitiation);
    }
    if now_ms.saturating_sub(came_ms) < MIN_INITIATION_INTERVAL_MS {
        return Err(DropReason::TooManyInitiations);
    }
    Ok(())
}
