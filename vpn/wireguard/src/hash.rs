//! HASH, MAC and KDF of the paper's 5.4: BLAKE2s (RFC 7693), keyed BLAKE2s, and HKDF over HMAC-BLAKE2s.

use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, Mac, Update};
use blake2::{Blake2s256, Blake2sMac};
use hmac::{KeyInit, SimpleHmac};
use zeroize::Zeroizing;

pub type Hash = [u8; 32];
/// Bytes of a [`mac`].
pub const MAC_BYTES: usize = 16;

/// HASH of the parts, one behind the other.
pub fn hash(parts: &[&[u8]]) -> Hash {
    let mut state = Blake2s256::new();
    parts.iter().for_each(|part| Digest::update(&mut state, part));
    Digest::finalize(state).into()
}

/// MAC with a key of 16 or 32 bytes.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; MAC_BYTES]> {
    // Fails for keys that are empty or longer than 32 bytes.
    let mut state = Blake2sMac::<U16>::new_with_salt_and_personal(Some(key), &[], &[]).ok()?;
    parts.iter().for_each(|part| Update::update(&mut state, part));
    Some(FixedOutput::finalize_fixed(state).into())
}

/// KDF: as many keys of `input` as are asked for, each from the one before.
pub fn kdf<const N: usize>(chain: &Hash, input: &[u8]) -> Zeroizing<[Hash; N]> {
    let secret = Zeroizing::new(hmac(chain, &[input]));
    let mut keys = Zeroizing::new([[0; 32]; N]);
    let mut last = Zeroizing::new([0; 32]);
    for (number, key) in (1u8..).zip(keys.iter_mut()) {
        let before: &[u8] = if number == 1 { &[] } else { &*last };
        *key = hmac(&secret, &[before, &[number]]);
        *last = *key;
    }
    keys
}

fn hmac(key: &Hash, parts: &[&[u8]]) -> Hash {
    // A key of any length is taken.
    let state = SimpleHmac::<Blake2s256>::new_from_slice(key);
    let mut state = state.unwrap_or_else(|_| SimpleHmac::new(&Default::default()));
    parts.iter().for_each(|part| Mac::update(&mut state, part));
    state.finalize().into_bytes().into()
}
