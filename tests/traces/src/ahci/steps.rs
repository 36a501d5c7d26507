//! The words that the script is written in: from commands to registers and memory.

use crate::steps::{BACK, Steps};
use crate::{MEMORY, Place, Step, Until};
use alloc::vec;
use core::ops::Range;

pub mod hba {
    pub const CAP: u32 = 0x00;
    pub const GHC: u32 = 0x04;
    pub const IS: u32 = 0x08;
    pub const PI: u32 = 0x0c;
    pub const VS: u32 = 0x10;
    pub const CAP2: u32 = 0x24;
}

/// Registers of port 0; those of the next port lie [`NEXT`] behind.
pub mod px {
    pub const CLB: u32 = 0x100;
    pub const FB: u32 = 0x108;
    pub const IS: u32 = 0x110;
    pub const IE: u32 = 0x114;
    pub const CMD: u32 = 0x118;
    pub const TFD: u32 = 0x120;
    pub const SIG: u32 = 0x124;
    pub const SSTS: u32 = 0x128;
    pub const SCTL: u32 = 0x12c;
    pub const SERR: u32 = 0x130;
    pub const SACT: u32 = 0x134;
    pub const CI: u32 = 0x138;
}

/// From a port to the next one.
pub const NEXT: u32 = 0x80;

pub const LIST: u64 = MEMORY;
pub const RECEIVED: u64 = MEMORY + 0x400;
const TABLES: u64 = MEMORY + 0x1000;
const TABLE_LEN: u64 = 0x800;
/// In PxCMD: start, FIS receive, power and spin-up.
pub const STARTED: u32 = 0x17;
/// Every cause of an interrupt.
pub const CAUSES: u32 = 0xfdc0_007f;
/// Write flag of a command header (AHCI s. 4.2.2).
pub const WRITES: u32 = 1 << 6;

/// Sectors of the disk.
pub const SECTORS: u64 = 65536;

/// A register FIS with a 48-bit address (Serial ATA s. 10.5.5).
pub fn fis(code: u8, lba: u64, count: u16) -> [u8; 20] {
    let [l0, l1, l2, l3, l4, l5, ..] = lba.to_le_bytes();
    let [c0, c1] = count.to_le_bytes();
    [0x27, 0x80, code, 0, l0, l1, l2, 0x40, l3, l4, l5, 0, c0, c1, 0, 0, 0, 0, 0, 0]
}

/// The same of a queued command: the count is where the features are (ATA8-ACS s. 7.35, 7.63).
pub fn queued(code: u8, lba: u64, count: u16, tag: u8) -> [u8; 20] {
    let mut fis = fis(code, lba, u16::from(tag) << 3);
    (fis[3], fis[11]) = (count as u8, (count >> 8) as u8);
    fis
}

/// SET FEATURES.
pub fn features(feature: u8, count: u16) -> [u8; 20] {
    let mut fis = fis(0xef, 0, count);
    fis[3] = feature;
    fis
}

/// A register FIS that is no command, but for the control register.
pub fn control(value: u8) -> [u8; 20] {
    let mut fis = [0; 20];
    (fis[0], fis[15]) = (0x27, value);
    fis
}

impl Steps {
    /// Words of IDENTIFY's answer, in [`BACK`].
    pub fn words(&mut self, name: &'static str, words: Range<u64>) -> &mut Self {
        self.show(name, BACK + 2 * words.start, 2 * (words.end - words.start) as usize)
    }

    /// Writes a command into a slot.
    pub fn prepare(&mut self, slot: u64, fis: [u8; 20], flags: u32, regions: &[(u64, u32)]) -> &mut Self {
        let table = TABLES + slot * TABLE_LEN;
        let mut bytes = vec![0; 0x80];
        bytes[..20].copy_from_slice(&fis);
        for &(at, len) in regions {
            bytes.extend(at.to_le_bytes());
            bytes.extend((u64::from(len - 1) << 32).to_le_bytes());
        }
        self.put(table, bytes);
        let flags = 5 | flags | (regions.len() as u32) << 16;
        let mut header = u64::from(flags).to_le_bytes().to_vec();
        header.extend(table.to_le_bytes());
        header.resize(32, 0);
        self.put(LIST + 32 * slot, header)
    }

    /// Issues slots that are not queued, and waits for a cause.
    pub fn issue(&mut self, slots: u32) -> &mut Self {
        self.write(px::CI, slots).caused()
    }

    pub fn issue_queued(&mut self, slots: u32) -> &mut Self {
        self.write(px::SACT, slots).write(px::CI, slots).caused()
    }

    pub fn caused(&mut self) -> &mut Self {
        let until = Until::Any(!0);
        self.add(Step::Wait { name: "a cause in PxIS", place: Place::Register(px::IS), until }).pause()
    }

    /// What a driver sees of the end of a command, which it then acknowledges: the port's causes first (AHCI s. 5.6.4.1).
    pub fn ended(&mut self, slot: u64) -> &mut Self {
        self.notes(&[
            ("HBA IS", hba::IS),
            ("PxIS", px::IS),
            ("PxTFD", px::TFD),
            ("PxSERR", px::SERR),
            ("PxCI", px::CI),
            ("PxSACT", px::SACT),
        ]);
        self.add(Step::Note { name: "PRDBC", place: Place::Memory(LIST + 32 * slot + 4) }).acknowledge()
    }

    pub fn acknowledge(&mut self) -> &mut Self {
        self.write(px::SERR, !0).write(px::IS, !0).write(hba::IS, !0)
    }

    /// A command in slot 0, from beginning to end.
    pub fn run(&mut self, fis: [u8; 20], flags: u32, regions: &[(u64, u32)]) -> &mut Self {
        self.prepare(0, fis, flags, regions).forget_fises().issue(1).ended(0)
    }

    /// Makes received FISes visible.
    pub fn forget_fises(&mut self) -> &mut Self {
        self.fill(RECEIVED, 0x100, 0xee)
    }

    pub fn fises(&mut self) -> &mut Self {
        self.show("PIO setup FIS", RECEIVED + 0x20, 20).show("register FIS", RECEIVED + 0x40, 20).show(
            "set device bits FIS",
            RECEIVED + 0x58,
            8,
        )
    }

    pub fn stop(&mut self) -> &mut Self {
        self.write(px::CMD, STARTED & !1).wait("PxCMD.CR is 0", px::CMD, 1 << 15, 0)
    }

    pub fn start(&mut self) -> &mut Self {
        self.write(px::CMD, STARTED & !1).write(px::CMD, STARTED).wait("PxCMD.CR is 1", px::CMD, 1 << 15, 1 << 15)
    }

    /// After an error: stopped, cleared, started (AHCI s. 6.2.2.1).
    pub fn recover(&mut self) -> &mut Self {
        self.stop().notes(&[("stopped PxCI", px::CI), ("stopped PxSACT", px::SACT), ("stopped PxTFD", px::TFD)]);
        self.acknowledge().start()
    }
}
