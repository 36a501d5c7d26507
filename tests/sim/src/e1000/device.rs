//! The card itself: registers, descriptors, the cable.

use super::regs::*;
use crate::{Bus, DmaFault, SimMemory};
use std::collections::{BTreeMap, VecDeque};

/// What a context descriptor has set.
#[derive(Clone, Copy, Default, Debug)]
struct Context {
    starts: [usize; 2],
    sums: [usize; 2],
    ends: [usize; 2],
}

/// See the module.
pub struct SimE1000 {
    pub id: u16,
    pub mac: [u8; 6],
    regs: BTreeMap<u32, u32>,
    pub eeprom: [u16; 64],
    /// Is a cable plugged in, with somebody at its other end?
    pub cable: bool,
    /// Frames on the cable, as they have left.
    pub sent: Vec<Vec<u8>>,
    /// Frames on the cable that have not come yet.
    pub coming: VecDeque<Vec<u8>>,
    /// Frames for which there was no descriptor, or no receiver.
    pub lost: usize,
    /// How often the line of interrupts, or a message, has come up.
    pub interrupts: usize,
    line: bool,
    /// The packet that is not whole yet.
    packet: Vec<u8>,
    context: Context,
    /// No buffer may lie outside the arena: the VMM drives the card.
    pub is_ours: bool,
    /// Every transmit descriptor keeps the card busy for so many steps.
    pub slow: u32,
    busy: u32,
    /// Nothing is written when frames come or are sent: a card that is stuck.
    pub stuck: bool,
    /// Lengths and status in receive descriptors are nonsense.
    pub mad: bool,
}

impl SimE1000 {
    pub fn new(id: u16) -> Self {
        let mac = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
        let mut eeprom = [0x1111; 64];
        for (word, bytes) in eeprom.iter_mut().zip(mac.chunks(2)) {
            *word = u16::from_le_bytes([bytes[0], bytes[1]]);
        }
        (eeprom[0x0f], eeprom[0x24]) = (0x0400, 0x0400);
        let mut card = Self {
            id,
            mac,
            regs: BTreeMap::new(),
            eeprom,
            cable: true,
            sent: Vec::new(),
            coming: VecDeque::new(),
            lost: 0,
            interrupts: 0,
            line: false,
            packet: Vec::new(),
            context: Context::default(),
            is_ours: true,
            slow: 0,
            busy: 0,
            stuck: false,
            mad: false,
        };
        card.reset();
        // As firmware has left it.
        card.regs.insert(IMS, RXT0);
        card.regs.insert(WUC, 1);
        card.regs.insert(WUFC, 0xff);
        card.regs.insert(RDBAL, 0x9_0000);
        card.regs.insert(RDLEN, 0x80);
        card.regs.insert(RCTL, 2);
        card
    }

    fn is_new(&self) -> bool {
        self.id == I82574L
    }

    /// Registers as after a reset, or after the power was off.
    pub fn reset(&mut self) {
        self.regs.clear();
        let [a, b, c, d, e, f] = self.mac;
        self.regs.insert(RAL, u32::from_le_bytes([a, b, c, d]));
        self.regs.insert(RAH, u32::from_le_bytes([e, f, 0, 0x80]));
        self.packet.clear();
        self.busy = 0;
        self.update_line();
    }

    pub fn get(&self, offset: u32) -> u32 {
        self.regs.get(&offset).copied().unwrap_or(0)
    }

    fn set(&mut self, offset: u32, value: u32) {
        self.regs.insert(offset, value);
    }

    fn update_line(&mut self) {
        let line = self.get(ICR) & self.get(IMS) != 0;
        if line && !self.line {
            self.interrupts += 1;
        }
        self.line = line;
    }

    /// Is the interrupt line up?
    pub fn line(&self) -> bool {
        self.line
    }

    fn cause(&mut self, causes: u32) {
        self.set(ICR, self.get(ICR) | causes);
        self.update_line();
    }

    fn link(&self) -> bool {
        self.cable && self.get(CTRL) & 1 << 6 != 0
    }

