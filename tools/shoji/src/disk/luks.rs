//! LUKS2 headers on devices: read, made, copied, put back.

use std::{io, iter};

use super::{Device, content};
use luks2::{Block, Cost, Header, New, ReadError, VOLUME_KEY_BYTES, VolumeKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Where the payload of an attached header begins, as `cryptsetup` has it.
pub const PAYLOAD_AT: u64 = 16 << 20;
/// Bytes of both copies of a header that is made here.
pub const NEW_COPIES_BYTES: u64 = 2 * luks2::HEADER_SIZES[0];
/// The most that a detached header takes of a partition.
const MOST_HEADER_BYTES: u64 = 16 << 20;
/// What a header file has: GRUB reads all of it, and it has room for 16 key slots.
const FILE_BYTES: u64 = 4 << 20;

/// Reads the header of a device.
///
/// # Errors
/// See [`ReadError`].
pub fn read(device: &Device) -> Result<Header, ReadError> {
    if device.len_bytes() < luks2::HEADER_SIZES[0] {
        return Err(ReadError::NotLuks);
    }
    luks2::parse(&mut |at, data| device.read_at(at, data).map_err(|error| error.to_string()))
}

/// Is this the UUID of a header on the device, of which no copy need be good?
pub fn has_uuid(device: &Device, uuid: &str) -> bool {
    let mut bytes = [0; 4096];
    let mut places = iter::once(0).chain(luks2::HEADER_SIZES);
    places.any(|at| device.read_at(at, &mut bytes).is_ok() && luks2::uuid(&bytes).as_deref() == Some(uuid))
}

/// Where a new header goes.
#[derive(Clone, Copy)]
pub enum Room<'a> {
    /// The beginning of the volume's device.
    Volume,
    /// A device of its own.
    Device(&'a Device),
    /// A new file.
    File,
}

/// What a new volume is to be.
pub struct Plan<'a> {
    pub label: &'a str,
    pub sector_bytes: u32,
    pub cost: Cost,
    pub room: Room<'a>,
}

impl Plan<'_> {
    /// Bytes that the header takes where it goes.
    ///
    /// # Errors
    /// A sentence: the devices are too small.
    pub fn area_bytes(&self, payload: &Device) -> Result<u64, String> {
        let smallest = luks2::SLOT_AREA_BYTES + 2 * luks2::HEADER_SIZES[0];
        if let Room::File = self.room {
            return Ok(FILE_BYTES);
        }
        if let Room::Device(header) = self.room {
            let area = header.len_bytes().min(MOST_HEADER_BYTES) & !(luks2::AREA_ALIGN - 1);
            return if area >= smallest {
                Ok(area)
            } else {
                Err(format!("{} has {} bytes; a header takes {smallest} or more", header.name(), header.len_bytes()))
            };
        }
        if payload.len_bytes() < 2 * PAYLOAD_AT {
            let mib = (2 * PAYLOAD_AT) >> 20;
            let name = payload.name();
            return Err(format!("{name} has less than {mib} MiB; the header takes half of that, so detach it"));
        }
        Ok(PAYLOAD_AT)
    }

    fn header(&self, area_bytes: u64) -> New<'_> {
        let payload_at = if let Room::Volume = self.room { area_bytes } else { 0 };
        New { label: self.label, sector_bytes: self.sector_bytes, area_bytes, payload_at, cost: self.cost }
    }

    /// Can [`make`] make it? Before anybody is asked for a pass phrase.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self, area_bytes: u64) -> Result<(), String> {
        self.header(area_bytes).check().map_err(|error| error.to_string())
    }
}

