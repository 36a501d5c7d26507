//! The EEPROM: a copy of the card's, which the guest may read in all ways and never write.
//!
//! SDM s. 5.6 (contents), 13.4.3, 13.4.4; DS s. 6. The chip of the 82540 and 82545 is on three wires (Microwire: start bit, opcode, 6
//! bits of address, 16 of data, the most significant first); in the 82574 the wires lead nowhere, and its drivers use EERD.

use crate::regs::{read, write};
use crate::spec::{Kind, eecd, reg};
use mediator::Device;
use mediator::net::MacAddr;

/// Words.
const WORDS: usize = 64;
/// All of them add up to this.
const SUM: u16 = 0xbaba;
const CHECKSUM: usize = 0x3f;
/// Initialization control 2 and 3: wake-up by a magic packet (APM).
const CONTROL: [usize; 3] = [0x0f, 0x14, 0x24];
const APM_ENABLE: u16 = 1 << 10;
/// Reads until one of EERD is given up.
const MAX_READS: u32 = 10_000;

/// EERD: start; done and address lie elsewhere in the 82574.
const START: u32 = 1 << 0;

fn done(kind: Kind) -> u32 {
    if kind.is_82574() { 1 << 1 } else { 1 << 4 }
}

fn address_shift(kind: Kind) -> u32 {
    if kind.is_82574() { 2 } else { 8 }
}

/// Reads a word of the real one. Waits. `None`: it does not answer.
pub fn read_word(device: &mut dyn Device, kind: Kind, word: u16) -> Option<u16> {
    write(device, reg::EERD, u32::from(word).wrapping_shl(address_shift(kind)) | START);
    (0..MAX_READS).find_map(|_| {
        let now = read(device, reg::EERD);
        // All of it is data in the upper half.
        (now != u32::MAX && now & done(kind) != 0).then_some((now >> 16) as u16)
    })
}

/// The wires of Microwire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Wires {
    clock: bool,
    selected: bool,
    out: bool,
    /// What has come in since it was selected, from the start bit on, and how many bits.
    bits: u16,
    count: u8,
    /// What is still to go out, and how many bits.
    word: u16,
    left: u8,
}

/// As the guest sees it.
pub struct Eeprom {
    words: [u16; WORDS],
    wires: Wires,
    requested: bool,
    eerd: u32,
}

impl Eeprom {
    /// A copy of the real one, or what it has to be where that does not answer. Waits.
    pub fn copy(device: &mut dyn Device, kind: Kind, mac: MacAddr) -> Self {
        let mut words = [0; WORDS];
        for (number, word) in words.iter_mut().enumerate() {
            match u16::try_from(number).ok().and_then(|number| read_word(device, kind, number)) {
                Some(value) => *word = value,
                None => break,
            }
        }
        for (word, bytes) in words.iter_mut().zip(mac.as_chunks::<2>().0) {
            *word = u16::from_le_bytes(*bytes);
        }
        for at in CONTROL {
            if let Some(word) = words.get_mut(at) {
                *word &= !APM_ENABLE;
            }
        }
        let sum = words.iter().take(CHECKSUM).fold(0_u16, |sum, word| sum.wrapping_add(*word));
        if let Some(last) = words.get_mut(CHECKSUM) {
            *last = SUM.wrapping_sub(sum);
        }
        Self { words, wires: Wires::default(), requested: false, eerd: 0 }
    }

    pub fn reset(&mut self) {
        (self.wires, self.requested, self.eerd) = (Wires::default(), false, 0);
    }

    fn word(&self, number: u32) -> u16 {
        usize::try_from(number).ok().and_then(|number| self.words.get(number)).copied().unwrap_or(0xffff)
    }

    pub fn write_eerd(&mut self, kind: Kind, value: u32) {
        if value & START == 0 {
            self.eerd = value & !done(kind);
            return;
        }
        let shift = address_shift(kind);
        let number = (value & 0xffff).wrapping_shr(shift) & if kind.is_82574() { 0x3fff } else { 0xff };
        self.eerd = number.wrapping_shl(shift) | done(kind) | u32::from(self.word(number)) << 16;
    }

    pub fn read_eerd(&self) -> u32 {
        self.eerd
    }

    pub fn read_eecd(&self, kind: Kind) -> u32 {
        let granted = if self.requested { eecd::REQ | eecd::GNT } else { 0 };
        let Wires { clock, selected, out, .. } = self.wires;
        let wires = [(clock, eecd::SK), (selected, eecd::CS), (out, eecd::DO)];
        let wires = wires.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
        granted | wires | eecd::PRES | if kind.is_82574() { eecd::AUTO_RD } else { 0 }
    }

    pub fn write_eecd(&mut self, kind: Kind, value: u32) {
        self.requested = value & eecd::REQ != 0;
        if kind.is_82574() {
            return;
        }
        let wires = &mut self.wires;
        let (clock, selected) = (value & eecd::SK != 0, value & eecd::CS != 0);
        let rises = clock && !wires.clock;
        if !selected {
            // Idle; with DO high the chip says that it is ready after a write, which never is one.
            *wires = Wires { clock, out: true, ..Wires::default() };
            return;
        }
        (wires.clock, wires.selected) = (clock, true);
        if rises {
            self.clock(value & eecd::DI != 0);
        }
    }

    /// One bit in, one out.
    fn clock(&mut self, bit: bool) {
        const READ: u16 = 0b110;
        let wires = &mut self.wires;
        if wires.left > 0 {
            wires.left = wires.left.saturating_sub(1);
            wires.out = wires.word.wrapping_shr(wires.left.into()) & 1 != 0;
            return;
        }
        if wires.count == 0 && !bit {
            return;
        }
        wires.bits = wires.bits << 1 | u16::from(bit);
        wires.count = wires.count.saturating_add(1);
        // Start bit, two of opcode, six of address.
        if wires.count == 9 {
            let (command, number) = (wires.bits >> 6, wires.bits & 0x3f);
            wires.out = false;
            if command == READ {
                let word = self.words.get(usize::from(number)).copied().unwrap_or(0xffff);
                (wires.word, wires.left, wires.count, wires.bits) = (word, 16, 0, 0);
            } else {
                // Write, erase, and their locks: nothing happens. The data that follow are no start bits either.
                wires.count = 10;
            }
        }
        if self.wires.count > 10 {
            self.wires.count = 10;
        }
    }
}
