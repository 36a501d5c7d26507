//! Key slots: each holds the master key of a configuration, wrapped by a key that comes from what somebody knows or has.
//!
//! | method | wrapping key |
//! |---|---|
//! | pass phrase | Argon2id (RFC 9106), version 13h, one lane, 32 bytes |
//! | recovery key, key file | keyed BLAKE2b (RFC 7693) of nothing, 32 bytes; the salt, and a personalization for each method |
//!
//! It wraps by XChaCha20-Poly1305; name and method of the slot are authenticated with the master key.

use alloc::boxed::Box;
use alloc::string::String;
use core::ops::RangeInclusive;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, Output};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::recovery::RecoveryKey;
use crate::validate::{self, MAX_TEXT_BYTES};

/// Greatest number of slots.
pub const MAX_SLOTS: usize = 8;

/// Bytes of a key file that opens a slot.
pub const RAW_KEY_BYTES: RangeInclusive<usize> = 32..=64;

/// Greatest length of a pass phrase.
pub const MAX_PASS_PHRASE_BYTES: usize = 256;

pub const NONCE_BYTES: usize = 24;
pub const TAG_BYTES: usize = 16;
const SALT_BYTES: usize = 16;

/// Random bytes that a new slot takes: salt, then nonce.
pub const SLOT_RANDOM_BYTES: usize = SALT_BYTES + NONCE_BYTES;

/// A block is 1 KiB.
const BLOCKS_PER_MIB: u32 = 1024;

/// 256 bits: a master key or one that wraps it. Wiped when dropped, and boxed, so that a move leaves no copy.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(pub Box<[u8; 32]>);

/// One way to open a configuration.
#[derive(Clone, Serialize, Deserialize)]
pub struct Slot {
    /// For messages.
    pub name: String,
    pub method: Method,
    nonce: [u8; NONCE_BYTES],
    wrapped: [u8; 32],
    tag: [u8; TAG_BYTES],
}

/// What opens a slot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Method {
    PassPhrase { salt: [u8; SALT_BYTES], cost: Cost },
    RecoveryKey { salt: [u8; SALT_BYTES] },
    RawKey { salt: [u8; SALT_BYTES] },
}

/// What it takes to try a pass phrase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub memory_mib: u32,
    pub passes: u32,
}

/// What somebody knows or has.
pub enum Credential<'a> {
    /// The memory is for Argon2id, [`Cost::blocks`] long or longer, and is wiped after use.
    PassPhrase(&'a [u8], &'a mut [Block]),
    RecoveryKey(&'a RecoveryKey),
    /// Content of a key file.
    RawKey(&'a [u8]),
}

/// Why a slot does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is for something of another kind.
    OtherMethod,
    /// Too little memory was given.
    Memory { needed_mib: u32 },
    /// It does not fit, or the slot was altered.
    Wrong,
}

impl Cost {
    /// Blocks of memory that Argon2id takes.
    #[must_use]
    pub fn blocks(self) -> usize {
        usize::try_from(self.memory_mib.saturating_mul(BLOCKS_PER_MIB)).unwrap_or(usize::MAX)
    }
}

impl Method {
    /// What a pass phrase costs; `None`: this is another method.
    #[must_use]
    pub fn cost(&self) -> Option<Cost> {
        match self {
            Self::PassPhrase { cost, .. } => Some(*cost),
            _ => None,
        }
    }
}

impl Slot {
    /// Wraps `master`. `cost` is for a pass phrase.
    pub fn new(
        name: &str,
        credential: &mut Credential<'_>,
        cost: Cost,
        random: [u8; SLOT_RANDOM_BYTES],
        master: &SecretKey,
    ) -> Result<Self, Refused> {
        let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
        salt.iter_mut().chain(&mut nonce).zip(random).for_each(|(to, from)| *to = from);
        let method = match credential {
            Credential::PassPhrase(..) => Method::PassPhrase { salt, cost },
            Credential::RecoveryKey(_) => Method::RecoveryKey { salt },
            Credential::RawKey(_) => Method::RawKey { salt },
        };
        let key = wrapping_key(&method, credential)?;
        let mut slot = Self { name: name.into(), method, nonce, wrapped: *master.0, tag: [0; TAG_BYTES] };
        let bound = slot.bound().ok_or(Refused::Wrong)?;
        slot.tag = seal(&key, &nonce, &bound, &mut slot.wrapped).ok_or(Refused::Wrong)?;
        Ok(slot)
    }

