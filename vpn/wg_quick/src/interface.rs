//! The section `[Interface]`.

use crate::config::{Address, Peer, TunnelConfig};
use crate::finding::{Findings, Place};
use crate::keys;
use crate::lines::Entry;
use crate::read::{set, unknown_key};
use crate::value::{self, Dns};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;
use wireguard::{PrivateKey, PublicKey};

/// As many as the guest's side of a tunnel takes.
pub const MAX_ADDRESSES: usize = 8;
pub const MAX_DNS_SERVERS: usize = 8;

/// What was read of it.
#[derive(Default)]
pub struct Interface {
    /// Of its first section.
    pub place: Option<Place>,
    private_key: Option<PrivateKey>,
    /// The key was there, and wrong.
    private_key_told: bool,
    listen_port: Option<u16>,
    addresses: Vec<Address>,
    addresses_told: bool,
    dns: Vec<IpAddr>,
    search: Vec<String>,
    mtu: Option<(u16, Place)>,
}

impl Interface {
    pub fn take(&mut self, entry: &Entry<'_>, findings: &mut Findings) {
        let Some(key) = keys::known(entry.key, &keys::INTERFACE) else {
            return unknown_key(entry, &keys::INTERFACE, &keys::PEER, findings);
        };
        let item = entry.item();
        match key {
            "PrivateKey" => self.take_private_key(entry, findings),
            "Address" => self.take_addresses(entry, findings),
            "DNS" => self.take_dns(entry, findings),
            "ListenPort" => match value::listen_port(&item.text) {
                Ok(port) => set(&mut self.listen_port, port, entry, key, findings),
                Err(wrong) => findings.error(item.place, wrong),
            },
            "MTU" => match value::mtu(&item.text) {
                Ok(mtu) => set(&mut self.mtu, (mtu, item.place), entry, key, findings),
                Err(wrong) => findings.error(item.place, wrong),
            },
            // What these ask for is so anyway.
            "Table" if item.text.eq_ignore_ascii_case("auto") => {}
            "SaveConfig" if item.text.eq_ignore_ascii_case("false") => {}
            "FwMark" if matches!(item.text.as_str(), "0" | "off") => {}
            _ => findings.warning(entry.place, without_effect(key)),
        }
    }

    fn take_private_key(&mut self, entry: &Entry<'_>, findings: &mut Findings) {
        let item = entry.item();
        let key = value::key(&item.text).and_then(|bytes| {
            let all_zero = bytes.iter().all(|byte| *byte == 0);
            if all_zero { Err("the key is all zeros; make one with `wg genkey`") } else { Ok(PrivateKey::new(*bytes)) }
        });
        match key {
            Ok(key) => set(&mut self.private_key, key, entry, "PrivateKey", findings),
            Err(wrong) => {
                self.private_key_told = true;
                findings.error(item.place, wrong);
            }
        }
    }

    fn take_addresses(&mut self, entry: &Entry<'_>, findings: &mut Findings) {
        for item in entry.items() {
            match value::address(&item.text) {
                Ok(_) if self.addresses.len() == MAX_ADDRESSES => {
                    findings.error(item.place, "there are more than 8 addresses; remove those that are not needed");
                }
                Ok(address) => self.addresses.push(address),
                Err(wrong) => {
                    self.addresses_told = true;
                    findings.error(item.place, wrong);
                }
            }
        }
    }

    fn take_dns(&mut self, entry: &Entry<'_>, findings: &mut Findings) {
        for item in entry.items() {
            match value::dns(&item.text) {
                Ok(Dns::Server(_)) if self.dns.len() == MAX_DNS_SERVERS => {
                    findings.error(item.place, "there are more than 8 DNS servers; remove those that are not needed");
                }
                Ok(Dns::Server(server)) => self.dns.push(server),
                Ok(Dns::Domain) => self.search.push(item.text.to_string()),
                Err(wrong) => findings.error(item.place, wrong),
            }
        }
    }

    pub fn public_key(&self) -> Option<PublicKey> {
        self.private_key.as_ref().map(PrivateKey::public)
    }

    /// Tells what is missing, and what does not fit together.
    pub fn finish(self, peers: Vec<Peer>, findings: &mut Findings) -> Option<TunnelConfig> {
        let place = self.place.unwrap_or(Place { line: 1, column: 1 });
        if self.private_key.is_none() && !self.private_key_told {
            findings.error(place, "`[Interface]` lacks the key `PrivateKey`; make one with `wg genkey`");
        }
        if self.addresses.is_empty() && !self.addresses_told {
            findings.error(place, "`[Interface]` lacks the key `Address`; add e.g. `Address = 10.0.0.2/32`");
        }
        let has_v6 = self.addresses.iter().any(|address| address.address().is_ipv6());
        if let Some((_, place)) = self.mtu.filter(|(mtu, _)| has_v6 && *mtu < 1280) {
            findings.error(
                place,
                "an interface with an IPv6 address needs an MTU of 1280 or more; write e.g. `MTU = 1420`",
            );
        }
        let Self { private_key, listen_port, addresses, dns, search, mtu, .. } = self;
        let (private_key, mtu) = (private_key?, mtu.map(|(mtu, _)| mtu));
        Some(TunnelConfig { private_key, listen_port, addresses, dns, search, mtu, peers })
    }
}

fn without_effect(key: &str) -> String {
    let why = match key {
        "Table" => "the guest sets up its own routes",
        "FwMark" => "no firewall sees the tunnel's datagrams",
        "SaveConfig" => "the file is never written",
        "NetNS" => "there are no network namespaces",
        _ => "nothing of the file is executed",
    };
    format!("`{key}` has no effect here: {why}; the line can be removed")
}
