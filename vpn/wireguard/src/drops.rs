//! Why something was dropped, and how often.

/// Why a packet or a datagram went no further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DropReason {
    /// The datagram has no type of message, or not the length of its type.
    Malformed,
    /// MAC1 is wrong: its sender does not know our public key.
    Mac1,
    /// Under load: a cookie went back instead of an answer.
    CookieSent,
    /// Under load: its source sends too much, or too many sources do.
    RateLimited,
    /// Something in it does not decrypt.
    Forged,
    /// It is authentic, but its key is no peer's.
    UnknownPeer,
    /// The stamp of the initiation is not later than the last one.
    OldInitiation,
    /// The peer initiates too often.
    TooManyInitiations,
    /// It is for a session or handshake that is not, or no longer, there.
    UnknownIndex,
    /// Its session has reached its greatest age or number of messages.
    ExpiredSession,
    /// Its counter has been seen, or is too old to tell.
    Replayed,
    /// What was decrypted is no whole IPv4 or IPv6 packet; from the inside: what was to be sent is none.
    NotIp,
    /// The inner source is not among the peer's allowed addresses.
    SourceNotAllowed,
    /// No peer has the inner destination among its allowed addresses.
    NoRoute,
    /// Nobody has told yet where the peer is.
    NoEndpoint,
    /// The packet waited for a session that did not come, or for which others waited too.
    NotDelivered,
    /// The caller's buffer has no room for header, padding and tag.
    NoRoom,
    /// Too many handshake messages wait to be taken by `poll_transmit`.
    OutboxFull,
    /// No random bytes, no time of day, or no memory.
    Unavailable,
}

impl DropReason {
    /// All of them, in the order of the enum.
    pub const ALL: [Self; 19] = [
        Self::Malformed,
        Self::Mac1,
        Self::CookieSent,
        Self::RateLimited,
        Self::Forged,
        Self::UnknownPeer,
        Self::OldInitiation,
        Self::TooManyInitiations,
        Self::UnknownIndex,
        Self::ExpiredSession,
        Self::Replayed,
        Self::NotIp,
        Self::SourceNotAllowed,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::NotDelivered,
        Self::NoRoom,
        Self::OutboxFull,
        Self::Unavailable,
    ];

    /// In a few words, for a log or a table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Mac1 => "wrong MAC1",
            Self::CookieSent => "answered with a cookie",
            Self::RateLimited => "rate limited",
            Self::Forged => "forged",
            Self::UnknownPeer => "unknown peer",
            Self::OldInitiation => "old initiation",
            Self::TooManyInitiations => "too many initiations",
            Self::UnknownIndex => "unknown index",
            Self::ExpiredSession => "expired session",
            Self::Replayed => "replayed",
            Self::NotIp => "not IP",
            Self::SourceNotAllowed => "source not allowed",
            Self::NoRoute => "no peer for the destination",
            Self::NoEndpoint => "no endpoint",
            Self::NotDelivered => "not delivered",
            Self::NoRoom => "buffer too small",
            Self::OutboxFull => "outbox full",
            Self::Unavailable => "no random bytes, time or memory",
        }
    }
}

/// How often each reason was met.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    pub(crate) fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    pub(crate) fn add(&mut self, reason: DropReason, times: u64) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count = count.wrapping_add(times);
        }
    }

    /// Wraps.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or_default()
    }
}
