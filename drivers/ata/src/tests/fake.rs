//! A drive and its bus master, as far as the unit tests need them: channel 0, unit 0. It never acts by itself: DMA
//! happens when a test calls [`Drive::run_dma`].

use crate::spec::{bm, code, control, device, reg, status};
use ::mediator::{Device, RegionId, Width};
use alloc::vec;
use alloc::vec::Vec;

pub const READY: u8 = status::DRDY | status::DSC;
pub const DISK_SECTORS: u64 = 8192;

pub struct Pio {
    pub write: bool,
    pub lba: u64,
    pub left: usize,
    pub block: usize,
    pub data: Vec<u8>,
    pub at: usize,
}

pub struct Dma {
    pub write: bool,
    pub lba: u64,
    pub sectors: usize,
}

pub struct Drive {
    pub disk: Vec<u8>,
    pub identify: [u8; 512],
    pub present: bool,
    pub packet: bool,
    pub current: [u8; 6],
    pub previous: [u8; 6],
    pub device: u8,
    pub control: u8,
    pub status: u8,
    pub error: u8,
    pub intrq: bool,
    /// How often the guest was interrupted.
    pub interrupts: u32,
    pub pio: Option<Pio>,
    pub dma: Option<Dma>,
    pub bm_command: u8,
    pub bm_status: u8,
    pub bm_table: u32,
    pub multiple: u8,
    /// After a written block neither BSY nor DRQ shows, until [`Drive::next_block`].
    pub slow: bool,
    /// It hears no reset.
    pub deaf: bool,
    /// This sector cannot be read.
    pub bad: Option<u64>,
    /// Commands received: code, LBA, count.
    pub commands: Vec<(u8, u64, u32)>,
    pub config: [u8; 256],
    /// Calls of `read_string` and `write_string`.
    pub strings: u32,
}

impl Drive {
    pub fn new() -> Self {
        let mut config = [0; 256];
        config[0x04] = 5;
        config[0x09..0x0c].copy_from_slice(&[0x80, 1, 1]);
        config[0x20..0x24].copy_from_slice(&0xc001_u32.to_le_bytes());
        Self {
            disk: (0..DISK_SECTORS * 512).map(|n| (n / 512 * 7 + n) as u8).collect(),
            identify: identify(),
            present: true,
            packet: false,
            current: [0; 6],
            previous: [0; 6],
            device: 0,
            control: 0,
            status: READY,
            error: 0,
            intrq: false,
            interrupts: 0,
            pio: None,
            dma: None,
            bm_command: 0,
            bm_status: 0,
            bm_table: 0,
            multiple: 4,
            slow: false,
            deaf: false,
            bad: None,
            commands: Vec::new(),
            config,
            strings: 0,
        }
    }

    fn selected(&self) -> bool {
        self.device & device::DEV == 0
    }

    fn interrupt(&mut self) {
        self.intrq = true;
        if self.control & control::NIEN == 0 {
            self.interrupts += 1;
            self.bm_status |= bm::INTERRUPT;
        }
    }

    fn finish(&mut self, error: u8) {
        self.error = error;
        self.status = READY | u8::from(error != 0);
        self.interrupt();
    }

    fn request(&self, ext: bool) -> (u64, usize) {
        let [_, _, count, low, mid, high] = self.current.map(u64::from);
        let [_, _, count2, low2, mid2, high2] = self.previous.map(u64::from);
        let lba = low | mid << 8 | high << 16;
        if ext {
            let sectors = (count | count2 << 8) as usize;
            return (lba | low2 << 24 | mid2 << 32 | high2 << 40, if sectors == 0 { 65536 } else { sectors });
        }
        assert!(self.device & device::LBA != 0, "the mediator speaks LBA to protected disks");
        (lba | u64::from(self.device & 15) << 24, if count == 0 { 256 } else { count as usize })
    }

    fn command(&mut self, command: u8) {
        if self.status & (status::BSY | status::DRQ) != 0 && command != code::DEVICE_RESET {
            panic!("command {command:#x} while busy: a real drive is undefined here");
        }
        self.intrq = false;
        self.error = 0;
        let ext = matches!(command, 0x24 | 0x25 | 0x29 | 0x34 | 0x35 | 0x39 | 0x42);
        let sectored = ext || matches!(command, 0x20 | 0x30 | 0xc4 | 0xc5 | 0xc8 | 0xca | 0x40);
        let (lba, sectors) = if sectored { self.request(ext) } else { (0, 0) };
        self.commands.push((command, lba, sectors as u32));
        let multiple = usize::from(self.multiple);
        match command {
            0x20 | 0x24 => self.start_pio(false, lba, sectors, 1),
            0x30 | 0x34 => self.start_pio(true, lba, sectors, 1),
            0xc4 | 0x29 => self.start_pio(false, lba, sectors, multiple),
            0xc5 | 0x39 => self.start_pio(true, lba, sectors, multiple),
            0xc8 | 0x25 => self.start_dma(false, lba, sectors),
            0xca | 0x35 => self.start_dma(true, lba, sectors),
            // The list lands at the end of the disk, for the test to see.
            code::DATA_SET_MANAGEMENT => self.start_dma(true, DISK_SECTORS - 1, 1),
            code::IDENTIFY_DEVICE if self.packet => {
                (self.current[4], self.current[5]) = (0x14, 0xeb);
                self.finish(4);
            }
            code::IDENTIFY_DEVICE => {
                let data = self.identify.to_vec();
                self.pio = Some(Pio { write: false, lba: 0, left: 0, block: 1, data, at: 0 });
                self.status = READY | status::DRQ;
                self.interrupt();
            }
            code::PACKET => self.status = READY | status::DRQ,
            code::NOP => self.finish(4),
            code::SET_MULTIPLE_MODE => {
                self.multiple = self.current[2];
                self.finish(0);
            }
            _ => self.finish(0),
        }
    }

