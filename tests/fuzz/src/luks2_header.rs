//! A LUKS2 header as the VMM reads it from a disk: any bytes.
//!
//! Input: a byte of flags, then the bytes of the disk. Flag bit 0: both checksums are made right, so that the text is
//! reached; bit 1: the bytes are the JSON text of an otherwise good header.

use luks2::{Block, Cost, Header, New, UnlockError, VolumeKey, parse};
use sha2::{Digest, Sha256};

const COPY_BYTES: usize = 0x4000;
const BINARY_BYTES: usize = 4096;
const CHECKSUM: std::ops::Range<usize> = 448..480;
const PHRASE: &[u8] = b"correct horse";
const AREA_BYTES: u64 = 512 << 10;
/// What a try may cost here; a slot that wants more is not tried.
const BLOCKS: usize = 64;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    let mut disk = if flags & 2 != 0 { with_text(bytes) } else { bytes.to_vec() };
    if flags & 1 != 0 {
        seal(&mut disk);
    }
    let mut read_bytes = 0;
    let header = parse(&mut |at, data: &mut [u8]| {
        read_bytes += data.len();
        read(&disk, at, data)
    });
    assert!(read_bytes <= 10 * BINARY_BYTES + (8 << 20), "{read_bytes} bytes were read");
    match header {
        Err(error) => assert!(printable(&error.to_string())),
        Ok(header) => look(&header, &disk),
    }
}

/// What was accepted holds what its types promise.
fn look(header: &Header, disk: &[u8]) {
    assert!(luks2::HEADER_SIZES.contains(&header.copy_bytes()) && header.area_bytes() <= (8 << 20) + (128 << 20));
    assert!(header.slots().len() <= 32 && printable(header.label()) && printable(header.uuid()));
    assert!(header.argon2_blocks() <= luks2::MAX_ARGON2_KIB as usize);
    match header.segment() {
        Err(why) => assert!(printable(&why)),
        Ok(segment) => {
            assert!(matches!(segment.sector_bytes, 512 | 4096));
            if let Ok((first, len)) = segment.place(header.area_bytes(), 1 << 30) {
                let end = first.checked_add(len).expect("a place is within numbers");
                assert!(end <= 1 << 30 && len > 0 && first >= header.area_bytes());
            }
        }
    }
    let cheap = |slot: &Result<luks2::Slot<'_>, String>| match slot {
        Ok(slot) if slot.digest_iterations() > 100_000 => false,
        Ok(slot) => match slot.kdf {
            luks2::Kdf::Argon2 { memory_kib, passes, .. } => memory_kib as usize > BLOCKS || passes <= 4,
            luks2::Kdf::Pbkdf2 { iterations, .. } => iterations <= 1000,
        },
        Err(why) => printable(why),
    };
    if header.slots().iter().all(|(_, slot)| cheap(slot)) {
        let mut memory = vec![Block::new(); BLOCKS];
        let opened = header.unlock(PHRASE, &mut memory, &mut |at, data| read(disk, at, data));
        match opened {
            Ok(_) | Err(UnlockError::Wrong) => {}
            Err(error) => assert!(printable(&error.to_string())),
        }
    }
}

fn printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn read(disk: &[u8], at: u64, data: &mut [u8]) -> Result<(), String> {
    assert!(at.is_multiple_of(4096) && data.len().is_multiple_of(4096), "a read of {} bytes at {at}", data.len());
    let at = usize::try_from(at).map_err(|_| "no such place")?;
    let from = disk.get(at..).and_then(|rest| rest.get(..data.len())).ok_or("behind the end")?;
    data.copy_from_slice(from);
    Ok(())
}

/// The good header with another text in both copies.
fn with_text(text: &[u8]) -> Vec<u8> {
    static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    let mut disk = GOOD.get_or_init(good).clone();
    let len = text.len().min(COPY_BYTES - BINARY_BYTES);
    for copy in [0, COPY_BYTES] {
        let area = &mut disk[copy + BINARY_BYTES..copy + COPY_BYTES];
        area.fill(0);
        area[..len].copy_from_slice(&text[..len]);
    }
    seal(&mut disk);
    disk
}

