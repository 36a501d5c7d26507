//! The client's side, without what carries the messages.

use crate::mac::{Meeting, SessionKey, SharedKey};
use abi::shell::{CLIENT_BYTES, Mac, Request};

/// Before the session.
pub struct Hello {
    client: [u8; CLIENT_BYTES],
}

impl Hello {
    /// `client`: random bytes, never used before.
    pub fn new(client: [u8; CLIENT_BYTES]) -> Self {
        Self { client }
    }

    pub fn request(&self) -> Request<'static> {
        Request::Hello { client: self.client }
    }

    /// To the challenge: the proof, and what becomes the session.
    pub fn prove(self, key: &SharedKey, time_ns: u64, challenge: Mac) -> (Request<'static>, Proven) {
        let meeting = Meeting { client: self.client, time_ns, challenge };
        let request = Request::Prove { client: self.client, time_ns, proof: meeting.proof(key) };
        (request, Proven { key: meeting.session_key(key) })
    }
}

/// Between proof and session.
pub struct Proven {
    key: SessionKey,
}

impl Proven {
    /// The VMM has opened this session.
    pub fn open(self, session: u32) -> Client {
        Client { session, key: self.key, count: 0 }
    }
}

/// A session.
pub struct Client {
    session: u32,
    key: SessionKey,
    count: u64,
}

impl Client {
    pub fn line<'a>(&mut self, line: &'a str) -> Request<'a> {
        self.count = self.count.saturating_add(1);
        let Self { session, count, .. } = *self;
        Request::Line { session, count, mac: self.key.line(count, line), line }
    }
}