    /// Plugs the cable in or out.
    pub fn plug(&mut self, cable: bool) {
        if self.cable != cable {
            self.cable = cable;
            self.cause(LSC);
        }
    }

    pub fn read(&mut self, offset: u32) -> u32 {
        match offset {
            // Link, full duplex, 1000 Mb/s.
            STATUS => {
                let master = u32::from(self.is_new() && self.get(CTRL) & 4 == 0) << 19;
                0x8000_0381 | master | u32::from(self.cable) << 1
            }
            ICR => {
                let value = self.get(ICR);
                // The 82574 keeps causes that it has not asked for (as QEMU's).
                if !self.is_new() || self.get(IMS) == 0 {
                    self.set(ICR, 0);
                }
                self.update_line();
                value
            }
            _ => self.get(offset),
        }
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        match offset {
            CTRL if value & 1 << 26 != 0 => self.reset(),
            STATUS | IMC => self.set(IMS, self.get(IMS) & !if offset == IMC { value } else { 0 }),
            ICR => self.set(ICR, self.get(ICR) & !value),
            ICS => self.set(ICR, self.get(ICR) | value & 0x7fff_ffff),
            IMS => self.set(IMS, self.get(IMS) | value),
            EERD if value & 1 != 0 => {
                let (shift, done) = if self.is_new() { (2, 2) } else { (8, 0x10) };
                let word = self.eeprom.get((value & 0xffff) as usize >> shift).copied().unwrap_or(0);
                self.set(EERD, u32::from(word) << 16 | done);
            }
            RDBAL | TDBAL => self.set(offset, value & !15),
            RDLEN | TDLEN => self.set(offset, value & 0xf_ff80),
            RDH | RDT | TDH | TDT => self.set(offset, value & 0xffff),
            _ => self.set(offset, value),
        }
        self.update_line();
    }

    fn ring(&self, base: u32) -> (u64, u32) {
        (u64::from(self.get(base)) | u64::from(self.get(base + 4)) << 32, self.get(base + 8) / 16)
    }

