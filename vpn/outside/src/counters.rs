//! What passed the filters, and what did not.

/// A frame that our own stack made and that must not leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Not from the card's own hardware address, or its lengths contradict themselves.
    Malformed,
    /// Neither ARP nor IP.
    NotIp,
    /// A fragment, or IP options.
    Fragment,
    /// Answers and errors of ICMP.
    Icmp,
    /// ICMPv6 but solicitations and advertisements of neighbours, solicitations of routers.
    Icmpv6,
    Tcp,
    /// UDP but the tunnel's, DHCP's and DNS's.
    Udp,
    /// Any other protocol, IGMP for instance.
    Protocol,
    /// The wire does not take its frames.
    NoRoom,
}

/// A frame of the wire that our stack need not see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwanted {
    Malformed,
    /// For another station.
    OtherStation,
    NotIp,
    /// An IP packet whose source is no host, or not for us.
    OtherAddress,
    /// A protocol or port that nobody listens on.
    NoListener,
    /// A fragment that makes no whole: overlapping, too long, or there is no room.
    Fragment,
    /// Datagrams that are not taken out of their sockets.
    NoRoom,
}

/// Wrapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames to the wire, and from it to the stack.
    pub sent: u64,
    pub received: u64,
    refused: [u64; 9],
    unwanted: [u64; 7],
}

impl Counters {
    #[must_use]
    pub fn refused(&self, why: Refused) -> u64 {
        self.refused.get(why as usize).copied().unwrap_or_default()
    }

    #[must_use]
    pub fn unwanted(&self, why: Unwanted) -> u64 {
        self.unwanted.get(why as usize).copied().unwrap_or_default()
    }

    pub(crate) fn refuse(&mut self, why: Refused) {
        if let Some(counter) = self.refused.get_mut(why as usize) {
            *counter = counter.wrapping_add(1);
        }
    }

    pub(crate) fn ignore(&mut self, why: Unwanted) {
        if let Some(counter) = self.unwanted.get_mut(why as usize) {
            *counter = counter.wrapping_add(1);
        }
    }
}
