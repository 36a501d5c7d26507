//! The anti-forensic splitter (LUKS1 On-Disk Format Specification, version 1.2.3, section 2.4): a key blown up to 4000
//! stripes, of which none may be missing to get it back.

use crate::hash::Hash;
use crate::slot::{VOLUME_KEY_BYTES, VolumeKey};
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// Stripes of a key; LUKS2 has no other number.
pub const STRIPES: usize = 4000;
/// Bytes of a split key.
pub const SPLIT_BYTES: usize = VOLUME_KEY_BYTES * STRIPES;

type Stripe = [u8; VOLUME_KEY_BYTES];

/// Splits a key with the random bytes of all stripes but the last, [`SPLIT_BYTES`] in all.
pub fn split(key: &VolumeKey, hash: Hash, random: &mut dyn FnMut(&mut [u8])) -> Zeroizing<Vec<u8>> {
    let mut split = Zeroizing::new(alloc::vec![0; SPLIT_BYTES]);
    let (stripes, _) = split.as_chunks_mut::<VOLUME_KEY_BYTES>();
    if let Some((last, others)) = stripes.split_last_mut() {
        others.iter_mut().for_each(|stripe| random(stripe));
        *last = *gathered(others, hash);
        xor(last, key.bytes());
    }
    split
}

/// The key of a split one.
pub fn merge(split: &[u8], hash: Hash) -> Option<VolumeKey> {
    let (stripes, _) = split.get(..SPLIT_BYTES)?.as_chunks::<VOLUME_KEY_BYTES>();
    let (last, others) = stripes.split_last()?;
    let mut key = VolumeKey::zero();
    *key.bytes_mut() = *gathered(others, hash);
    xor(key.bytes_mut(), last);
    Some(key)
}

/// All stripes but the last, added up and diffused.
fn gathered(stripes: &[Stripe], hash: Hash) -> Zeroizing<Stripe> {
    let mut sum = Zeroizing::new([0; VOLUME_KEY_BYTES]);
    for stripe in stripes {
        xor(&mut sum, stripe);
        diffuse(&mut sum, hash);
    }
    sum
}

fn xor(into: &mut Stripe, with: &Stripe) {
    into.iter_mut().zip(with).for_each(|(into, with)| *into ^= with);
}

/// Each piece, as long as a hash, becomes the hash of its number and itself.
fn diffuse(sum: &mut Stripe, hash: Hash) {
    for (number, piece) in (0u32..).zip(sum.chunks_mut(hash.len_bytes())) {
        let mut state = hash.start();
        state.update(&number.to_be_bytes());
        state.update(piece);
        let hashed = Zeroizing::new(state.finish());
        piece.iter_mut().zip(hashed.iter()).for_each(|(into, from)| *into = *from);
    }
}
