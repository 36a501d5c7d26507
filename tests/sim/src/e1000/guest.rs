//! A driver in the guest: it sets the card up as Linux does, and sends and receives in every form.

use super::machine::E1000Machine;
use super::regs::*;

/// Rings, and buffers of the driver's.
const RX_RING: u64 = 0x10_0000;
const TX_RING: u64 = 0x11_0000;
const RX_BUFFERS: u64 = 0x20_0000;
const RX_BUFFER_STEP: u64 = 0x1_0000;
pub const TX_BUFFERS: u64 = 0x200_0000;
const TX_BUFFER_STEP: u64 = 0x2_0000;

/// Of receive descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Legacy,
    Extended,
    /// Four buffers.
    Split,
}

/// A received frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    pub bytes: Vec<u8>,
    /// As in the last descriptor, the upper byte being the errors.
    pub status: u32,
    pub tag: u16,
    pub sum: u16,
    pub descriptors: usize,
}

/// What the driver leaves to the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offload {
    /// Start, place and last byte of each sum.
    pub network: Option<(u8, u8, u16)>,
    pub transport: Option<(u8, u8, u16)>,
    /// Length of headers, longest payload, IPv4, TCP.
    pub segments: Option<(u8, u16, bool, bool)>,
    pub tag: Option<u16>,
}

/// The driver's own state.
pub struct E1000Guest {
    pub count: u32,
    pub form: Form,
    pub rctl: u32,
    /// Bytes of a receive buffer.
    pub buffer: usize,
    pub rx_next: u32,
    pub tx_next: u32,
    /// Causes that it has read, all of them.
    pub causes: u32,
}

impl Default for E1000Guest {
    /// 64 descriptors, 2 KiB, legacy; broadcasts too.
    fn default() -> Self {
        Self { count: 64, form: Form::Legacy, rctl: 0x8002, buffer: 2048, rx_next: 0, tx_next: 0, causes: 0 }
    }
}

/// A script of register writes; `Err` means that the budget of them is used up.
type Step = (u32, u32);

impl E1000Guest {
    fn rx_bytes(&self) -> u64 {
        if self.form == Form::Split { 32 } else { 16 }
    }

    fn rx_buffer(&self, index: u32) -> u64 {
        RX_BUFFERS + u64::from(index) * RX_BUFFER_STEP
    }

    /// The writes by which the driver starts, in order.
    pub fn script(&self) -> Vec<Step> {
        let split = if self.form == Form::Split { 1 << 10 } else { 0 };
        let extended = if self.form == Form::Legacy { 0 } else { 1 << 15 };
        let mut steps = vec![(IMC, u32::MAX), (RCTL, 0), (TCTL, 8), (CTRL, 1 << 26 | 0x41), (IMC, u32::MAX)];
        steps.extend([(CTRL, 0x41), (RFCTL, extended), (PSRCTL, 0x0404_0402)]);
        steps.extend((0..128).map(|n| (MTA + 4 * n, 0)));
        steps.extend([(TDBAL, TX_RING as u32), (TDBAH, 0), (TDLEN, self.count * 16), (TDH, 0), (TDT, 0)]);
        steps.extend([(TCTL, 0x0004_00fa), (RXCSUM, 0x300)]);
        steps.extend([
            (RDBAL, RX_RING as u32),
            (RDBAH, 0),
            (RDLEN, self.count * self.rx_bytes() as u32),
            (RDH, 0),
            (RDT, 0),
        ]);
        steps.extend([(RCTL, self.rctl | split), (RDT, self.count - 1), (IMS, LSC | RXT0 | RXDMT0 | RXO | TXDW)]);
        steps
    }

    /// Rings in memory.
    pub fn prepare(&mut self, machine: &mut E1000Machine) {
        (self.rx_next, self.tx_next) = (0, 0);
        for index in 0..self.count {
            self.give(machine, index);
            machine.ram.poke(TX_RING + u64::from(index) * 16, &[0; 16]);
        }
    }

    /// Sets the card up.
    pub fn start(&mut self, machine: &mut E1000Machine) {
        self.prepare(machine);
        for (offset, value) in self.script() {
            machine.write(offset, value);
        }
    }

    fn give(&self, machine: &mut E1000Machine, index: u32) {
        let at = RX_RING + u64::from(index) * self.rx_bytes();
        let buffer = self.rx_buffer(index);
        if self.form != Form::Split {
            let bytes = u128::from(buffer).to_le_bytes();
            return machine.ram.poke(at, &bytes);
        }
        // 256 bytes, then three times 4 KiB.
        for (n, offset) in [0, 0x1000, 0x2000, 0x3000].into_iter().enumerate() {
            machine.ram.poke(at + 8 * n as u64, &(buffer + offset).to_le_bytes());
        }
    }

    /// Where a transmit descriptor lies.
    pub fn tx_at(&self, index: u32) -> u64 {
        TX_RING + u64::from(index) * 16
    }

    pub fn rx_at(&self, index: u32) -> u64 {
        RX_RING + u64::from(index) * self.rx_bytes()
    }

    pub fn tail(&self) -> u32 {
        self.tx_next
    }

    /// Puts a descriptor into the ring; gives its index.
    pub fn put(&mut self, machine: &mut E1000Machine, descriptor: u128) -> u32 {
        let index = self.tx_next;
        machine.ram.poke(self.tx_at(index), &descriptor.to_le_bytes());
        self.tx_next = (index + 1) % self.count;
        index
    }

    /// The doorbell.
    pub fn ring(&self, machine: &mut E1000Machine) {
        machine.write(TDT, self.tx_next);
    }

