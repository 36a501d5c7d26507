//! Descriptors <-> values.

use mediator::Gpa;

pub const DESCRIPTOR_BYTES: usize = 16;
/// Of packet split (DS s. 7.1.5).
pub const SPLIT_BYTES: usize = 32;

/// Command bits of a transmit descriptor, from bit 24 of the third dword on (SDM s. 3.3.3, 3.3.7).
mod dcmd {
    pub const EOP: u32 = 1 << 24;
    pub const IC: u32 = 1 << 26;
    pub const TSE: u32 = 1 << 26;
    pub const RS: u32 = 1 << 27;
    pub const DEXT: u32 = 1 << 29;
    pub const VLE: u32 = 1 << 30;
    /// Which of the extended ones.
    pub const DTYP: u32 = 0xf << 20;
    pub const DTYP_DATA: u32 = 1 << 20;
    pub const LEN: u32 = 0xf_ffff;
    /// Of a context: TCP, IPv4.
    pub const TCP: u32 = 1 << 24;
    pub const IPV4: u32 = 1 << 25;
}

/// Status: done. The first bit of a byte that the card writes.
pub const DONE: u8 = 1;
/// Where that byte lies in a transmit descriptor.
pub const TX_STATUS: u64 = 12;

/// What a context descriptor says (SDM s. 3.3.6); offsets in bytes from the start of the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Context {
    pub network_start: u8,
    pub network_sum: u8,
    /// Last byte; 0: the packet's.
    pub network_last: u16,
    pub transport_start: u8,
    pub transport_sum: u8,
    pub transport_last: u16,
    pub tcp: bool,
    pub ipv4: bool,
    pub segmented: bool,
    pub header_bytes: u8,
    pub mss: u16,
}

/// A piece of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data {
    pub at: Gpa,
    pub len: u32,
    pub end: bool,
    /// The tag that the whole packet gets, by its last piece.
    pub tag: Option<u16>,
    pub sums: Sums,
}

/// Which sums a packet gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sums {
    /// A legacy descriptor's own: from byte, to byte.
    Legacy(Option<(u8, u8)>),
    /// By a context: the network header's, the transport's, and whether it is segmented.
    Context { network: bool, transport: bool, segmented: bool },
}

/// A transmit descriptor, and whether the guest wants to hear of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transmit {
    Context(Context),
    Data(Data),
    /// Extended, of a type that there is not.
    Unknown,
}

