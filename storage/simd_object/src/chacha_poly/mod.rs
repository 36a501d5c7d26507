//! ChaCha20-Poly1305 (RFC 8439, 2.8), in place.
//!
//! The first pass over the key stream gives the key of Poly1305 in block 0 and, with what is left of it, the first bytes of the text.
//! What is forged is never decrypted. No branch, index or length depends on a key or on a text; keys and key stream are wiped.

mod element;
mod lanes;
mod stream;
mod words;

use abi::seal::{KEY_BYTES, NONCE_BYTES, TAG_BYTES};
use core::arch::x86_64::{__m128i, __m256i, __m512i};
use element::Poly1305;
use stream::{BLOCK_BYTES, Stream};
use words::Words;

/// What an engine makes the key stream and the tag with.
///
/// # Safety
/// See [`Words`] and [`lanes::Lanes`].
pub trait Engine {
    type Words: Words;
    unsafe fn absorb(poly: &mut Poly1305, data: &[u8]);
}

/// SSE2, Poly1305 in general-purpose registers.
pub struct Sse2;
/// AVX2.
pub struct Avx2;
/// AVX-512F and AVX-512 IFMA.
pub struct Avx512;

impl Engine for Sse2 {
    type Words = __m128i;
    #[inline(always)]
    unsafe fn absorb(poly: &mut Poly1305, data: &[u8]) {
        poly.padded(data);
    }
}

impl Engine for Avx2 {
    type Words = __m256i;
    #[inline(always)]
    unsafe fn absorb(poly: &mut Poly1305, data: &[u8]) {
        // SAFETY: see the trait.
        unsafe { lanes::absorb::<[__m256i; 5]>(poly, data) };
    }
}

impl Engine for Avx512 {
    type Words = __m512i;
    #[inline(always)]
    unsafe fn absorb(poly: &mut Poly1305, data: &[u8]) {
        // SAFETY: see the trait.
        unsafe { lanes::absorb::<[__m512i; 3]>(poly, data) };
    }
}

/// Encrypts `text` and sets the tag of `bound` and it. `OPEN`: decrypts it if this is its tag; otherwise it stays as it is. Was it?
///
/// # Safety
/// See [`Engine`].
#[inline(always)]
pub unsafe fn transform<E: Engine, const OPEN: bool>(
    key: &[u8; KEY_BYTES],
    nonce: &[u8; NONCE_BYTES],
    bound: &[u8],
    text: &mut [u8],
    tag: &mut [u8; TAG_BYTES],
) -> bool {
    let mut stream = Stream::<E::Words>::new(key, nonce);
    let (mut poly, mut skip, mut done) = (None, BLOCK_BYTES, 0);
    loop {
        // SAFETY: the caller's promise; the stream is advanced first.
        unsafe {
            stream.advance();
            if poly.is_none() {
                let poly = poly.insert(Poly1305::new(&stream.first_half()));
                // One comparison of 128 bits: it tells nothing but whether they differ.
                if OPEN && self::tag::<E>(poly, bound, text) ^ u128::from_le_bytes(*tag) != 0 {
                    stream.wipe();
                    return false;
                }
            }
            let end = text.len().min(done + Stream::<E::Words>::BYTES - skip);
            stream.apply(skip, text.get_mut(done..end).unwrap_or_default());
            (skip, done) = (0, end);
        }
        if done == text.len() {
            break;
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        stream.wipe();
        if !OPEN && let Some(poly) = &mut poly {
            *tag = self::tag::<E>(poly, bound, text).to_le_bytes();
        }
    }
    true
}

/// RFC 8439, 2.8: both filled up to whole blocks, then their lengths.
#[inline(always)]
unsafe fn tag<E: Engine>(poly: &mut Poly1305, bound: &[u8], text: &[u8]) -> u128 {
    // SAFETY: the caller's promise.
    unsafe {
        poly.padded(bound);
        E::absorb(poly, text);
    }
    poly.block(bound.len() as u128 | (text.len() as u128) << 64);
    let tag = poly.tag();
    poly.wipe();
    tag
}

#[cfg(test)]
mod tests;