    fn start_dma(&mut self, write: bool, lba: u64, sectors: usize) {
        self.dma = Some(Dma { write, lba, sectors });
        self.status = READY | status::DRQ;
    }

    fn start_pio(&mut self, write: bool, lba: u64, left: usize, block: usize) {
        self.pio = Some(Pio { write, lba, left, block, data: Vec::new(), at: 0 });
        self.next_block();
        if !write {
            self.interrupt();
        }
    }

    pub fn next_block(&mut self) {
        let pio = self.pio.as_mut().unwrap();
        let n = pio.block.min(pio.left);
        pio.at = 0;
        let at = pio.lba as usize * 512;
        pio.data = if pio.write { vec![0; n * 512] } else { self.disk[at..at + n * 512].to_vec() };
        if !pio.write {
            pio.lba += n as u64;
            pio.left -= n;
        }
        self.status = READY | status::DRQ;
    }

    fn data(&mut self, word: &mut [u8], write: bool) {
        let wanted = self.status & status::DRQ != 0;
        let Some(pio) = self.pio.as_mut().filter(|pio| wanted && pio.write == write) else {
            word.fill(0xee);
            return;
        };
        let piece = &mut pio.data[pio.at..pio.at + word.len()];
        if write {
            piece.copy_from_slice(word)
        } else {
            word.copy_from_slice(piece)
        }
        pio.at += word.len();
        if pio.at < pio.data.len() {
            return;
        }
        if write {
            let at = pio.lba as usize * 512;
            self.disk[at..at + pio.data.len()].copy_from_slice(&pio.data);
            let n = pio.data.len() / 512;
            pio.lba += n as u64;
            pio.left -= n;
        }
        if pio.left > 0 && write && self.slow {
            self.status = READY;
        } else if pio.left > 0 {
            self.next_block();
            self.interrupt();
        } else {
            self.pio = None;
            self.status = READY;
            if write {
                self.interrupt();
            }
        }
    }

    /// The bus master runs, if it may. `access` moves bytes between a buffer and a bus address; `true`: from
    /// memory.
    pub fn run_dma(&mut self, mut access: impl FnMut(u32, &mut [u8], bool)) {
        if self.bm_status & bm::ACTIVE == 0 {
            return;
        }
        let Some(dma) = &self.dma else { return };
        assert_eq!(dma.write, self.bm_command & bm::TO_MEMORY == 0, "direction");
        let (write, lba) = (dma.write, dma.lba);
        let bad = self.bad.filter(|bad| !write && (lba..lba + dma.sectors as u64).contains(bad));
        let good = bad.map_or(dma.sectors, |bad| (bad - lba) as usize) * 512;
        let (start, mut done, mut last) = (lba as usize * 512, 0, false);
        let mut entry = self.bm_table;
        while done < good && !last {
            let mut raw = [0; 8];
            access(entry, &mut raw, true);
            assert!(entry.is_multiple_of(4) && entry / 0x1_0000 == self.bm_table / 0x1_0000, "table crosses 64 KiB");
            entry += 8;
            let base = u32::from_le_bytes(raw[..4].try_into().unwrap());
            let second = u32::from_le_bytes(raw[4..].try_into().unwrap());
            let len = if second & 0xffff == 0 { 0x1_0000 } else { second as usize & 0xffff };
            assert!(base as usize % 0x1_0000 + len <= 0x1_0000, "region crosses 64 KiB");
            let len_used = len.min(good - done);
            access(base, &mut self.disk[start + done..start + done + len_used], write);
            done += len_used;
            last = second >> 31 != 0 && len_used == len;
        }
        if done < good {
            self.bm_status &= !bm::ACTIVE;
            return;
        }
        self.dma = None;
        match bad {
            Some(bad) => {
                let [low, mid, high, low2, mid2, high2, ..] = bad.to_le_bytes();
                (self.current[3], self.current[4], self.current[5]) = (low, mid, high);
                (self.previous[3], self.previous[4], self.previous[5]) = (low2, mid2, high2);
                self.device = (self.device & 0xf0) | (low2 & 15);
                self.finish(0x40);
            }
            None => {
                self.finish(0);
                if last {
                    self.bm_status &= !bm::ACTIVE;
                }
            }
        }
    }