fn half(bytes: &[u8; DESCRIPTOR_BYTES], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn dword(bytes: &[u8; DESCRIPTOR_BYTES], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// The first eight bytes: an address.
pub fn address(bytes: &[u8; DESCRIPTOR_BYTES]) -> Gpa {
    Gpa(u64::from(dword(bytes, 0)) | u64::from(dword(bytes, 4)) << 32)
}

/// Does the guest want the status of a transmit descriptor?
pub fn reports(bytes: &[u8; DESCRIPTOR_BYTES]) -> bool {
    dword(bytes, 8) & dcmd::RS != 0
}

pub fn parse(bytes: &[u8; DESCRIPTOR_BYTES]) -> Transmit {
    let command = dword(bytes, 8);
    match (command & dcmd::DEXT != 0, command & dcmd::DTYP) {
        (false, _) => Transmit::Data(legacy(bytes, command)),
        (true, dcmd::DTYP_DATA) => Transmit::Data(data(bytes, command)),
        (true, 0) => Transmit::Context(context(bytes, command)),
        (true, _) => Transmit::Unknown,
    }
}

fn legacy(bytes: &[u8; DESCRIPTOR_BYTES], command: u32) -> Data {
    let [sum_at, ..] = half(bytes, 10).to_le_bytes();
    let [_, sum_from] = half(bytes, 12).to_le_bytes();
    Data {
        at: address(bytes),
        len: command & 0xffff,
        end: command & dcmd::EOP != 0,
        tag: (command & dcmd::VLE != 0).then(|| half(bytes, 14)),
        sums: Sums::Legacy((command & dcmd::IC != 0).then_some((sum_from, sum_at))),
    }
}

fn data(bytes: &[u8; DESCRIPTOR_BYTES], command: u32) -> Data {
    let [_, options] = half(bytes, 12).to_le_bytes();
    Data {
        at: address(bytes),
        len: command & dcmd::LEN,
        end: command & dcmd::EOP != 0,
        tag: (command & dcmd::VLE != 0).then(|| half(bytes, 14)),
        sums: Sums::Context {
            network: options & 1 != 0,
            transport: options & 2 != 0,
            segmented: command & dcmd::TSE != 0,
        },
    }
}

fn context(bytes: &[u8; DESCRIPTOR_BYTES], command: u32) -> Context {
    let ([network_start, network_sum], [transport_start, transport_sum]) =
        (half(bytes, 0).to_le_bytes(), half(bytes, 4).to_le_bytes());
    let [_, header_bytes] = half(bytes, 12).to_le_bytes();
    Context {
        network_start,
        network_sum,
        network_last: half(bytes, 2),
        transport_start,
        transport_sum,
        transport_last: half(bytes, 6),
        tcp: command & dcmd::TCP != 0,
        ipv4: command & dcmd::IPV4 != 0,
        segmented: command & dcmd::TSE != 0,
        header_bytes,
        mss: half(bytes, 14),
    }
}

/// Status of a received frame, the same bits in every form of descriptor (SDM s. 3.2.3.1, DS s. 7.1.4.1).
pub mod rx {
    pub const DD: u32 = 1 << 0;
    pub const EOP: u32 = 1 << 1;
    /// Nothing was checked.
    pub const IXSM: u32 = 1 << 2;
    pub const VP: u32 = 1 << 3;
    /// UDP's sum was checked (82574).
    pub const UDPCS: u32 = 1 << 4;
    pub const TCPCS: u32 = 1 << 5;
    pub const IPCS: u32 = 1 << 6;
    /// It came through a hash.
    pub const PIF: u32 = 1 << 7;
    /// Errors: in the byte behind the status, and from bit 24 of the extended forms on.
    pub const TCPE: u8 = 1 << 5;
    pub const IPE: u8 = 1 << 6;
}

/// What is written into a receive descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Received {
    pub status: u32,
    pub errors: u8,
    pub len: u16,
    pub sum: u16,
    pub tag: u16,
    /// Of packet split: in the three buffers behind the first one.
    pub more: [u16; 3],
}

impl Received {
    /// Bytes 8 to 15 of a legacy descriptor.
    pub fn legacy(self) -> [u8; 8] {
        let ([a, b], [c, d], [e, f]) = (self.len.to_le_bytes(), self.sum.to_le_bytes(), self.tag.to_le_bytes());
        let [status, ..] = self.status.to_le_bytes();
        [a, b, c, d, status, self.errors, e, f]
    }

    /// An extended descriptor: two qwords, the status in the first half of the second.
    pub fn extended(self) -> [[u8; 8]; 2] {
        let status = self.status | u32::from(self.errors) << 24;
        let last = u64::from(status) | u64::from(self.len) << 32 | u64::from(self.tag) << 48;
        // No RSS: type and hash are 0, so bytes 6 and 7 hold the packet's sum.
        [(u64::from(self.sum) << 48).to_le_bytes(), last.to_le_bytes()]
    }

    /// The rest of one of packet split: no header was split off, lengths.
    pub fn split_rest(self) -> [[u8; 8]; 2] {
        let [one, two, three] = self.more;
        let lens = u64::from(one) << 16 | u64::from(two) << 32 | u64::from(three) << 48;
        [lens.to_le_bytes(), [0; 8]]
    }
}

/// Our own descriptors, legacy ones, for the real card.
pub mod own {
    use super::DESCRIPTOR_BYTES;
    use mediator::BusAddr;

    /// End of packet, check sequence by the card, report.
    const COMMAND: u8 = 0x0b;
    const END: u8 = 0x01;

    /// A receive descriptor as the card gets it.
    pub fn empty(at: BusAddr) -> [u8; DESCRIPTOR_BYTES] {
        u128::from(at.0).to_le_bytes()
    }

    /// A transmit descriptor.
    pub fn transmit(at: BusAddr, len: u16, is_last: bool) -> [u8; DESCRIPTOR_BYTES] {
        let command = if is_last { COMMAND } else { COMMAND & !END };
        (u128::from(at.0) | u128::from(len) << 64 | u128::from(command) << 88).to_le_bytes()
    }

    /// Status and errors, length.
    pub fn received(bytes: [u8; DESCRIPTOR_BYTES]) -> (u8, u8, usize) {
        let [.., a, b, _, _, status, errors, _, _] = bytes;
        (status, errors, usize::from(u16::from_le_bytes([a, b])))
    }

    pub fn is_sent(bytes: [u8; DESCRIPTOR_BYTES]) -> bool {
        let [.., status, _, _, _] = bytes;
        status & super::DONE != 0
    }
}