/// Both checksums of a header of 16 KiB, as SHA-256.
fn seal(disk: &mut [u8]) {
    for copy in disk.chunks_exact_mut(COPY_BYTES).take(2) {
        copy[448..512].fill(0);
        let sum = Sha256::digest(&copy);
        copy[CHECKSUM].copy_from_slice(&sum);
    }
}

/// A header that opens.
fn good() -> Vec<u8> {
    let mut state = 1u32;
    let mut random = |into: &mut [u8]| {
        into.iter_mut().for_each(|byte| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        });
    };
    let mut key = [0; 64];
    random(&mut key);
    let cost = Cost { memory_kib: 32, passes: 4 };
    let new = New { label: "fuzz", sector_bytes: 4096, area_bytes: AREA_BYTES, payload_at: AREA_BYTES, cost };
    let mut memory = vec![Block::new(); cost.blocks()];
    luks2::create(&new, PHRASE, &VolumeKey::new(&mut key), &mut memory, &mut random).unwrap_or_default()
}

/// A text with a second slot, by PBKDF2, and what headers may ask for beyond what Shoji has.
const RICH: &str = r#"{"keyslots":{"0":{"type":"luks2","key_size":64,"priority":2,"af":{"type":"luks1","stripes":4000,"hash":"sha512"},
"area":{"type":"raw","offset":"32768","size":"258048","encryption":"aes-xts-plain64","key_size":64},
"kdf":{"type":"pbkdf2","hash":"sha512","iterations":1000,"salt":"AAAAAAAAAAAAAAAAAAAAAA=="}},
"1":{"type":"reencrypt","mode":"reencrypt"}},"tokens":{"0":{"type":"x","keyslots":["0"],"more":[[[{}]]]}},
"segments":{"0":{"type":"crypt","offset":"524288","size":"8192","iv_tweak":"8","encryption":"aes-xts-plain64","sector_size":4096,
"integrity":{"type":"aead"},"flags":["in-reencryption"]}},
"digests":{"0":{"type":"pbkdf2","keyslots":["0","1"],"segments":["0"],"hash":"sha256","iterations":1000,"salt":"AAAA","digest":
"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
"config":{"json_size":"12288","keyslots_size":"491520","flags":["allow-discards"],"requirements":{"mandatory":["online-reencrypt"]}}}"#;

/// A good header, one whose primary copy is damaged, and texts alone.
pub fn seeds() -> Vec<Vec<u8>> {
    let good = good();
    let area = &good[BINARY_BYTES..COPY_BYTES];
    let text = area.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut damaged = good.clone();
    damaged[9] ^= 1;
    vec![
        [&[0], good.as_slice()].concat(),
        [&[0], damaged.as_slice()].concat(),
        [&[1], &good[..2 * COPY_BYTES]].concat(),
        [&[2], text].concat(),
        [&[2], RICH.as_bytes()].concat(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_good_seeds_open_and_the_seal_is_that_of_the_header() {
        let good = good();
        for flaw in [None, Some(9)] {
            let mut disk = good.clone();
            flaw.into_iter().for_each(|at: usize| disk[at] ^= 1);
            let header = parse(&mut |at, data: &mut [u8]| read(&disk, at, data)).unwrap();
            let mut memory = vec![Block::new(); header.argon2_blocks()];
            assert!(header.unlock(PHRASE, &mut memory, &mut |at, data| read(&disk, at, data)).is_ok());
        }
        let mut sealed = good.clone();
        seal(&mut sealed);
        assert!(sealed == good);
        let rich = with_text(RICH.as_bytes());
        assert!(parse(&mut |at, data: &mut [u8]| read(&rich, at, data)).is_ok(), "the text of a seed is read");
    }
}
