//! Peers whose endpoints have names: when to ask, and what for.

use crate::event::Event;
use crate::protocol::Protocol;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use mediator::Instant;
use outside::Outside;

/// Pauses after a name that nobody knows: doubling from one to the other.
const FIRST_PAUSE_NS: u64 = 5_000_000_000;
const MAX_PAUSE_NS: u64 = 300_000_000_000;
/// While nothing gets through, a name may have moved.
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
}

/// All of them.
pub struct Names(Vec<Asked>);

impl Names {
    pub fn new(names: Vec<Name>, now: Instant) -> Self {
        Self(names.into_iter().map(|name| Asked { name, ask_at: now, pause_ns: FIRST_PAUSE_NS }).collect())
    }

    /// When the next name is to be asked for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().map(|asked| asked.ask_at).min()
    }

    /// Packets get through: the peers are where we know them to be, and tell themselves if they move.
    pub fn rest(&mut self, now: Instant) {
        self.0.iter_mut().for_each(|asked| asked.ask_at = after(now, RENEW_NS));
    }

    /// Asks for what is due, and passes on what has come.
    pub fn poll(
        &mut self,
        now: Instant,
        outside: &mut Outside,
        protocol: &mut dyn Protocol,
        tell: &mut dyn FnMut(Event),
    ) {
        for asked in self.0.iter_mut().filter(|asked| asked.ask_at <= now) {
            // Where there is no room for the question it comes later.
            outside.resolve(&asked.name.host);
            asked.ask_at = after(now, asked.pause_ns);
            asked.pause_ns = asked.pause_ns.saturating_mul(2).min(MAX_PAUSE_NS);
        }
        while let Some(resolved) = outside.poll_resolved(now) {
            let address = resolved.addresses.iter().copied().find(|address| outside.reaches(*address));
            let peers = self.0.iter_mut().filter(|asked| asked.name.host == resolved.name);
            match address {
                Some(address) => {
                    for asked in peers {
                        protocol.set_endpoint(asked.name.peer, SocketAddr::new(address, asked.name.port));
                        asked.ask_at = after(now, RENEW_NS);
                        asked.pause_ns = FIRST_PAUSE_NS;
                    }
                    tell(Event::Resolved { name: resolved.name, address });
                }
                None => tell(Event::Unresolved { name: resolved.name }),
            }
        }
    }
}

fn after(now: Instant, ns: u64) -> Instant {
    Instant(now.0.saturating_add(ns))
}