    /// Puts a frame into the ring, in pieces of these lengths and the rest, by legacy descriptors; gives the index of the last.
    pub fn put_legacy(&mut self, machine: &mut E1000Machine, frame: &[u8], pieces: &[usize], tag: Option<u16>) -> u32 {
        self.put_pieces(machine, frame, pieces, |at, len, end| {
            let command = 0x0a | u128::from(end) | if tag.is_some() { 0x40 } else { 0 };
            u128::from(at) | (len as u128) << 64 | command << 88 | u128::from(tag.unwrap_or(0)) << 112
        })
    }

    fn put_pieces(
        &mut self,
        machine: &mut E1000Machine,
        frame: &[u8],
        pieces: &[usize],
        descriptor: impl Fn(u64, usize, bool) -> u128,
    ) -> u32 {
        let at = TX_BUFFERS + u64::from(self.tx_next) * if self.count > 128 { 0x2000 } else { TX_BUFFER_STEP };
        machine.ram.poke(at, frame);
        let mut offset = 0;
        for &len in pieces {
            self.put(machine, descriptor(at + offset as u64, len, false));
            offset += len;
        }
        self.put(machine, descriptor(at + offset as u64, frame.len() - offset, true))
    }

    /// By a context and data descriptors.
    pub fn put_extended(
        &mut self,
        machine: &mut E1000Machine,
        frame: &[u8],
        pieces: &[usize],
        offload: Offload,
    ) -> u32 {
        let triple = |of: Option<(u8, u8, u16)>| {
            let (start, at, last) = of.unwrap_or_default();
            u128::from(start) | u128::from(at) << 8 | u128::from(last) << 16
        };
        let (header, mss, ipv4, tcp) = offload.segments.unwrap_or((0, 0, true, true));
        let segmented = u128::from(offload.segments.is_some());
        let payload = (frame.len() - usize::from(header)) as u128;
        let command = 0x20 | segmented << 2 | u128::from(ipv4) << 1 | u128::from(tcp);
        let context = triple(offload.network)
            | triple(offload.transport) << 32
            | payload << 64
            | command << 88
            | u128::from(header) << 104
            | u128::from(mss) << 112;
        self.put(machine, context);
        let options = u128::from(offload.network.is_some()) | u128::from(offload.transport.is_some()) << 1;
        self.put_pieces(machine, frame, pieces, |at, len, end| {
            let command = 0x2a | segmented << 2 | u128::from(end) | if offload.tag.is_some() { 0x40 } else { 0 };
            let low = u128::from(at) | (len as u128) << 64 | 1 << 84 | command << 88;
            low | options << 104 | u128::from(offload.tag.unwrap_or(0)) << 112
        })
    }

    /// Sends a frame by a legacy descriptor.
    pub fn send(&mut self, machine: &mut E1000Machine, frame: &[u8]) -> u32 {
        let index = self.put_legacy(machine, frame, &[], None);
        self.ring(machine);
        index
    }

    /// Has the card written that this descriptor is done?
    pub fn is_done(&self, machine: &E1000Machine, index: u32) -> bool {
        machine.ram.peek(self.tx_at(index) + 12, 1)[0] & 1 != 0
    }

    /// The interrupt handler, if an interrupt has come: reads ICR, takes frames. Gives whether the driver took it for its own.
    pub fn interrupt(&mut self, machine: &mut E1000Machine) -> Option<(u32, Vec<Frame>)> {
        machine.card.line().then(|| {
            let causes = machine.read(ICR);
            self.causes |= causes;
            (causes, self.poll(machine))
        })
    }

    /// Takes frames that are in memory.
    pub fn poll(&mut self, machine: &mut E1000Machine) -> Vec<Frame> {
        let (mut frames, mut frame, mut taken) = (Vec::new(), Frame::empty(), 0);
        while let Some((end, piece)) = self.piece(machine, self.rx_next) {
            frame.descriptors += 1;
            frame.bytes.extend(&piece.bytes);
            (frame.status, frame.tag, frame.sum) = (piece.status, piece.tag, piece.sum);
            self.give(machine, self.rx_next);
            self.rx_next = (self.rx_next + 1) % self.count;
            taken += 1;
            if end {
                frames.push(std::mem::replace(&mut frame, Frame::empty()));
            }
        }
        assert!(frame.bytes.is_empty(), "a frame without an end");
        if taken > 0 {
            machine.write(RDT, (self.rx_next + self.count - 1) % self.count);
        }
        frames
    }

    fn piece(&self, machine: &E1000Machine, index: u32) -> Option<(bool, Frame)> {
        let bytes = machine.ram.peek(self.rx_at(index), self.rx_bytes() as usize);
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let (status, len, sum) = if self.form == Form::Legacy {
            (u32::from(bytes[12]) | u32::from(bytes[13]) << 24, half(8), half(10))
        } else {
            (u32::from_le_bytes(bytes[8..12].try_into().unwrap()), half(12), half(6))
        };
        if status & 1 == 0 {
            return None;
        }
        let mut lens = vec![len];
        if self.form == Form::Split {
            lens.extend([half(18), half(20), half(22)]);
        }
        let starts = [0, 0x1000, 0x2000, 0x3000];
        let parts =
            lens.iter().zip(starts).map(|(len, start)| machine.ram.peek(self.rx_buffer(index) + start, (*len).into()));
        let data = parts.flatten().copied().collect();
        Some((status & 2 != 0, Frame { bytes: data, status, tag: half(14), sum, descriptors: 1 }))
    }
}

impl Frame {
    fn empty() -> Self {
        Self { bytes: Vec::new(), status: 0, tag: 0, sum: 0, descriptors: 0 }
    }
}
