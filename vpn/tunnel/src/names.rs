//! Peers whose endpoints have names: when to ask, and what for.

use crate::event::Event;
use crate::protocol::Protocol;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use mediator::Instant;
use outside::Outside;

/// Pauses after a name that nobody knows: doubling from one to the other.
const FIRST_PAUSE_NS: u64 = 5_000_000_000;
const MAX_PAUSE_NS: u64 = 300_000_000_000;
/// While a peer does not answer where its name was, the name may have moved.
const RENEW_NS: u64 = 120_000_000_000;

/// The name of a peer's endpoint.
#[derive(Clone, Debug)]
pub struct Name {
    /// The peer's number.
    pub peer: usize,
    pub host: String,
    pub port: u16,
}

struct Asked {
    name: Name,
    ask_at: Instant,
    pause_ns: u64,
    /// What the name was last found to be.
    address: Option<IpAddr>,
}

impl Asked {
    /// Not known yet, or the peer does not answer there: only then is the name asked for, in the clear. A peer that moves tells itself.
    fn is_wanted(&self, protocol: &dyn Protocol) -> bool {
        self.address.is_none() || protocol.is_unanswered(self.name.peer)
    }
}

/// All of them.
pub struct Names(Vec<Asked>);

impl Names {
    pub fn new(names: Vec<Name>, now: Instant) -> Self {
        let asked = |name| Asked { name, ask_at: now, pause_ns: FIRST_PAUSE_NS, address: None };
        Self(names.into_iter().map(asked).collect())
    }

    /// When the next name is to be asked for.
    pub fn poll_timeout(&self, protocol: &dyn Protocol) -> Option<Instant> {
        self.0.iter().filter(|asked| asked.is_wanted(protocol)).map(|asked| asked.ask_at).min()
    }

    /// Asks for what is due, and passes on what has come.
    pub fn poll(
        &mut self,
        now: Instant,
        outside: &mut Outside,
        protocol: &mut dyn Protocol,
        tell: &mut dyn FnMut(Event),
    ) {
        for asked in self.0.iter_mut().filter(|asked| asked.ask_at <= now && asked.is_wanted(protocol)) {
            if outside.resolve(&asked.name.host) {
                asked.ask_at = after(now, asked.pause_ns);
                asked.pause_ns = asked.pause_ns.saturating_mul(2).min(MAX_PAUSE_NS);
            } else {
                // Too many are asked for. It is tried again sooner than those, so that its turn comes.
                asked.ask_at = after(now, FIRST_PAUSE_NS);
            }
        }
        while let Some(resolved) = outside.poll_resolved(now) {
            let found = || resolved.addresses.iter().copied().filter(|address| outside.reaches(*address));
            let Some(first) = found().next() else {
                tell(Event::Unresolved { name: resolved.name });
                continue;
            };
            let mut is_new = false;
            for asked in self.0.iter_mut().filter(|asked| asked.name.host == resolved.name) {
                asked.ask_at = after(now, RENEW_NS);
                asked.pause_ns = FIRST_PAUSE_NS;
                // Where the name is still what it was, the peer is where it was last heard from, which may be elsewhere.
                if asked.address.is_none_or(|known| found().all(|address| address != known)) {
                    asked.address = Some(first);
                    protocol.set_endpoint(asked.name.peer, SocketAddr::new(first, asked.name.port));
                    is_new = true;
                }
            }
            if is_new {
                tell(Event::Resolved { name: resolved.name, address: first });
            }
        }
    }
}

fn after(now: Instant, ns: u64) -> Instant {
    Instant(now.0.saturating_add(ns))
}