    /// The master key.
    pub fn open(&self, credential: &mut Credential<'_>) -> Result<SecretKey, Refused> {
        let key = wrapping_key(&self.method, credential)?;
        let mut master = SecretKey(Box::new(self.wrapped));
        let bound = self.bound().ok_or(Refused::Wrong)?;
        open(&key, &self.nonce, &bound, &mut *master.0, &self.tag).map(|()| master).ok_or(Refused::Wrong)
    }

    /// Whether trying it takes no more than [`validate`](crate::validate()) allows for a new one.
    pub fn is_bounded(&self) -> bool {
        let cost_fits =
            self.method.cost().is_none_or(|cost| validate::cost_problem(cost.memory_mib, cost.passes).is_none());
        cost_fits && self.name.len() <= MAX_TEXT_BYTES
    }

    /// What is authenticated with the master key.
    fn bound(&self) -> Option<[u8; BOUND_BYTES]> {
        let mut bytes = [0; BOUND_BYTES];
        postcard::to_slice(&(CONTEXT, &self.name, &self.method), &mut bytes).ok()?;
        Some(bytes)
    }
}

const CONTEXT: &str = "shoji slot";
/// More than a name of the greatest length and a method take.
const BOUND_BYTES: usize = 128;

fn wrapping_key(method: &Method, credential: &mut Credential<'_>) -> Result<SecretKey, Refused> {
    match (method, credential) {
        (Method::PassPhrase { salt, cost }, Credential::PassPhrase(text, memory)) => {
            let memory = memory.get_mut(..cost.blocks()).ok_or(Refused::Memory { needed_mib: cost.memory_mib })?;
            from_pass_phrase(text, salt, *cost, memory).ok_or(Refused::Wrong)
        }
        (Method::RecoveryKey { salt }, Credential::RecoveryKey(key)) => {
            from_random(&key.0, salt, b"shoji recovery").ok_or(Refused::Wrong)
        }
        (Method::RawKey { salt }, Credential::RawKey(key)) if RAW_KEY_BYTES.contains(&key.len()) => {
            from_random(key, salt, b"shoji raw key").ok_or(Refused::Wrong)
        }
        (Method::RawKey { .. }, Credential::RawKey(_)) => Err(Refused::Wrong),
        _ => Err(Refused::OtherMethod),
    }
}

/// Wipes `memory`, which tells the pass phrase to whoever reads it.
fn from_pass_phrase(text: &[u8], salt: &[u8], cost: Cost, memory: &mut [Block]) -> Option<SecretKey> {
    if text.len() > MAX_PASS_PHRASE_BYTES {
        return None;
    }
    let kib = cost.memory_mib.checked_mul(BLOCKS_PER_MIB)?;
    let mut key = SecretKey(Box::new([0; 32]));
    let parameters = Params::new(kib, cost.passes, 1, Some(key.0.len())).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let result = argon2.hash_password_into_with_memory(text, salt, &mut *key.0, &mut *memory);
    memory.iter_mut().for_each(Block::zeroize);
    result.ok().map(|()| key)
}

/// Without a cost: what is random cannot be guessed.
fn from_random(secret: &[u8], salt: &[u8], personalization: &[u8]) -> Option<SecretKey> {
    let mac = Blake2bMac::<U32>::new_with_salt_and_personal(Some(secret), salt, personalization).ok()?;
    let mut key = SecretKey(Box::new([0; 32]));
    let into: &mut Output<Blake2bMac<U32>> = (&mut *key.0).into();
    mac.finalize_into(into);
    Some(key)
}

/// Encrypts in place by XChaCha20-Poly1305; gives the tag.
pub fn seal(key: &SecretKey, nonce: &[u8; NONCE_BYTES], bound: &[u8], data: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
    let cipher = XChaCha20Poly1305::new((&*key.0).into());
    let tag = cipher.encrypt_inout_detached(<&XNonce>::from(nonce), bound, data.into()).ok()?;
    Some(tag.into())
}

/// Decrypts in place; `None`: not what was encrypted.
pub fn open(
    key: &SecretKey,
    nonce: &[u8; NONCE_BYTES],
    bound: &[u8],
    data: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Option<()> {
    let cipher = XChaCha20Poly1305::new((&*key.0).into());
    cipher.decrypt_inout_detached(<&XNonce>::from(nonce), bound, data.into(), <&Tag>::from(tag)).ok()
}
