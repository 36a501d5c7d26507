//! Registers and bits. No logic.
//!
//! Intel "PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual" (317453) rev. 4.0 ("SDM") s. 13; Intel "82574 GbE
//! Controller Family Datasheet" rev. 3.4 ("DS") s. 10. What only one of them has is marked.

/// PCI IDs (SDM s. 5.2, DS s. 9.1).
pub const VENDOR: u16 = 0x8086;
pub const I82540EM: u16 = 0x100e;
pub const I82545EM: u16 = 0x100f;
pub const I82574L: u16 = 0x10d3;

/// Length of the register block (BAR0).
pub const REGISTERS_BYTES: u32 = 0x2_0000;

/// Offsets of registers.
pub mod reg {
    pub const CTRL: u32 = 0x0000;
    /// The same once more (DS s. 10.2.2.1, SDM: 82545 and others).
    pub const CTRL_DUP: u32 = 0x0004;
    pub const STATUS: u32 = 0x0008;
    pub const EECD: u32 = 0x0010;
    pub const EERD: u32 = 0x0014;
    pub const CTRL_EXT: u32 = 0x0018;
    pub const MDIC: u32 = 0x0020;
    pub const VET: u32 = 0x0038;
    pub const ICR: u32 = 0x00c0;
    pub const ITR: u32 = 0x00c4;
    pub const ICS: u32 = 0x00c8;
    pub const IMS: u32 = 0x00d0;
    pub const IMC: u32 = 0x00d8;
    /// 82574.
    pub const IAM: u32 = 0x00e0;
    pub const RCTL: u32 = 0x0100;
    pub const TCTL: u32 = 0x0400;
    pub const TIPG: u32 = 0x0410;
    /// 82574.
    pub const EXTCNF_CTRL: u32 = 0x0f00;
    pub const PBA: u32 = 0x1000;
    /// 82574.
    pub const EEMNGCTL: u32 = 0x1010;
    /// 82574: header split.
    pub const PSRCTL: u32 = 0x2170;
    pub const RDBAL: u32 = 0x2800;
    pub const RDBAH: u32 = 0x2804;
    pub const RDLEN: u32 = 0x2808;
    pub const RDT: u32 = 0x2818;
    pub const RDTR: u32 = 0x2820;
    pub const RXDCTL: u32 = 0x2828;
    pub const RADV: u32 = 0x282c;
    pub const TDBAL: u32 = 0x3800;
    pub const TDBAH: u32 = 0x3804;
    pub const TDLEN: u32 = 0x3808;
    pub const TDT: u32 = 0x3818;
    pub const TIDV: u32 = 0x3820;
    pub const TXDCTL: u32 = 0x3828;
    pub const TADV: u32 = 0x382c;
    /// 82574: arbitration of the queues.
    pub const TARC0: u32 = 0x3840;
    pub const STATISTICS: u32 = 0x4000;
    pub const STATISTICS_END: u32 = 0x4128;
    pub const RXCSUM: u32 = 0x5000;
    /// 82574.
    pub const RFCTL: u32 = 0x5008;
    pub const MTA: u32 = 0x5200;
    pub const MTA_END: u32 = 0x5400;
    pub const RAL: u32 = 0x5400;
    pub const RAH: u32 = 0x5404;
    pub const RA_END: u32 = 0x5480;
    pub const VFTA: u32 = 0x5600;
    pub const VFTA_END: u32 = 0x5800;
    pub const WUC: u32 = 0x5800;
    pub const WUFC: u32 = 0x5808;
    pub const MANC: u32 = 0x5820;
    /// 82574: semaphores between software and firmware.
    pub const SWSM: u32 = 0x5b50;
}

/// Device control (SDM s. 13.4.1, DS s. 10.2.2.1).
pub mod ctrl {
    pub const FD: u32 = 1 << 0;
    /// 82574: no requests of its own on the bus.
    pub const MASTER_DISABLE: u32 = 1 << 2;
    pub const ASDE: u32 = 1 << 5;
    pub const SLU: u32 = 1 << 6;
    pub const RST: u32 = 1 << 26;
    /// VLAN mode: tags are taken off.
    pub const VME: u32 = 1 << 30;
    pub const PHY_RST: u32 = 1 << 31;
}

/// Device status (SDM s. 13.4.2, DS s. 10.2.2.2).
pub mod status {
    pub const FD: u32 = 1 << 0;
    pub const LU: u32 = 1 << 1;
    pub const SPEED: u32 = 3 << 6;
    pub const ASDV: u32 = 3 << 8;
    /// 82574: the PHY has been reset.
    pub const PHYRA: u32 = 1 << 10;
    /// 82574: requests on the bus are enabled.
    pub const MASTER_ENABLE: u32 = 1 << 19;
}

/// Extended control (SDM s. 13.4.6, DS s. 10.2.2.5).
pub mod ctrl_ext {
    /// Self-clearing.
    pub const ASDCHK: u32 = 1 << 12;
    pub const EE_RST: u32 = 1 << 13;
    /// 82574: reading ICR masks what IAM names.
    pub const IAME: u32 = 1 << 27;
}

