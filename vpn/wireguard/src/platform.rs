//! What the state machine needs of whoever runs it.

use crate::aead::{self, TAG_BYTES};
use crate::keys::CipherKey;

/// It cannot be had now. The handshake or cookie that wants it is left out, and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unavailable;

/// A point in time (TAI64N, the paper 5.1): 8 bytes of seconds and 4 of nanoseconds, big endian, so that the greater one is the later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Tai64n(pub [u8; 12]);

impl Tai64n {
    /// Of seconds since 1970 and nanoseconds. Leap seconds are left out, as other implementations do: peers compare stamps of one and
    /// the same clock only.
    #[must_use]
    pub fn from_unix(seconds: u64, nanoseconds: u32) -> Self {
        const EPOCH: u64 = 0x4000_0000_0000_000A;
        Self::join(EPOCH.saturating_add(seconds), nanoseconds)
    }

    /// The least one that is later.
    #[must_use]
    pub(crate) fn successor(self) -> Self {
        let Self([a, b, c, d, e, f, g, h, i, j, k, l]) = self;
        let (seconds, nanoseconds) = (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]));
        if nanoseconds < 999_999_999 {
            Self::join(seconds, nanoseconds.saturating_add(1))
        } else {
            Self::join(seconds.saturating_add(1), 0)
        }
    }

    fn join(seconds: u64, nanoseconds: u32) -> Self {
        let [a, b, c, d, e, f, g, h] = seconds.to_be_bytes();
        let [i, j, k, l] = nanoseconds.to_be_bytes();
        Self([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

/// Chance, the time of day, and the cipher of packets.
pub trait Platform {
    /// Fills with bytes that nobody can foretell.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing that was written may be used.
    fn random(&mut self, bytes: &mut [u8]) -> Result<(), Unavailable>;

    /// The time of day. It should never go back, a restart included: a peer refuses what is not later than what it has seen. Within
    /// the life of a tunnel it is made to grow, whatever is answered here.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn tai64n(&mut self) -> Result<Tai64n, Unavailable>;

    /// Encrypts a packet in place by ChaCha20-Poly1305, nothing bound to it; gives the tag.
    fn seal(&mut self, key: &CipherKey, counter: u64, packet: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        aead::seal(key, counter, &[], packet)
    }

    /// Decrypts a packet in place. `None`: forged, and nobody looks at what `packet` holds.
    fn open(&mut self, key: &CipherKey, counter: u64, packet: &mut [u8], tag: &[u8; TAG_BYTES]) -> Option<()> {
        aead::open(key, counter, &[], packet, tag)
    }
}
