//! Names of endpoints, asked of DNS servers (RFC 1035) by smoltcp's resolver.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use smoltcp::iface::Context;
use smoltcp::socket::dns::{GetQueryResultError, QueryHandle, Socket};
use smoltcp::wire::{DnsQueryType, IpAddress};

/// Names that are asked for at a time.
const MAX_QUESTIONS: usize = 8;
const MAX_NAME_BYTES: usize = 253;

/// What is known of a name now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved {
    pub name: String,
    /// None: there is no such name, or no server has answered.
    pub addresses: Vec<IpAddr>,
}

struct Question {
    name: String,
    kind: DnsQueryType,
    handle: Option<QueryHandle>,
    addresses: Vec<IpAddr>,
}

/// The names that are asked for.
#[derive(Default)]
pub struct Names {
    questions: Vec<Question>,
}

/// Families of addresses that we could send to.
#[derive(Clone, Copy)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

impl Names {
    /// False: too many are under way, or it is no name.
    pub fn ask(&mut self, name: &str) -> bool {
        let is_name = !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.is_ascii();
        let is_known = self.questions.iter().any(|question| question.name == name);
        if !is_name || (!is_known && self.questions.len() >= MAX_QUESTIONS) {
            return false;
        }
        if !is_known {
            let question = Question { name: name.into(), kind: DnsQueryType::A, handle: None, addresses: Vec::new() };
            self.questions.push(question);
        }
        true
    }

    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// Sends questions that wait, and takes an answer: first of IPv4 addresses, then of IPv6 ones.
    pub fn poll(&mut self, socket: &mut Socket<'_>, cx: &mut Context, families: Families) -> Option<Resolved> {
        for at in 0..self.questions.len() {
            let question = self.questions.get_mut(at)?;
            if question.is_done(socket, cx, families) {
                let question = self.questions.remove(at);
                return Some(Resolved { name: question.name, addresses: question.addresses });
            }
        }
        None
    }
}

impl Question {
    fn is_done(&mut self, socket: &mut Socket<'_>, cx: &mut Context, families: Families) -> bool {
        loop {
            match self.handle.take() {
                Some(handle) => match socket.get_query_result(handle) {
                    Err(GetQueryResultError::Pending) => {
                        self.handle = Some(handle);
                        return false;
                    }
                    Ok(found) => {
                        self.addresses.extend(found.into_iter().map(to_std).filter(|a| frames::is_unicast(*a)))
                    }
                    Err(GetQueryResultError::Failed) => {}
                },
                None => {
                    let is_wanted = if self.kind == DnsQueryType::A { families.v4 } else { families.v6 };
                    if is_wanted && let Ok(handle) = socket.start_query(cx, &self.name, self.kind) {
                        self.handle = Some(handle);
                        return false;
                    }
                }
            }
            if self.kind == DnsQueryType::Aaaa {
                return true;
            }
            self.kind = DnsQueryType::Aaaa;
        }
    }
}

fn to_std(address: IpAddress) -> IpAddr {
    match address {
        IpAddress::Ipv4(v4) => IpAddr::V4(v4),
        IpAddress::Ipv6(v6) => IpAddr::V6(v6),
    }
}