/// Interrupt causes (SDM s. 13.4.17, DS s. 10.2.4.1).
pub mod cause {
    pub const TXDW: u32 = 1 << 0;
    pub const TXQE: u32 = 1 << 1;
    pub const LSC: u32 = 1 << 2;
    pub const RXDMT0: u32 = 1 << 4;
    pub const RXO: u32 = 1 << 6;
    pub const RXT0: u32 = 1 << 7;
    pub const MDAC: u32 = 1 << 9;
    /// 82574: the interrupt is asserted.
    pub const ASSERTED: u32 = 1 << 31;
    /// Those that there are.
    pub const ALL_8254X: u32 = 0x0001_f6df;
    pub const ALL_82574: u32 = 0x01f7_82d7;
}

/// Receive control (SDM s. 13.4.22, DS s. 10.2.5.1).
pub mod rctl {
    pub const EN: u32 = 1 << 1;
    pub const UPE: u32 = 1 << 3;
    pub const MPE: u32 = 1 << 4;
    pub const LPE: u32 = 1 << 5;
    pub const LOOPBACK: u32 = 3 << 6;
    pub const RDMTS_SHIFT: u32 = 8;
    /// 82574: descriptors of packet split.
    pub const DTYP: u32 = 3 << 10;
    pub const DTYP_SPLIT: u32 = 1 << 10;
    pub const MO_SHIFT: u32 = 12;
    pub const BAM: u32 = 1 << 15;
    pub const BSIZE_SHIFT: u32 = 16;
    pub const VFE: u32 = 1 << 18;
    pub const CFIEN: u32 = 1 << 19;
    pub const CFI: u32 = 1 << 20;
    pub const BSEX: u32 = 1 << 25;
    pub const SECRC: u32 = 1 << 26;
    /// 82574: buffers in KiB, if not 0.
    pub const FLXBUF_SHIFT: u32 = 27;
}

/// Transmit control (SDM s. 13.4.33, DS s. 10.2.6.1).
pub mod tctl {
    pub const EN: u32 = 1 << 1;
    pub const PSP: u32 = 1 << 3;
    /// Collision threshold and distance, as the manuals want them for full duplex.
    pub const CT: u32 = 0x0f << 4;
    pub const COLD: u32 = 0x40 << 12;
}

/// Gaps between frames (SDM s. 13.4.34).
pub const TIPG_COPPER: u32 = 10 | 8 << 10 | 6 << 20;

/// 82574: the queue is enabled; weight 3 (DS s. 10.2.6.9).
pub const TARC_ENABLED: u32 = 1 << 10 | 3;
/// 82574: a bit that has to be set (DS s. 10.2.6.8, "GRAN" and bit 22).
pub const TXDCTL_82574: u32 = 1 << 22;

/// Receive address high: valid (SDM s. 13.5.3).
pub const RAH_AV: u32 = 1 << 31;

/// Receive checksum control (SDM s. 13.4.30).
pub mod rxcsum {
    pub const PCSS: u32 = 0xff;
    pub const IPOFL: u32 = 1 << 8;
    pub const TUOFL: u32 = 1 << 9;
    /// 82574: the field of the packet's sum holds the RSS hash.
    pub const PCSD: u32 = 1 << 13;
}

/// 82574, receive filter control: extended descriptors (DS s. 10.2.5.14).
pub const RFCTL_EXSTEN: u32 = 1 << 15;

/// EEPROM control (SDM s. 13.4.3).
pub mod eecd {
    pub const SK: u32 = 1 << 0;
    pub const CS: u32 = 1 << 1;
    pub const DI: u32 = 1 << 2;
    pub const DO: u32 = 1 << 3;
    pub const REQ: u32 = 1 << 6;
    pub const GNT: u32 = 1 << 7;
    pub const PRES: u32 = 1 << 8;
    /// 82574: was read after reset.
    pub const AUTO_RD: u32 = 1 << 9;
}

/// PHY access (SDM s. 13.4.8).
pub mod mdic {
    pub const REG_SHIFT: u32 = 16;
    pub const PHY_SHIFT: u32 = 21;
    pub const WRITE: u32 = 1 << 26;
    pub const READ: u32 = 2 << 26;
    pub const OP: u32 = 3 << 26;
    pub const READY: u32 = 1 << 28;
    pub const INTERRUPT: u32 = 1 << 29;
    pub const ERROR: u32 = 1 << 30;
}

/// 82574: configuration is done, for both ports (DS s. 10.2.3.7).
pub const EEMNGCTL_DONE: u32 = 3 << 18;
/// 82574: software semaphore; a read takes it (DS s. 10.2.8.16).
pub const SWSM_SMBI: u32 = 1 << 0;

/// The three cards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    I82540em,
    I82545em,
    I82574l,
}

impl Kind {
    pub fn of(device: u16) -> Option<Self> {
        match device {
            I82540EM => Some(Self::I82540em),
            I82545EM => Some(Self::I82545em),
            I82574L => Some(Self::I82574l),
            _ => None,
        }
    }

    pub fn is_82574(self) -> bool {
        self == Self::I82574l
    }

    /// Causes of interrupts that it has.
    pub fn causes(self) -> u32 {
        if self.is_82574() { cause::ALL_82574 } else { cause::ALL_8254X }
    }
}
