//! MAC1, MAC2 and cookies (the paper, 5.3, 5.4.4 and 5.4.7): who does not know our key costs a hash, and who floods us under load must
//! first show that its address is its own.

use crate::aead::{TAG_BYTES, open_x, seal_x};
use crate::hash::{Hash, MAC_BYTES, hash, mac};
use crate::keys::{CipherKey, PublicKey};
use crate::messages::CookieReply;
use crate::platform::{Platform, Unavailable};
use crate::timers::constants::{COOKIE_SECRET_LATENCY_MS, COOKIE_SECRET_MAX_AGE_MS};
use core::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

type Mac = [u8; MAC_BYTES];

/// A message before its MACs, and both of them.
fn split(message: &[u8]) -> Option<(&[u8], &Mac, &Mac)> {
    let (rest, mac2) = message.split_last_chunk()?;
    let (body, mac1) = rest.split_last_chunk()?;
    Some((body, mac1, mac2))
}

fn equal(a: Option<Mac>, b: &Mac) -> bool {
    a.is_some_and(|a| a.ct_eq(b).into())
}

/// Judges what comes in.
pub struct Checker {
    mac1_key: Hash,
    cookie_key: CipherKey,
    /// What cookies are made from, and when it was drawn.
    secret: Option<(Zeroizing<[u8; 32]>, u64)>,
}

impl Checker {
    pub fn new(own: &PublicKey) -> Self {
        let cookie_key = CipherKey::new(hash(&[LABEL_COOKIE, &own.0]));
        Self { mac1_key: hash(&[LABEL_MAC1, &own.0]), cookie_key, secret: None }
    }

    pub fn mac1_is_right(&self, message: &[u8]) -> bool {
        split(message).is_some_and(|(body, mac1, _)| equal(mac(&self.mac1_key, &[body]), mac1))
    }

    /// The cookie that this source has now; it changes with the secret, every two minutes.
    ///
    /// # Errors
    /// No random bytes.
    pub fn cookie_of(
        &mut self,
        now_ms: u64,
        source: SocketAddr,
        platform: &mut impl Platform,
    ) -> Result<Mac, Unavailable> {
        let is_old = |&(_, born): &(_, u64)| now_ms.saturating_sub(born) >= COOKIE_SECRET_MAX_AGE_MS;
        if self.secret.as_ref().is_none_or(is_old) {
            let mut secret = Zeroizing::new([0; 32]);
            platform.random(&mut *secret)?;
            self.secret = Some((secret, now_ms));
        }
        let (secret, _) = self.secret.as_ref().ok_or(Unavailable)?;
        let port = source.port().to_be_bytes();
        let cookie = match source.ip() {
            IpAddr::V4(address) => mac(&**secret, &[&address.octets(), &port]),
            IpAddr::V6(address) => mac(&**secret, &[&address.octets(), &port]),
        };
        cookie.ok_or(Unavailable)
    }

    pub fn mac2_is_right(message: &[u8], cookie: &Mac) -> bool {
        split(message).is_some_and(|(body, mac1, mac2)| equal(mac(cookie, &[body, mac1]), mac2))
    }

    /// Hands out a cookie, bound to the message that it answers.
    pub fn reply(
        &self,
        message: &[u8],
        receiver: u32,
        cookie: Mac,
        platform: &mut impl Platform,
    ) -> Result<CookieReply, Unavailable> {
        let (_, mac1, _) = split(message).ok_or(Unavailable)?;
        let mut reply = CookieReply { receiver, nonce: Default::default(), cookie, tag: [0; TAG_BYTES] };
        platform.random(&mut reply.nonce)?;
        reply.tag = seal_x(&self.cookie_key, &reply.nonce, mac1, &mut reply.cookie).ok_or(Unavailable)?;
        Ok(reply)
    }
}

/// Signs what goes to one peer.
pub struct Signer {
    mac1_key: Hash,
    cookie_key: CipherKey,
    /// MAC1 of the last message, until a cookie was had for it.
    last_mac1: Option<Mac>,
    /// The peer's last cookie, and when it came.
    cookie: Option<(Mac, u64)>,
}

impl Signer {
    pub fn new(peer: &PublicKey) -> Self {
        let cookie_key = CipherKey::new(hash(&[LABEL_COOKIE, &peer.0]));
        Self { mac1_key: hash(&[LABEL_MAC1, &peer.0]), cookie_key, last_mac1: None, cookie: None }
    }

    /// Fills in both MACs at the end of a message.
    pub fn sign(&mut self, now_ms: u64, message: &mut [u8]) -> Option<()> {
        let (rest, mac2) = message.split_last_chunk_mut::<MAC_BYTES>()?;
        let (body, mac1) = rest.split_last_chunk_mut::<MAC_BYTES>()?;
        *mac1 = mac(&self.mac1_key, &[body])?;
        self.last_mac1 = Some(*mac1);
        // The peer's secret may be about to change while the message is on its way.
        let max_age_ms = COOKIE_SECRET_MAX_AGE_MS.saturating_sub(COOKIE_SECRET_LATENCY_MS);
        self.cookie = self.cookie.filter(|&(_, born)| now_ms.saturating_sub(born) < max_age_ms);
        if let Some((cookie, _)) = self.cookie {
            *mac2 = mac(&cookie, &[body, mac1])?;
        }
        Some(())
    }

    /// Takes a cookie for the last message. `None`: forged, or nothing was asked.
    pub fn take(&mut self, now_ms: u64, reply: &CookieReply) -> Option<()> {
        let mut cookie = reply.cookie;
        open_x(&self.cookie_key, &reply.nonce, &self.last_mac1?, &mut cookie, &reply.tag)?;
        self.last_mac1 = None;
        self.cookie = Some((cookie, now_ms));
        Some(())
    }
}
