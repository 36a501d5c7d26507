//! Sealing and opening of packets: ChaCha20-Poly1305 (RFC 8439, 2.8).
//!
//! A request is the key, the nonce and the tag, without gaps. The tag is written when a packet is sealed, and read when one is opened.

pub const KEY_BYTES: usize = 32;
pub const NONCE_BYTES: usize = 12;
pub const TAG_BYTES: usize = 16;
/// Where the nonce begins; the key comes first.
pub const NONCE_AT: usize = KEY_BYTES;
pub const TAG_AT: usize = NONCE_AT + NONCE_BYTES;
pub const REQUEST_BYTES: usize = TAG_AT + TAG_BYTES;