/// The bytes of a new header with a new volume key, for [`write`].
///
/// # Errors
/// A sentence.
pub fn make(plan: &Plan<'_>, area_bytes: u64, phrase: &str, memory: &mut [Block]) -> Result<Vec<u8>, String> {
    let new = plan.header(area_bytes);
    let mut failure = None;
    let mut random = |bytes: &mut [u8]| failure = getrandom::fill(bytes).err().or(failure);
    let mut key = Zeroizing::new([0; VOLUME_KEY_BYTES]);
    random(&mut *key);
    let key = VolumeKey::new(&mut key);
    let header =
        luks2::create(&new, phrase.as_bytes(), &key, memory, &mut random).map_err(|error| error.to_string())?;
    match failure {
        None => Ok(header),
        Some(error) => Err(format!("the operating system gives no random numbers: {error}")),
    }
}

/// Writes a header and zeros up to the end of its area, so that nothing older is found there. `copies_bytes`: both copies.
///
/// What was there is gone before anything else changes, and the new copies come last: wherever a kill or a power cut stops
/// it, there is the new header with its key slots, or none.
///
/// # Errors
/// As the operating system says.
pub fn write(
    device: &Device,
    header: &[u8],
    copies_bytes: u64,
    area_bytes: u64,
    progress: &dyn Fn(u64),
) -> io::Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    const BINARY_BYTES: u64 = 4096;
    let piece = |from: u64, to: u64| {
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
        let rest = usize::try_from(from).ok().and_then(|from| header.get(from..)).unwrap_or_default();
        bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        bytes
    };
    let copies_bytes = copies_bytes.min(area_bytes);
    for at in iter::once(0).chain(luks2::HEADER_SIZES).filter(|at| at + BINARY_BYTES <= area_bytes) {
        device.write_at(at, &[0; BINARY_BYTES as usize])?;
    }
    device.sync()?;
    let mut at = copies_bytes;
    while at < area_bytes {
        let end = area_bytes.min(at + PIECE_BYTES);
        device.write_at(at, &piece(at, end))?;
        at = end;
        progress(at);
    }
    device.sync()?;
    for (from, to) in [(copies_bytes / 2, copies_bytes), (0, copies_bytes / 2)] {
        device.write_at(from, &piece(from, to))?;
        device.sync()?;
    }
    Ok(())
}

/// What a header's first copy was overwritten with, if that is known to be something.
pub fn overwritten(device: &Device, header: &Header) -> Option<String> {
    let lost = header.copies().primary == Err(luks2::Flaw::Magic);
    if lost { content(device) } else { None }
}

/// All bytes of a header: both copies and the key slots.
///
/// # Errors
/// As the operating system says.
pub fn bytes(device: &Device, header: &Header) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(header.area_bytes()).map_err(io::Error::other)?];
    device.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// What there is to be said of a header.
pub fn to_json(header: &Header) -> Value {
    let copies = header.copies();
    let copy = |copy: &Result<u64, luks2::Flaw>| match copy {
        Ok(sequence) => json!({ "good": true, "sequence": sequence }),
        Err(flaw) => json!({ "good": false, "flaw": flaw.to_string() }),
    };
    let payload = match header.segment() {
        Ok(segment) => json!({
            "offset-bytes": segment.offset_bytes,
            "size-bytes": segment.size_bytes,
            "sector-bytes": segment.sector_bytes,
            "cipher": "aes-xts-plain64",
            "key-bits": VOLUME_KEY_BYTES * 8,
        }),
        Err(why) => json!({ "unsupported": why }),
    };
    let slots = header.slots().into_iter().map(|(number, slot)| match slot {
        Ok(slot) => json!({ "number": number, "usable": true, "takes": slot.kdf.to_string(), "memory-kib": slot.kdf.memory_kib() }),
        Err(why) => json!({ "number": number, "usable": false, "why": why }),
    });
    json!({
        "uuid": header.uuid(),
        "label": header.label(),
        "sequence": header.sequence(),
        "header-bytes": header.area_bytes(),
        "primary": copy(&copies.primary),
        "secondary": copy(&copies.secondary),
        "payload": payload,
        "slots": slots.collect::<Vec<_>>(),
    })
}
