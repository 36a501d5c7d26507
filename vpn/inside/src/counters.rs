//! What has passed, and what was dropped.

/// Why a frame or packet was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A frame of the guest, or a packet in it, whose lengths or addresses contradict themselves.
    Malformed,
    /// It has a VLAN tag.
    Vlan,
    /// It is neither ARP nor IP.
    NotIp,
    /// It is for a hardware address that is not the gateway's.
    OtherStation,
    /// It is for the local network: multicast, broadcast, link-local, or a question that needs no answer.
    Local,
    /// Its source is not an address of the tunnel.
    WrongSource,
    /// It is longer than the tunnel's MTU and must not be cut; the sender is told.
    TooBig,
    /// A packet out of the tunnel that is none.
    MalformedInside,
    /// A packet out of the tunnel that is not for the guest.
    NotForGuest,
    /// A packet out of the tunnel that is longer than the guest's link takes.
    TooLong,
    /// The guest does not take its frames.
    NoRoom,
}

impl Reason {
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Vlan,
        Self::NotIp,
        Self::OtherStation,
        Self::Local,
        Self::WrongSource,
        Self::TooBig,
        Self::MalformedInside,
        Self::NotForGuest,
        Self::TooLong,
        Self::NoRoom,
    ];
}

/// Wrapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets into the tunnel, and out of it to the guest.
    pub to_tunnel: u64,
    pub to_guest: u64,
    /// Questions of the guest that were answered here.
    pub answered: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Counters {
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or_default()
    }

    pub(crate) fn drop_for(&mut self, reason: Reason) {
        if let Some(counter) = self.dropped.get_mut(reason as usize) {
            *counter = counter.wrapping_add(1);
        }
    }
}
