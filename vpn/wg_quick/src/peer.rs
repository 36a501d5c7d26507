//! Sections `[Peer]`.

use crate::config::{Endpoint, Peer};
use crate::finding::{Findings, Place};
use crate::keys;
use crate::lines::{Entry, Item};
use crate::read::{set, unknown_key};
use crate::value;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use wireguard::{IpPrefix, PresharedKey, PublicKey};

/// What was read of one.
pub struct PeerSection {
    place: Place,
    public_key: Option<(PublicKey, Place)>,
    /// The key was there, and wrong.
    public_key_told: bool,
    preshared_key: Option<Option<PresharedKey>>,
    endpoint: Option<Endpoint>,
    endpoint_told: bool,
    allowed_ips: Vec<(IpPrefix, Place)>,
    allowed_ips_told: bool,
    keepalive_s: Option<u16>,
}

impl PeerSection {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            public_key: None,
            public_key_told: false,
            preshared_key: None,
            endpoint: None,
            endpoint_told: false,
            allowed_ips: Vec::new(),
            allowed_ips_told: false,
            keepalive_s: None,
        }
    }

    pub fn take(&mut self, entry: &Entry<'_>, findings: &mut Findings) {
        let Some(key) = keys::known(entry.key, &keys::PEER) else {
            return unknown_key(entry, &keys::PEER, &keys::INTERFACE, findings);
        };
        let item = entry.item();
        match key {
            "PublicKey" => self.take_public_key(&item, entry, findings),
            // Zeros stand for none.
            "PresharedKey" => match value::key(&item.text) {
                Ok(bytes) => {
                    let preshared = bytes.iter().any(|byte| *byte != 0).then(|| PresharedKey::new(*bytes));
                    set(&mut self.preshared_key, preshared, entry, key, findings);
                }
                Err(wrong) => findings.error(item.place, wrong),
            },
            "Endpoint" => match value::endpoint(&item.text) {
                Ok(endpoint) => set(&mut self.endpoint, endpoint, entry, key, findings),
                Err(wrong) => {
                    self.endpoint_told = true;
                    findings.error(item.place, wrong);
                }
            },
            "AllowedIPs" => self.take_allowed_ips(entry, findings),
            _ => match value::keepalive(&item.text) {
                Ok(seconds) => set(&mut self.keepalive_s, seconds, entry, key, findings),
                Err(wrong) => findings.error(item.place, wrong),
            },
        }
    }

    fn take_public_key(&mut self, item: &Item, entry: &Entry<'_>, findings: &mut Findings) {
        let key = value::key(&item.text).map(|bytes| PublicKey(*bytes)).and_then(|key| {
            let weak = "with this key nothing can be kept a secret; ask the peer for its own, as `wg pubkey` writes it";
            if key.is_weak() { Err(weak) } else { Ok(key) }
        });
        match key {
            Ok(key) => set(&mut self.public_key, (key, item.place), entry, "PublicKey", findings),
            Err(wrong) => {
                self.public_key_told = true;
                findings.error(item.place, wrong);
            }
        }
    }

    fn take_allowed_ips(&mut self, entry: &Entry<'_>, findings: &mut Findings) {
        for item in entry.items() {
            match value::prefix(&item.text) {
                Ok((prefix, has_host_bits)) => {
                    self.allowed_ips.push((prefix, item.place));
                    if has_host_bits {
                        let message = "the address has bits behind its prefix, which do not count; write the network's own address";
                        findings.warning(item.place, message);
                    }
                }
                Err(wrong) => {
                    self.allowed_ips_told = true;
                    findings.error(item.place, wrong);
                }
            }
        }
    }

    /// What is missing in it.
    fn check(&self, findings: &mut Findings) {
        if self.public_key.is_none() && !self.public_key_told {
            findings.error(self.place, "this `[Peer]` lacks the key `PublicKey`; ask the peer for it");
        }
        if self.endpoint.is_none() && !self.endpoint_told {
            let message = "this `[Peer]` has no `Endpoint`, so packets for it are dropped until it has come to us; add e.g. `Endpoint = vpn.example.org:51820`";
            findings.warning(self.place, message);
        }
        if self.allowed_ips.is_empty() && !self.allowed_ips_told {
            let message = "this `[Peer]` has no `AllowedIPs`, so no packet goes to it or comes from it; add e.g. `AllowedIPs = 0.0.0.0/0, ::/0`";
            findings.warning(self.place, message);
        }
    }
}

/// Tells what is missing in the peers, and where two are in each other's way; `own` is our key.
pub fn finish(sections: Vec<PeerSection>, own: Option<PublicKey>, findings: &mut Findings) -> Vec<Peer> {
    if sections.is_empty() {
        findings.error(Place { line: 1, column: 1 }, "there is no `[Peer]`, so there is nobody to send to; add one");
    }
    let (mut keys, mut prefixes) = (BTreeSet::new(), BTreeMap::new());
    for (number, section) in sections.iter().enumerate() {
        section.check(findings);
        if let Some((key, place)) = section.public_key {
            if own == Some(key) {
                findings.error(place, "this is our own public key; ask the peer for its");
            }
            if !keys.insert(key) {
                findings.error(place, "another `[Peer]` has the same key; join the two");
            }
        }
        for (prefix, place) in &section.allowed_ips {
            if prefixes.insert(*prefix, number).is_some_and(|earlier| earlier != number) {
                findings.warning(
                    *place,
                    "an earlier `[Peer]` has this prefix too, and loses it to this one; remove one of both",
                );
            }
        }
    }
    sections.into_iter().filter_map(PeerSection::into_peer).collect()
}

impl PeerSection {
    fn into_peer(self) -> Option<Peer> {
        Some(Peer {
            public_key: self.public_key?.0,
            preshared_key: self.preshared_key.flatten(),
            endpoint: self.endpoint,
            allowed_ips: self.allowed_ips.into_iter().map(|(prefix, _)| prefix).collect(),
            persistent_keepalive_s: self.keepalive_s.unwrap_or(0),
        })
    }
}
