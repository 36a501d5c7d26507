//! dbgsh, a shell in the VMM, as the call [`SHELL`](crate::hypercall::name::SHELL) offers it.
//!
//! A postcard of [`Request`] goes in, one of [`Answer`] comes out. Whoever wants a session proves that it knows the configuration's
//! key K (32 bytes or more), without showing it. MAC(k; a, b, ...) is HMAC-SHA256 (RFC 2104, FIPS 180-4) under k of the label as
//! ASCII and of what follows it, one behind the other, numbers as 8 bytes little endian:
//!
//! 1. [`Request::Hello`] with 32 random bytes C. Answer: [`Answer::Challenge`] with the time T of the VMM and S =
//!    MAC(K; "shoji dbgsh 1 challenge", C, T, B). B is new whenever the VMM starts and remains its own: to the client S is just bytes.
//! 2. [`Request::Prove`] with C, T and P = MAC(K; "shoji dbgsh 1 proof", C, T, S), within [`CHALLENGE_NS`]. Answer:
//!    [`Answer::Open`] with the number of the session, whose key is k = MAC(K; "shoji dbgsh 1 session", C, T, S).
//! 3. [`Request::Line`], each with a count n higher than that of the one before, and MAC(k; "shoji dbgsh 1 line", n, line).
//!    Answer: [`Answer::Text`].
//!
//! A challenge is good for one session, before the next start of the VMM. Wrong proofs make all who have no session wait, one another included; a longer time after each.

use alloc::string::String;
use serde::{Deserialize, Serialize};

/// HMAC-SHA256's length.
pub const MAC_BYTES: usize = 32;
pub type Mac = [u8; MAC_BYTES];

/// Random bytes of the client.
pub const CLIENT_BYTES: usize = 32;

/// A challenge is answered within half a minute.
pub const CHALLENGE_NS: u64 = 30_000_000_000;

/// Longest line.
pub const MAX_LINE_BYTES: usize = 512;

/// Shortest key.
pub const MIN_KEY_BYTES: usize = 32;

/// What the messages authenticate, for what.
pub mod label {
    pub const CHALLENGE: &str = "shoji dbgsh 1 challenge";
    pub const PROOF: &str = "shoji dbgsh 1 proof";
    pub const SESSION: &str = "shoji dbgsh 1 session";
    pub const LINE: &str = "shoji dbgsh 1 line";
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request<'a> {
    Hello { client: [u8; CLIENT_BYTES] },
    Prove { client: [u8; CLIENT_BYTES], time_ns: u64, proof: Mac },
    Line { session: u32, count: u64, mac: Mac, line: &'a str },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    Challenge {
        time_ns: u64,
        challenge: Mac,
    },
    Open {
        session: u32,
    },
    /// What the line has led to; printable text with line feeds.
    Text {
        text: String,
        /// There was more of it.
        cut: bool,
    },
    /// After wrong proofs: not now.
    Wait {
        ms: u64,
    },
    /// A wrong proof or message authentication code, or no such session (any more).
    Refused,
    /// The challenge is too old, or was used; say hello again.
    Expired,
}
