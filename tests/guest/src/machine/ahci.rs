//! The disk at port 0 of an AHCI controller: queued commands with interrupts, and the registers in the order in which Linux 6.1
//! touches them. Serial ATA AHCI 1.3.1; ATA8-ACS s. 7 (READ and WRITE FPDMA QUEUED).

use super::memory::{peek, poke};
use super::{irq, pci, time};

const CLASS: u16 = 0x0106;
const BAR5: u8 = 0x24;
const INTERRUPT_LINE: u8 = 0x3c;

pub const GHC: u64 = 0x04;
const IS: u64 = 0x08;
pub const GHC_ENABLED: u32 = 1 << 31 | 1 << 1;
/// Port 0.
const PORT: u64 = 0x100;
pub const CLB: u64 = PORT;
pub const FB: u64 = PORT + 0x08;
pub const PORT_IS: u64 = PORT + 0x10;
pub const PORT_IE: u64 = PORT + 0x14;
pub const CMD: u64 = PORT + 0x18;
pub const TFD: u64 = PORT + 0x20;
pub const SSTS: u64 = PORT + 0x28;
pub const SCTL: u64 = PORT + 0x2c;
pub const SERR: u64 = PORT + 0x30;
pub const SACT: u64 = PORT + 0x34;
pub const CI: u64 = PORT + 0x38;
/// Each with the bit that tells whether it still is so.
pub const CMD_ST: [u32; 2] = [1 << 0, 1 << 15];
pub const CMD_FRE: [u32; 2] = [1 << 4, 1 << 14];
/// Register, PIO setup and set device bits FIS, and every error.
const CAUSES: u32 = 0x7d80_000b;
const ERRORS: u32 = 0x7d00_0000;

const READ_QUEUED: u8 = 0x60;
const WRITE_QUEUED: u8 = 0x61;

/// Command list, received FISes, table of slot 0.
pub const LIST: u64 = 26 << 20;
pub const RECEIVED: u64 = LIST + 0x400;
pub const TABLE: u64 = LIST + 0x1000;

/// The controller, started.
pub struct Ahci {
    /// Where they lie.
    pub registers: u64,
    pub line: u8,
}

impl Ahci {
    /// Takes it over from the BIOS. The line is to be opened by `irq::with_lines`.
    pub fn start() -> Self {
        let Some(function) = pci::Function::of_class(CLASS) else {
            crate::report::fail(format_args!("no AHCI controller on bus 0"))
        };
        function.enable_memory();
        let this =
            Self { registers: u64::from(function.read32(BAR5) & !0xf), line: function.read8(INTERRUPT_LINE) & 15 };
        this.stop();
        for (register, value) in [(CLB, LIST), (FB, RECEIVED)] {
            this.write(register, value as u32);
            this.write(register + 4, 0);
        }
        this.write(GHC, this.read(GHC) | GHC_ENABLED);
        this.write(CMD, this.read(CMD) | CMD_FRE[0]);
        this.write(SERR, !0);
        this.write(CMD, this.read(CMD) | CMD_ST[0]);
        for register in [PORT_IS, IS] {
            this.write(register, !0);
        }
        this.write(PORT_IE, CAUSES);
        irq::set_edge(this.line);
        this
    }

    /// Lets go of memory and interrupts.
    pub fn stop(&self) {
        self.write(PORT_IE, 0);
        for [bit, running] in [CMD_ST, CMD_FRE] {
            self.write(CMD, self.read(CMD) & !bit);
            time::wait_until(|| self.read(CMD) & running == 0, "the port runs on");
        }
    }

    /// Moves sectors to or from one stretch of memory, by one queued command and its interrupt.
    pub fn transfer(&self, write: bool, lba: u64, address: u64, sectors: usize) {
        self.prepare(write, lba, address, sectors);
        self.write(SACT, 1);
        self.write(CI, 1);
        irq::take(self.line);
        check_eq!(self.read(IS), 1, "IS");
        let causes = self.read(PORT_IS);
        self.write(PORT_IS, causes);
        let left = self.read(SACT);
        self.write(IS, 1);
        check!(
            causes & ERRORS == 0 && left == 0,
            "causes {causes:#x}, queued {left:#x}, task file {:#x}",
            self.read(TFD)
        );
    }

    /// Slot 0: header, FIS, and one region (s. 4.2).
    fn prepare(&self, write: bool, lba: u64, address: u64, sectors: usize) {
        let [l0, l1, l2, l3, l4, l5, ..] = lba.to_le_bytes();
        let [c0, c1, ..] = (sectors as u16).to_le_bytes();
        let code = if write { WRITE_QUEUED } else { READ_QUEUED };
        // The count is where the features are, the tag where the count is.
        let fis = [0x27, 0x80, code, c0, l0, l1, l2, 0x40, l3, l4, l5, c1, 0, 0, 0, 0, 0, 0, 0, 0u8];
        poke(TABLE, fis);
        poke(TABLE + 0x80, address);
        poke(TABLE + 0x8c, (sectors * 512 - 1) as u32);
        poke(LIST, 5 | u32::from(write) << 6 | 1 << 16);
        poke(LIST + 8, TABLE);
    }

    pub fn read(&self, register: u64) -> u32 {
        peek(self.registers + register)
    }

    pub fn write(&self, register: u64, value: u32) {
        poke(self.registers + register, value);
    }
}
