//! The message authentication codes of `abi::shell`.

use abi::shell::{CLIENT_BYTES, MAC_BYTES, MIN_KEY_BYTES, Mac, label};
use alloc::vec::Vec;
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The key of the configuration.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SharedKey(Vec<u8>);

impl SharedKey {
    /// Takes the bytes over. `None`: they are fewer than [`MIN_KEY_BYTES`].
    pub fn new(mut bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        (bytes.len() >= MIN_KEY_BYTES).then(|| Self(core::mem::take(&mut *bytes)))
    }
}

/// What no other start of the VMM has. It need not be secret, but nobody chooses it.
pub type BootNonce = [u8; 40];

/// What both sides know once the challenge is there.
#[derive(Clone, Copy)]
pub(crate) struct Meeting {
    pub client: [u8; CLIENT_BYTES],
    pub time_ns: u64,
    pub challenge: Mac,
}

impl Meeting {
    /// As the VMM makes it. Times begin anew with each start of it, so they alone would let old challenges come again.
    pub fn new(key: &SharedKey, boot: &BootNonce, client: [u8; CLIENT_BYTES], time_ns: u64) -> Self {
        let challenge = start(&key.0, label::CHALLENGE).chain_update(client).chain_update(time_ns.to_le_bytes());
        Self { client, time_ns, challenge: finish(challenge.chain_update(boot)) }
    }

    fn mac(&self, key: &SharedKey, label: &str) -> Hmac<Sha256> {
        let mac = start(&key.0, label).chain_update(self.client).chain_update(self.time_ns.to_le_bytes());
        mac.chain_update(self.challenge)
    }

    pub fn proof(&self, key: &SharedKey) -> Mac {
        finish(self.mac(key, label::PROOF))
    }

    /// In constant time.
    pub fn is_proof(&self, key: &SharedKey, proof: &Mac) -> bool {
        self.mac(key, label::PROOF).verify_slice(proof).is_ok()
    }

    pub fn session_key(&self, key: &SharedKey) -> SessionKey {
        SessionKey(finish(self.mac(key, label::SESSION)))
    }
}

/// The key of one session.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SessionKey([u8; MAC_BYTES]);

impl SessionKey {
    fn mac(&self, count: u64, line: &str) -> Hmac<Sha256> {
        start(&self.0, label::LINE).chain_update(count.to_le_bytes()).chain_update(line)
    }

    pub fn line(&self, count: u64, line: &str) -> Mac {
        finish(self.mac(count, line))
    }

    /// In constant time.
    pub fn is_line(&self, count: u64, line: &str, mac: &Mac) -> bool {
        self.mac(count, line).verify_slice(mac).is_ok()
    }
}

fn start(key: &[u8], label: &str) -> Hmac<Sha256> {
    // HMAC takes a key of any length, so this is the key's.
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    mac.chain_update(label)
}

fn finish(mac: Hmac<Sha256>) -> Mac {
    mac.finalize().into_bytes().into()
}
