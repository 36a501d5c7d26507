//! The segment (section 3.3): where the payload lies, and how it is encrypted.

use crate::header::Header;
use crate::metadata::{self, Size, printable};
use alloc::format;
use alloc::string::String;

/// The payload of a volume: AES-XTS with a 512-bit key, tweaks that count units of 512 bytes (no `iv_large_sectors`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Where it begins, in bytes from the start of the device with the data.
    pub offset_bytes: u64,
    /// `None`: it reaches to the end of the device.
    pub size_bytes: Option<u64>,
    /// Bytes of a crypto sector: 512 or 4096.
    pub sector_bytes: u32,
    /// What its first crypto sector is counted as, in crypto sectors.
    pub first_tweak: u64,
}

/// The only cipher.
pub const CIPHER: &str = "aes-xts-plain64";

/// The one segment, if the header asks for nothing that Shoji does not have.
pub fn of(header: &Header) -> Result<Segment, String> {
    check_requirements(header)?;
    let metadata = &header.metadata;
    let [(0, segment)] = metadata.segments.0.as_slice() else {
        let count = metadata.segments.0.len();
        return Err(format!(
            "the LUKS2 header has {count} segments or one that is not number 0; Shoji opens headers with segment 0 alone"
        ));
    };
    check(segment)?;
    let sector_bytes = segment.sector_size;
    let whole = |bytes: u64| bytes.is_multiple_of(sector_bytes.into());
    let size_bytes = match segment.size {
        Size::Dynamic => None,
        Size::Bytes(bytes) => Some(bytes),
    };
    // Counted in sectors of 512 bytes, whatever the crypto sector's are.
    let per_sector = u64::from(sector_bytes).checked_div(512).unwrap_or(1);
    let first_tweak = segment.iv_tweak.0.checked_div(per_sector).unwrap_or(0);
    let has_place =
        segment.offset.0.is_multiple_of(512) && segment.offset.0.checked_add(size_bytes.unwrap_or(0)).is_some();
    if !has_place
        || !whole(size_bytes.unwrap_or(0))
        || size_bytes == Some(0)
        || !segment.iv_tweak.0.is_multiple_of(per_sector)
    {
        return Err("the segment of the LUKS2 header has a place, size or tweak that no volume can have; put back a copy of the header".into());
    }
    Ok(Segment { offset_bytes: segment.offset.0, size_bytes, sector_bytes, first_tweak })
}

fn check_requirements(header: &Header) -> Result<(), String> {
    let metadata = &header.metadata;
    let required = &metadata.config.requirements.mandatory.0;
    let in_flight = metadata.keyslots.0.iter().any(|(_, slot)| slot.kind == "reencrypt")
        || metadata.segments.0.iter().any(|(_, segment)| !segment.flags.0.is_empty());
    if in_flight || required.iter().any(|name| name.starts_with("online-reencrypt") || name == "offline-reencrypt") {
        return Err(
            "the LUKS2 volume is in the midst of a reencryption; finish it with `cryptsetup reencrypt --resume-only`"
                .into(),
        );
    }
    match required.first() {
        None => Ok(()),
        Some(name) => Err(format!(
            "the LUKS2 header requires `{}`, which Shoji does not have; make the volume anew without it",
            printable(name)
        )),
    }
}

fn check(segment: &metadata::Segment) -> Result<(), String> {
    if segment.kind != "crypt" {
        return Err(format!(
            "the segment of the LUKS2 header is of type `{}`; Shoji opens `crypt` only",
            printable(&segment.kind)
        ));
    }
    if segment.integrity.is_some() {
        return Err("the LUKS2 volume has authenticated encryption, which Shoji does not have; make it anew without `--integrity`".into());
    }
    if segment.encryption != CIPHER {
        let found = printable(&segment.encryption);
        return Err(format!(
            "the LUKS2 volume is encrypted by `{found}`; Shoji opens `{CIPHER}` with a 512-bit key only"
        ));
    }
    if !matches!(segment.sector_size, 512 | 4096) {
        let found = segment.sector_size;
        return Err(format!(
            "the LUKS2 volume has crypto sectors of {found} bytes; Shoji opens those of 512 and 4096 bytes"
        ));
    }
    Ok(())
}

/// Where the payload of a volume lies on a device of so many bytes whose header lies on it, too, or is detached.
impl Segment {
    /// First byte and length of the payload.
    ///
    /// # Errors
    /// It does not fit, or begins within its own header.
    pub fn place(&self, header_bytes: u64, device_bytes: u64) -> Result<(u64, u64), String> {
        if self.offset_bytes < header_bytes {
            return Err(
                "the payload of the LUKS2 volume begins within its header; put back a copy of the header".into()
            );
        }
        let left = device_bytes.checked_sub(self.offset_bytes);
        let whole = left.map(|left| left.saturating_sub(left.checked_rem(self.sector_bytes.into()).unwrap_or(0)));
        let len_bytes = match (self.size_bytes, whole) {
            (Some(size), Some(whole)) if size <= whole => size,
            (None, Some(whole)) if whole > 0 => whole,
            _ => {
                return Err(format!(
                    "the payload of the LUKS2 volume, from byte {} on, does not fit into {device_bytes} bytes; name the right partition",
                    self.offset_bytes
                ));
            }
        };
        Ok((self.offset_bytes, len_bytes))
    }
}
