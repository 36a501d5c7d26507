//! The JSON text (section 3) as bounded types. Only what this crate uses is kept; objects that it does not know are read
//! over without being stored.
//!
//! Numbers of more than 32 bits stand as text in the JSON, because JSON readers lose bits of them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64ct::{Base64, Encoding};
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Most objects of a kind, and the end of their numbers (section 3).
pub const MAX_OBJECTS: u32 = 32;

/// Longest salt or digest in bytes.
const MAX_BINARY_BYTES: usize = 256;

#[derive(Deserialize)]
pub struct Metadata {
    pub keyslots: Numbered<Keyslot>,
    pub segments: Numbered<Segment>,
    pub digests: Numbered<Digest>,
    pub config: Config,
}

impl Metadata {
    /// Where segment 0 begins.
    pub fn payload_at(&self) -> Option<u64> {
        self.segments.0.iter().find(|(number, _)| *number == 0).map(|(_, segment)| segment.offset.0)
    }

    /// Salt and digest that the volume key of segment 0 is recognised by; they last as long as the key.
    pub fn key_digest(&self) -> Option<(&[u8], &[u8])> {
        let digest = self.digests.0.iter().map(|(_, digest)| digest).find(|digest| digest.segments.0.contains(&0))?;
        Some((&digest.salt.0, &digest.digest.0))
    }
}

#[derive(Deserialize)]
pub struct Keyslot {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub key_size: u32,
    #[serde(default)]
    pub priority: Option<u8>,
    #[serde(default)]
    pub af: Option<AntiForensic>,
    #[serde(default)]
    pub area: Option<Area>,
    #[serde(default)]
    pub kdf: Option<Kdf>,
}

#[derive(Deserialize)]
pub struct AntiForensic {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub stripes: u32,
    #[serde(default)]
    pub hash: String,
}

#[derive(Deserialize)]
pub struct Area {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: Decimal,
    pub size: Decimal,
    #[serde(default)]
    pub encryption: String,
    #[serde(default)]
    pub key_size: u32,
}

#[derive(Deserialize)]
pub struct Kdf {
    #[serde(rename = "type")]
    pub kind: String,
    pub salt: Binary,
    #[serde(default)]
    pub time: u32,
    #[serde(default)]
    pub memory: u32,
    #[serde(default)]
    pub cpus: u32,
    #[serde(default)]
    pub iterations: u32,
    #[serde(default)]
    pub hash: String,
}

#[derive(Deserialize)]
pub struct Segment {
    #[serde(rename = "type")]
    pub kind: String,
    pub offset: Decimal,
    /// In bytes, or `dynamic`: up to the end of the device.
    pub size: Size,
    #[serde(default)]
    pub iv_tweak: Decimal,
    #[serde(default)]
    pub encryption: String,
    #[serde(default)]
    pub sector_size: u32,
    #[serde(default)]
    pub integrity: Option<Present>,
    #[serde(default)]
    pub flags: Names,
}

#[derive(Deserialize)]
pub struct Digest {
    #[serde(rename = "type")]
    pub kind: String,
    pub keyslots: Numbers,
    pub segments: Numbers,
    #[serde(default)]
    pub hash: String,
    #[serde(default)]
    pub iterations: u32,
    pub salt: Binary,
    pub digest: Binary,
}

#[derive(Deserialize)]
pub struct Config {
    pub json_size: Decimal,
    pub keyslots_size: Decimal,
    #[serde(default)]
    pub requirements: Requirements,
}

#[derive(Default, Deserialize)]
pub struct Requirements {
    #[serde(default)]
    pub mandatory: Names,
}

/// Objects by number, in the order of the text.
pub struct Numbered<T>(pub Vec<(u32, T)>);

/// Text that is a number from 0 to 31.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number < MAX_OBJECTS)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Numbered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Objects<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Objects<T> {
            type Value = Numbered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("objects with numbers from 0 to 31")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Numbered<T>, A::Error> {
                let mut objects: Vec<(u32, T)> = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let number = number(&key).ok_or_else(|| A::Error::custom("an object's number is not 0 to 31"))?;
                    if objects.iter().any(|(other, _)| *other == number) {
                        return Err(A::Error::custom("a number occurs twice"));
                    }
                    objects.push((number, map.next_value()?));
                }
                Ok(Numbered(objects))
            }
        }
        deserializer.deserialize_map(Objects(PhantomData))
    }
}

/// At most [`MAX_OBJECTS`] texts.
#[derive(Default)]
pub struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of at most 32 texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    if names.len() >= MAX_OBJECTS as usize {
                        return Err(A::Error::invalid_length(names.len(), &self));
                    }
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// At most [`MAX_OBJECTS`] numbers of objects.
pub struct Numbers(pub Vec<u32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Names(names) = Names::deserialize(deserializer)?;
        let numbers = names.iter().map(|name| number(name)).collect::<Option<_>>();
        numbers.map(Self).ok_or_else(|| D::Error::custom("an object's number is not 0 to 31"))
    }
}

/// A number that stands as text.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Decimal(pub u64);

/// Digits only: no sign, no space.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decimal(&text).map(Self).ok_or_else(|| D::Error::custom("a text is no 64-bit number"))
    }
}

/// The size of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Dynamic,
    Bytes(u64),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "dynamic" {
            return Ok(Self::Dynamic);
        }
        decimal(&text).map(Self::Bytes).ok_or_else(|| D::Error::custom("a segment's size is no number"))
    }
}

/// Bytes that stand as Base64 (RFC 4648, section 4).
pub struct Binary(pub Vec<u8>);

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = Base64::decode_vec(&text).map_err(|_| D::Error::custom("a salt or digest is no Base64"))?;
        let fits = (1..=MAX_BINARY_BYTES).contains(&bytes.len());
        fits.then_some(Self(bytes)).ok_or_else(|| D::Error::custom("a salt or digest is too short or too long"))
    }
}

/// An object of which only its presence counts.
pub struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// Reads the text.
pub fn parse(text: &[u8]) -> Result<Metadata, String> {
    // The reader's words may repeat what the text says, and they end in a log.
    serde_json::from_slice(text).map_err(|error| printable(&error.to_string()))
}

/// At most so many characters of an error are shown.
const SHOWN: usize = 120;

/// Printable ASCII, cut short.
pub fn printable(text: &str) -> String {
    let clean = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().take(SHOWN).map(clean).collect()
}
