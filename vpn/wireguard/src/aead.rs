//! AEAD of the paper's 5.4: ChaCha20-Poly1305 (RFC 8439) with a counter for a nonce; XAEAD, which has nonces of 24 bytes.

use crate::keys::CipherKey;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce, Tag, XChaCha20Poly1305, XNonce};

/// Bytes that tell a forged text.
pub const TAG_BYTES: usize = 16;
/// Bytes of XAEAD's nonce.
pub const XNONCE_BYTES: usize = 24;

/// Encrypts in place; gives the tag. `None`: no cipher takes so many bytes.
#[must_use]
pub fn seal(key: &CipherKey, counter: u64, bound: &[u8], data: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
    let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
    cipher.encrypt_inout_detached(&nonce(counter), bound, data.into()).ok().map(Into::into)
}

/// Decrypts in place; `None`: forged, and `data` is what it was.
#[must_use]
pub fn open(key: &CipherKey, counter: u64, bound: &[u8], data: &mut [u8], tag: &[u8; TAG_BYTES]) -> Option<()> {
    let cipher = ChaCha20Poly1305::new(key.as_bytes().into());
    cipher.decrypt_inout_detached(&nonce(counter), bound, data.into(), <&Tag>::from(tag)).ok()
}

/// As [`seal`], with a random nonce.
pub fn seal_x(key: &CipherKey, nonce: &[u8; XNONCE_BYTES], bound: &[u8], data: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
    let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
    cipher.encrypt_inout_detached(<&XNonce>::from(nonce), bound, data.into()).ok().map(Into::into)
}

/// As [`open`], with the nonce that [`seal_x`] had.
pub fn open_x(
    key: &CipherKey,
    nonce: &[u8; XNONCE_BYTES],
    bound: &[u8],
    data: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Option<()> {
    let cipher = XChaCha20Poly1305::new(key.as_bytes().into());
    cipher.decrypt_inout_detached(<&XNonce>::from(nonce), bound, data.into(), <&Tag>::from(tag)).ok()
}

/// 32 bits of zero, then the counter.
fn nonce(counter: u64) -> Nonce {
    let wide = u128::from(counter).wrapping_shl(32).to_le_bytes();
    let mut nonce = Nonce::default();
    nonce.iter_mut().zip(wide).for_each(|(to, from)| *to = from);
    nonce
}
