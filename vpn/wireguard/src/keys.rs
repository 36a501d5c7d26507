//! Keys. Secret ones are wiped when dropped and cannot be printed.

use x25519_dalek::StaticSecret;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;

/// A peer's name: a point on Curve25519 (RFC 7748 s. 6.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PublicKey(pub [u8; KEY_BYTES]);

impl PublicKey {
    /// One of the few with which every private key agrees on the same: nothing can be kept a secret with it.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        // Whatever the private key: a clamped one is a multiple of the cofactor (RFC 7748 s. 6.1).
        PrivateKey([1; KEY_BYTES]).agree(self).is_none()
    }
}

/// The scalar to a [`PublicKey`].
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_BYTES]);

/// A secret that two peers share beside their key pairs (the paper, 5.2).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_BYTES]);

/// What two key pairs agree on.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct SharedKey([u8; KEY_BYTES]);

/// A key of ChaCha20-Poly1305.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct CipherKey([u8; KEY_BYTES]);

impl PrivateKey {
    /// Any 32 bytes: they are clamped when they are used.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&StaticSecret::from(self.0)).to_bytes())
    }

    /// `None`: the other key is one of the few with which every key agrees on the same.
    pub(crate) fn agree(&self, with: &PublicKey) -> Option<SharedKey> {
        let shared = StaticSecret::from(self.0).diffie_hellman(&with.0.into());
        shared.was_contributory().then(|| SharedKey(shared.to_bytes()))
    }
}

impl PresharedKey {
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl SharedKey {
    pub(crate) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl CipherKey {
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}
