//! ARP (RFC 826): the gateway has every address but the guest's own.

use crate::{Inside, Reason, emit};
use core::net::IpAddr;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

const ARP_BYTES: usize = 28;

impl Inside {
    pub(crate) fn on_arp(&mut self, payload: &[u8]) -> Result<(), Reason> {
        let packet = ArpPacket::new_checked(payload).map_err(|_| Reason::Malformed)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr: asks,
            target_protocol_addr: wanted,
            ..
        } = ArpRepr::parse(&packet).map_err(|_| Reason::Malformed)?
        else {
            return Err(Reason::Malformed);
        };
        // A probe (RFC 5227) asks whether somebody has the address that the asker wants for itself: on this link only the gateway could.
        let is_probe = asks.is_unspecified() && wanted != self.link.router;
        let is_own = wanted == asks || self.link.has(IpAddr::V4(wanted));
        let is_host = frames::is_unicast(IpAddr::V4(wanted));
        if operation != ArpOperation::Request || is_probe || is_own || !is_host || self.link.v4().is_none() {
            return Err(Reason::Local);
        }
        let answer = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(self.link.gateway_mac),
            source_protocol_addr: wanted,
            target_hardware_addr: source_hardware_addr,
            target_protocol_addr: asks,
        };
        let mut bytes = [0; ARP_BYTES];
        answer.emit(&mut ArpPacket::new_unchecked(&mut bytes));
        let header = emit::ethernet(self.guest, self.link.gateway_mac, frames::ARP);
        let pushed = self.to_guest.push(&[&header, &bytes]);
        self.answered(pushed)
    }
}