    /// Looks at every address that the card holds.
    pub fn audit(&self, bus: &mut Bus<'_>) {
        for (base, enable, is_tx) in [(RDBAL, RCTL, false), (TDBAL, TCTL, true)] {
            let (at, count) = self.ring(base);
            if self.get(enable) & 2 == 0 || count == 0 {
                continue;
            }
            if !bus.arena.holds(at, u64::from(count) * 16) {
                bus.fault(DmaFault::TableOutsideArena { at });
                continue;
            }
            let (mut head, tail) = (self.get(base + 0x10), self.get(base + 0x18));
            while head != tail && head < count && tail < count {
                let mut bytes = [0; 16];
                bus.read(at + u64::from(head) * 16, &mut bytes);
                let extended = is_tx && bytes[11] & 0x20 != 0;
                let length = if !is_tx {
                    self.buffer_bytes() as u64
                } else if extended && bytes[10] >> 4 == 0 {
                    0
                } else {
                    let mask = if extended { 0xf_ffff } else { 0xffff };
                    u64::from(u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) & mask)
                };
                let buffer = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                let inside = bus.arena.holds(buffer, length) || !self.is_ours && SimMemory::is_ram(buffer, length);
                if length > 0 && !inside {
                    bus.fault(DmaFault::ProtectedWithoutBounce { at: buffer });
                }
                head = (head + 1) % count;
            }
        }
    }

    fn buffer_bytes(&self) -> usize {
        let rctl = self.get(RCTL);
        let size = rctl >> 16 & 3;
        if rctl & 1 << 25 != 0 && size > 0 { 0x8000 >> size } else { 2048 >> size }
    }

    /// One step: a descriptor to send, and a frame to receive.
    pub fn tick(&mut self, bus: &mut Bus<'_>) {
        if self.stuck {
            return;
        }
        if self.busy > 0 {
            self.busy -= 1;
        } else {
            self.send_one(bus);
        }
        if self.coming.pop_front().is_some_and(|frame| !self.receive(bus, &frame)) {
            self.lost += 1;
        }
    }

    fn send_one(&mut self, bus: &mut Bus<'_>) {
        let (at, count) = self.ring(TDBAL);
        let (head, tail) = (self.get(TDH), self.get(TDT));
        if self.get(TCTL) & 2 == 0 || !self.link() || head == tail || head >= count {
            return;
        }
        self.busy = self.slow;
        let at = at + u64::from(head) * 16;
        let mut bytes = [0; 16];
        bus.read(at, &mut bytes);
        let (command, extended) = (bytes[11], bytes[11] & 0x20 != 0);
        if extended && bytes[10] >> 4 == 0 {
            let half = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
            self.context = Context {
                starts: [bytes[0].into(), bytes[4].into()],
                sums: [bytes[1].into(), bytes[5].into()],
                ends: [half(2), half(6)],
            };
        } else {
            let mask = if extended { 0xf_ffff } else { 0xffff };
            let len = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) & mask;
            let mut piece = vec![0; len as usize];
            bus.read(u64::from_le_bytes(bytes[..8].try_into().unwrap()), &mut piece);
            self.packet.extend(piece);
            if command & 1 != 0 {
                let mut packet = std::mem::take(&mut self.packet);
                if extended {
                    (0..2).filter(|n| bytes[13] & 1 << n != 0).for_each(|n| self.sum(&mut packet, n));
                }
                self.sent.push(packet);
            }
        }
        if command & 8 != 0 {
            bus.write(at + 12, &[bytes[12] | 1]);
            self.cause(TXDW);
        }
        self.set(TDH, (head + 1) % count);
        if self.get(TDH) == tail {
            self.cause(TXQE);
        }
    }

    fn sum(&self, packet: &mut [u8], which: usize) {
        let Context { starts, sums, ends } = self.context;
        let end = if ends[which] == 0 { packet.len() } else { (ends[which] + 1).min(packet.len()) };
        let Some(range) = packet.get(starts[which]..end) else { return };
        let mut sum: u32 = range.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        if let Some(place) = packet.get_mut(sums[which]..sums[which] + 2) {
            place.copy_from_slice(&(!sum as u16).to_be_bytes());
        }
    }

    fn receive(&mut self, bus: &mut Bus<'_>, frame: &[u8]) -> bool {
        let (base, count) = self.ring(RDBAL);
        let extended = self.is_new() && self.get(RFCTL) & 1 << 15 != 0;
        if self.get(RCTL) & 2 == 0 || !self.link() || count == 0 {
            return false;
        }
        let mut data = frame.to_vec();
        data.resize(frame.len().max(60) + if self.get(RCTL) & 1 << 26 == 0 { 4 } else { 0 }, 0);
        let free = (self.get(RDT) + count - self.get(RDH)) % count;
        let size = self.buffer_bytes();
        if data.len().div_ceil(size) > free as usize {
            self.cause(RXO);
            return false;
        }
        let pieces = data.chunks(size).count();
        for (n, piece) in data.chunks(size).enumerate() {
            let head = self.get(RDH);
            let at = base + u64::from(head) * 16;
            let mut bytes = [0; 16];
            bus.read(at, &mut bytes);
            bus.write(u64::from_le_bytes(bytes[..8].try_into().unwrap()), piece);
            let mut len = piece.len() as u16;
            let mut status = 1 | if n + 1 == pieces { 2 } else { 0 };
            if self.mad {
                (len, status) = (len.wrapping_mul(0x4321), status ^ (len as u32 & 2));
            }
            if extended {
                bus.write(at, &[0; 8]);
                bus.write(at + 12, &u32::from(len).to_le_bytes());
                bus.write(at + 8, &status.to_le_bytes());
            } else {
                bus.write(at + 8, &(u64::from(len) | u64::from(status) << 32).to_le_bytes());
            }
            self.set(RDH, (head + 1) % count);
        }
        self.cause(RXT0);
        true
    }
}
