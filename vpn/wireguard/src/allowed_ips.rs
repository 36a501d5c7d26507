//! Cryptokey routing (the paper, 2): which peer an inner address belongs to, by the longest prefix.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// An address and how many bits of it count; the rest are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct IpPrefix {
    address: IpAddr,
    len: u8,
}

/// Not `ADDRESS` or `ADDRESS/LENGTH`, or longer than the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAPrefix;

impl IpPrefix {
    /// Bits of `address` behind the prefix are cleared.
    ///
    /// # Errors
    /// [`NotAPrefix`]: `len` is more than the address has bits.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, NotAPrefix> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        if len > most {
            return Err(NotAPrefix);
        }
        let address = match address {
            IpAddr::V4(address) => {
                let bits = (masked(left_aligned(IpAddr::V4(address)), len).wrapping_shr(96)) as u32;
                IpAddr::V4(Ipv4Addr::from_bits(bits))
            }
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(masked(address.to_bits(), len))),
        };
        Ok(Self { address, len })
    }

    /// The first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits that count.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a length in bits
    pub const fn len(&self) -> u8 {
        self.len
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl FromStr for IpPrefix {
    type Err = NotAPrefix;

    /// An address alone is one whole address.
    fn from_str(text: &str) -> Result<Self, NotAPrefix> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotAPrefix)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => whole,
            // `parse` alone would take a sign.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| NotAPrefix)?,
            Some(_) => return Err(NotAPrefix),
        };
        Self::new(address, len)
    }
}

/// The bits of an address from the greatest one of a `u128` on.
fn left_aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()).wrapping_shl(96),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(bits: u128, len: u8) -> u128 {
    // A shift by 128 is none.
    let mask = u128::MAX.checked_shl(128u32.saturating_sub(len.into())).unwrap_or(0);
    bits & mask
}

/// Prefixes of one length, left aligned.
struct Length<T> {
    len: u8,
    entries: BTreeMap<u128, T>,
}

/// Whose addresses are whose. A prefix belongs to one `T` at a time.
pub struct AllowedIps<T> {
    /// The longest prefixes first: the first hit counts.
    v4: Vec<Length<T>>,
    v6: Vec<Length<T>>,
}

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }
}

impl<T: Copy> AllowedIps<T> {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whoever had this very prefix has it no longer, as with `wg set`.
    pub fn insert(&mut self, prefix: IpPrefix, owner: T) {
        let lengths = if prefix.address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let bits = left_aligned(prefix.address);
        match lengths.binary_search_by(|length| prefix.len.cmp(&length.len)) {
            Ok(at) => {
                if let Some(length) = lengths.get_mut(at) {
                    length.entries.insert(bits, owner);
                }
            }
            Err(at) => lengths.insert(at, Length { len: prefix.len, entries: BTreeMap::from([(bits, owner)]) }),
        }
    }

    /// Whose the address is.
    #[must_use]
    pub fn lookup(&self, address: IpAddr) -> Option<T> {
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let bits = left_aligned(address);
        lengths.iter().find_map(|length| length.entries.get(&masked(bits, length.len)).copied())
    }
}
