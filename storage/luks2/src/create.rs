//! A new header, as `cryptsetup luksFormat` would make it: one key slot, one segment.

use crate::af::{self, SPLIT_BYTES};
use crate::binary::{self, BINARY_BYTES, Binary, HEADER_SIZES, MAX_JSON_TEXT_BYTES, Which};
use crate::error::CreateError;
use crate::hash::{Hash, MAX_HASH_BYTES};
use crate::segment::CIPHER;
use crate::slot::{self, Kdf, MAX_ARGON2_KIB, MAX_ARGON2_KIB_PASSED, VOLUME_KEY_BYTES, VolumeKey};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use argon2::Block;
use base64ct::{Base64, Encoding};
use mediator::disk::SectorTransform;
use xts::Aes256Xts;
use zeroize::Zeroizing;

/// The area of a header and of a key slot is a multiple of so many bytes.
pub const AREA_ALIGN: u64 = 4096;
/// Bytes of a key slot's area.
pub const SLOT_AREA_BYTES: u64 = (SPLIT_BYTES as u64).next_multiple_of(AREA_ALIGN);
/// Size of a copy; as `cryptsetup` takes it.
const COPY_BYTES: u64 = 0x4000;
const COPIES_BYTES: u64 = 2 * COPY_BYTES;
/// Longest label: one byte is for the zero behind it.
const MAX_LABEL_BYTES: usize = 47;
const SALT_BYTES: usize = 32;
/// The volume key is random and cannot be guessed, so nothing depends on the cost of its digest.
const DIGEST_ITERATIONS: u32 = 100_000;
/// As `cryptsetup` wants it.
const LEAST_PASSES: u32 = 4;

const _: () = assert!(HEADER_SIZES[0] == COPY_BYTES && MAX_JSON_TEXT_BYTES as u64 > COPY_BYTES);

/// What a pass phrase costs who tries it: Argon2id with one lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Cost {
    /// Blocks of 1 KiB that it takes.
    #[must_use]
    pub fn blocks(self) -> usize {
        usize::try_from(self.memory_kib).unwrap_or(usize::MAX)
    }

    fn kdf(self) -> Option<Kdf> {
        let Self { memory_kib, passes } = self;
        let passed = u64::from(memory_kib).saturating_mul(passes.into());
        let fits = (32..=MAX_ARGON2_KIB).contains(&memory_kib) && passes >= LEAST_PASSES;
        let kdf = Kdf::Argon2 { memory_kib, passes, lanes: 1, independent: false };
        (fits && passed <= MAX_ARGON2_KIB_PASSED).then_some(kdf)
    }
}

/// What a new header is to be.
pub struct New<'a> {
    pub label: &'a str,
    /// Bytes of a crypto sector: 512 or 4096.
    pub sector_bytes: u32,
    /// Bytes that the header may take, key slots included.
    pub area_bytes: u64,
    /// Where the payload begins, in bytes; 0 for a detached header.
    pub payload_at: u64,
    pub cost: Cost,
}

/// The first bytes of a new header: both copies and the area of key slot 0, encrypted. What lies behind them in the
/// header's area counts for nothing. `random` fills with random bytes; `memory` is for Argon2id, [`Cost::blocks`] long,
/// and wiped.
///
/// # Errors
/// See [`CreateError`].
pub fn create(
    new: &New<'_>,
    text: &[u8],
    key: &VolumeKey,
    memory: &mut [Block],
    random: &mut dyn FnMut(&mut [u8]),
) -> Result<Vec<u8>, CreateError> {
    new.check()?;
    let mut salts = [[0; SALT_BYTES]; 2];
    salts.iter_mut().for_each(|salt| random(salt));
    let [slot_salt, digest_salt] = &salts;
    let kdf = new.cost.kdf().ok_or(CreateError::Cost)?;
    let area = sealed(key, kdf, text, slot_salt, memory, random).ok_or(CreateError::Cost)?;
    let mut digest = [0; 32];
    Hash::Sha256.pbkdf2(key.bytes(), digest_salt, DIGEST_ITERATIONS, &mut digest);
    let json = json(new, slot_salt, digest_salt, &digest);
    let binary = Binary {
        size_bytes: COPY_BYTES,
        sequence: 1,
        label: new.label.into(),
        subsystem: String::new(),
        uuid: uuid(random),
        hash: Hash::Sha256,
        checksum: [0; MAX_HASH_BYTES],
    };
    let mut bytes = Vec::new();
    for which in [Which::Primary, Which::Secondary(COPY_BYTES)] {
        let mut salt = [0; 64];
        random(&mut salt);
        bytes.extend(binary::encode(&binary, which, &salt, json.as_bytes()));
    }
    bytes.extend(area.iter());
    Ok(bytes)
}