    fn read_byte(&mut self, region: u8, offset: u32) -> u8 {
        match (region, offset) {
            (0 | 1, _) if !self.present => 0xff,
            (0 | 1, _) if !self.selected() => 0,
            (0, reg::ERROR) => self.error,
            (0, reg::DEVICE) => self.device,
            (0, reg::STATUS) => {
                self.intrq = false;
                self.status
            }
            (0, _) if self.control & control::HOB != 0 => self.previous[offset as usize],
            (0, _) => self.current[offset as usize],
            (1, 0) => self.status,
            (4, bm::COMMAND) => self.bm_command,
            (4, bm::STATUS) => self.bm_status,
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, region: u8, offset: u32, value: u8) {
        match (region, offset) {
            (0, reg::DEVICE) => self.device = value,
            (0, reg::COMMAND) if self.selected() && self.present => self.command(value),
            (0, reg::FEATURES..=reg::LBA_HIGH) => {
                let at = offset as usize;
                (self.previous[at], self.current[at]) = (self.current[at], value);
            }
            (1, 0) => {
                self.control = value;
                if value & control::SRST != 0 && !self.deaf {
                    (self.pio, self.dma, self.status, self.device) = (None, None, READY, 0);
                }
            }
            (4, bm::COMMAND) => {
                if value & bm::START == 0 {
                    self.bm_status &= !bm::ACTIVE;
                } else if self.bm_command & bm::START == 0 {
                    self.bm_status |= bm::ACTIVE;
                }
                self.bm_command = value;
            }
            (4, bm::STATUS) => {
                let clear = value & (bm::INTERRUPT | bm::ERROR);
                self.bm_status = (self.bm_status & !clear & !bm::CAPABLE) | (value & bm::CAPABLE);
            }
            _ => {}
        }
    }
}

impl Device for Drive {
    fn read(&mut self, region: RegionId, offset: u32, width: Width) -> u64 {
        if width == Width::Byte {
            return u64::from(self.read_byte(region.0, offset));
        }
        let mut bytes = [0; 8];
        self.data(&mut bytes[..width.bytes()], false);
        u64::from_le_bytes(bytes)
    }

    fn write(&mut self, region: RegionId, offset: u32, width: Width, value: u64) {
        match (region.0, width) {
            (_, Width::Byte) => self.write_byte(region.0, offset, value as u8),
            (4, Width::Dword) => {
                assert!(offset == bm::PRDT && self.bm_status & bm::ACTIVE == 0, "table moved under the bus master");
                self.bm_table = value as u32;
            }
            _ => self.data(&mut value.to_le_bytes()[..width.bytes()], true),
        }
    }

    fn read_string(&mut self, _: RegionId, _: u32, width: Width, data: &mut [u8]) {
        self.strings += 1;
        data.chunks_mut(width.bytes()).for_each(|word| self.data(word, false));
    }

    fn write_string(&mut self, _: RegionId, _: u32, width: Width, data: &[u8]) {
        self.strings += 1;
        data.chunks(width.bytes()).for_each(|word| self.data(&mut word.to_vec(), true));
    }

    fn config_read(&mut self, offset: u16, width: Width) -> u32 {
        let at = offset as usize;
        let bytes: [u8; 4] = self.config[at & !3..(at & !3) + 4].try_into().unwrap();
        (u32::from_le_bytes(bytes) >> ((at & 3) * 8)) & width.ones() as u32
    }

    fn config_write(&mut self, _: u16, _: Width, _: u32) {
        unreachable!("the VMM writes configuration space, after the mediator has agreed");
    }
}

/// An answer of a disk that can everything, with a good checksum.
fn identify() -> [u8; 512] {
    let mut words = [0_u16; 256];
    for (word, value) in [
        (1, 8),
        (3, 16),
        (6, 63),
        (47, 0x8010),
        (48, 0x4001),
        (49, 0x0300),
        (53, 7),
        (54, 8),
        (55, 16),
        (56, 63),
        (59, 0x0104),
        (60, DISK_SECTORS as u16),
        (75, 31),
        (76, 0x0102),
        (82, 0xffff),
        (83, 0x7fff),
        (84, 0x7fff),
        (85, 0xffff),
        (86, 0x7fff),
        (87, 0x7fff),
        (100, DISK_SECTORS as u16),
        (119, 0x401e),
        (120, 0x401e),
        (128, 0x0021),
        (169, 1),
        (206, 0x3f),
    ] {
        words[word] = value;
    }
    let mut data = [0; 512];
    for (bytes, word) in data.chunks_exact_mut(2).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    text(&mut data[20..40], b"S123");
    text(&mut data[54..94], b"FAKE DISK");
    data[510] = 0xa5;
    data[511] = data[..511].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)).wrapping_neg();
    data
}

fn text(to: &mut [u8], text: &[u8]) {
    to.fill(b' ');
    for (n, byte) in text.iter().enumerate() {
        to[n ^ 1] = *byte;
    }
}
