//! Keys and prefixes through serde: keys as 32 bytes, prefixes as address and length.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// 32 bytes, without a copy that stays behind.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<zeroize::Zeroizing<[u8; 32]>, D::Error> {
    struct KeyVisitor;
    impl de::Visitor<'_> for KeyVisitor {
        type Value = zeroize::Zeroizing<[u8; 32]>;

        fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            f.write_str("a key of 32 bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            bytes.try_into().map(zeroize::Zeroizing::new).map_err(|_| E::invalid_length(bytes.len(), &self))
        }
    }
    deserializer.deserialize_bytes(KeyVisitor)
}

pub mod private_key {
    use super::{Deserializer, Serializer, bytes};
    use wireguard::PrivateKey;

    pub fn serialize<S: Serializer>(key: &PrivateKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(key.as_bytes())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PrivateKey, D::Error> {
        bytes(deserializer).map(|bytes| PrivateKey::new(*bytes))
    }
}

pub mod public_key {
    use super::{Deserializer, Serializer, bytes};
    use wireguard::PublicKey;

    pub fn serialize<S: Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&key.0)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        bytes(deserializer).map(|bytes| PublicKey(*bytes))
    }
}

pub mod preshared_key {
    use super::{Deserialize, Deserializer, Serialize, Serializer, bytes};
    use wireguard::PresharedKey;

    struct Bytes<'a>(&'a PresharedKey);

    impl Serialize for Bytes<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0.as_bytes())
        }
    }

    struct Owned(PresharedKey);

    impl<'de> Deserialize<'de> for Owned {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            bytes(deserializer).map(|bytes| Self(PresharedKey::new(*bytes)))
        }
    }

    pub fn serialize<S: Serializer>(key: &Option<PresharedKey>, serializer: S) -> Result<S::Ok, S::Error> {
        key.as_ref().map(Bytes).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PresharedKey>, D::Error> {
        Ok(Option::<Owned>::deserialize(deserializer)?.map(|Owned(key)| key))
    }
}

pub mod prefixes {
    use super::{Deserialize, Deserializer, Serializer, de};
    use alloc::vec::Vec;
    use core::net::IpAddr;
    use wireguard::IpPrefix;

    pub fn serialize<S: Serializer>(prefixes: &[IpPrefix], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(prefixes.iter().map(|prefix| (prefix.address(), prefix.len())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpPrefix>, D::Error> {
        let pairs = Vec::<(IpAddr, u8)>::deserialize(deserializer)?;
        let prefix = |(address, len)| {
            IpPrefix::new(address, len).map_err(|_| de::Error::custom("a prefix is longer than its address"))
        };
        pairs.into_iter().map(prefix).collect()
    }
}