impl New<'_> {
    /// Can it be made? Costs nothing.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn check(&self) -> Result<(), CreateError> {
        if !matches!(self.sector_bytes, 512 | 4096) {
            return Err(CreateError::SectorBytes(self.sector_bytes));
        }
        let smallest = COPIES_BYTES.saturating_add(SLOT_AREA_BYTES);
        let attached = self.payload_at != 0;
        if self.area_bytes < smallest
            || !self.area_bytes.is_multiple_of(AREA_ALIGN)
            || (attached && self.payload_at < self.area_bytes)
        {
            return Err(CreateError::Area { smallest });
        }
        if self.label.len() > MAX_LABEL_BYTES || !self.label.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(CreateError::Label);
        }
        self.cost.kdf().map(|_| ()).ok_or(CreateError::Cost)
    }
}

/// The area of a key slot.
fn sealed(
    key: &VolumeKey,
    kdf: Kdf,
    text: &[u8],
    salt: &[u8],
    memory: &mut [Block],
    random: &mut dyn FnMut(&mut [u8]),
) -> Option<Zeroizing<Vec<u8>>> {
    let slot_key = slot::derive(kdf, Hash::Sha256, text, salt, memory)?;
    let cipher = Aes256Xts::new(&slot_key, 512).ok()?;
    let mut area = af::split(key, Hash::Sha256, random);
    cipher.encrypt(0, &mut area);
    // Encrypted now, so what a reallocation leaves tells nothing.
    area.resize(usize::try_from(SLOT_AREA_BYTES).ok()?, 0);
    Some(area)
}

/// The JSON text. Nothing in it needs an escape.
fn json(new: &New<'_>, slot_salt: &[u8], digest_salt: &[u8], digest: &[u8]) -> String {
    let key = VOLUME_KEY_BYTES;
    let keyslots = format!(
        r#"{{"0":{{"type":"luks2","key_size":{key},"af":{{"type":"luks1","stripes":{stripes},"hash":"sha256"}},"area":{{"type":"raw","offset":"{COPIES_BYTES}","size":"{SLOT_AREA_BYTES}","encryption":"{CIPHER}","key_size":{key}}},"kdf":{{"type":"argon2id","time":{time},"memory":{memory},"cpus":1,"salt":"{salt}"}}}}}}"#,
        stripes = af::STRIPES,
        time = new.cost.passes,
        memory = new.cost.memory_kib,
        salt = Base64::encode_string(slot_salt),
    );
    let segments = format!(
        r#"{{"0":{{"type":"crypt","offset":"{}","size":"dynamic","iv_tweak":"0","encryption":"{CIPHER}","sector_size":{}}}}}"#,
        new.payload_at, new.sector_bytes,
    );
    let digests = format!(
        r#"{{"0":{{"type":"pbkdf2","keyslots":["0"],"segments":["0"],"hash":"sha256","iterations":{DIGEST_ITERATIONS},"salt":"{}","digest":"{}"}}}}"#,
        Base64::encode_string(digest_salt),
        Base64::encode_string(digest),
    );
    let json_bytes = COPY_BYTES.saturating_sub(BINARY_BYTES as u64);
    let keyslots_bytes = new.area_bytes.saturating_sub(COPIES_BYTES);
    format!(
        r#"{{"keyslots":{keyslots},"tokens":{{}},"segments":{segments},"digests":{digests},"config":{{"json_size":"{json_bytes}","keyslots_size":"{keyslots_bytes}"}}}}"#
    )
}

/// A random UUID (RFC 9562, version 4).
fn uuid(random: &mut dyn FnMut(&mut [u8])) -> String {
    let mut bytes = [0; 16];
    random(&mut bytes);
    let number = u128::from_be_bytes(bytes) & !(0xF << 76 | 0x3 << 62) | (0x4 << 76 | 0x2 << 62);
    let text = format!("{number:032x}");
    let part = |range| text.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}
