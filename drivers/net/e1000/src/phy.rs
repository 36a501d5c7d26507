//! A model of the PHY: what the guest reads is the state of the real link, what it writes stays here.
//!
//! SDM s. 8 (82540, 82545: Marvell's M88E1011), DS s. 10.2.2.7, 11 (82574: Marvell's BM); the registers of IEEE 802.3 s. 22.2.4.

use crate::spec::{Kind, mdic, status};

/// Where the PHY answers.
const ADDRESS: u32 = 1;
const REGISTERS: usize = 32;

const CONTROL: usize = 0;
const CONTROL_RESET: u16 = 1 << 15;
const CONTROL_POWER_DOWN: u16 = 1 << 11;
const CONTROL_RESTART: u16 = 1 << 9;
const STATUS: usize = 1;
/// All speeds up to 100 Mb/s, extended status, can negotiate, extended registers.
const STATUS_FIXED: u16 = 0x7949;
const STATUS_NEGOTIATED: u16 = 1 << 5;
const STATUS_LINK: u16 = 1 << 2;
const ID1: usize = 2;
const ID2: usize = 3;
const ADVERTISED: usize = 4;
const PARTNER: usize = 5;
const EXPANSION: usize = 6;
const GIGABIT_CONTROL: usize = 9;
const GIGABIT_STATUS: usize = 10;
const EXTENDED_STATUS: usize = 15;
/// Marvell's own: control, and status.
const SPECIFIC_CONTROL: usize = 16;
const SPECIFIC_STATUS: usize = 17;
const RECEIVE_ERRORS: usize = 21;

/// As after power-on (IEEE 802.3, and Marvell's).
const RESET: [(usize, u16); 5] =
    [(CONTROL, 0x1140), (ADVERTISED, 0x0de1), (GIGABIT_CONTROL, 0x0e00), (SPECIFIC_CONTROL, 0x0360), (20, 0x0d60)];

/// See the module.
pub struct Phy {
    kind: Kind,
    written: [u16; REGISTERS],
    mdic: u32,
}

impl Phy {
    pub fn new(kind: Kind) -> Self {
        let mut phy = Self { kind, written: [0; REGISTERS], mdic: mdic::READY };
        phy.reset();
        phy
    }

    pub fn reset(&mut self) {
        self.written = [0; REGISTERS];
        for (register, value) in RESET {
            self.put(register, value);
        }
    }

    fn put(&mut self, register: usize, value: u16) {
        if let Some(place) = self.written.get_mut(register) {
            *place = value;
        }
    }

    fn get(&self, register: usize) -> u16 {
        self.written.get(register).copied().unwrap_or(0)
    }

    /// Has the guest switched it off?
    pub fn is_off(&self) -> bool {
        self.get(CONTROL) & CONTROL_POWER_DOWN != 0
    }

    pub fn read_mdic(&self) -> u32 {
        self.mdic
    }

    /// An access of the guest; `link` is that of STATUS. True: it wants to hear that it is done.
    pub fn write_mdic(&mut self, value: u32, link: u32) -> bool {
        let register = (value.wrapping_shr(mdic::REG_SHIFT) & 0x1f) as usize;
        let place = value & !(mdic::READY | mdic::ERROR);
        let here = value.wrapping_shr(mdic::PHY_SHIFT) & 0x1f == ADDRESS;
        self.mdic = match value & mdic::OP {
            mdic::WRITE if here => {
                // The lower half is the value.
                self.write(register, value as u16);
                place | mdic::READY
            }
            mdic::READ if here => place & !0xffff | u32::from(self.read(register, link)) | mdic::READY,
            _ => place | mdic::READY | mdic::ERROR,
        };
        value & mdic::INTERRUPT != 0
    }

    fn write(&mut self, register: usize, value: u16) {
        match register {
            CONTROL if value & CONTROL_RESET != 0 => self.reset(),
            CONTROL => self.put(CONTROL, value & !CONTROL_RESTART),
            STATUS | ID1 | ID2 | PARTNER | EXPANSION | GIGABIT_STATUS | EXTENDED_STATUS | SPECIFIC_STATUS => {}
            RECEIVE_ERRORS => {}
            _ => self.put(register, value),
        }
    }

    fn read(&self, register: usize, link: u32) -> u16 {
        let up = link & status::LU != 0 && !self.is_off();
        // 10, 100 or 1000 Mb/s, as STATUS has it and as Marvell has it.
        let speed = (link & status::SPEED) >> 6;
        let gigabit = speed & 2 != 0;
        match register {
            STATUS if up => STATUS_FIXED | STATUS_NEGOTIATED | STATUS_LINK,
            STATUS => STATUS_FIXED,
            ID1 => 0x0141,
            ID2 if self.kind.is_82574() => 0x0cb1,
            ID2 => 0x0c20,
            PARTNER if up && speed > 0 => 0x4de1,
            PARTNER if up => 0x4061,
            EXPANSION if up => 0x0007,
            GIGABIT_STATUS if up && gigabit => 0x3c00,
            EXTENDED_STATUS => 0x3000,
            SPECIFIC_STATUS if up => {
                let speed: u16 = if gigabit { 2 << 14 } else { u16::from(speed != 0) << 14 };
                // Full duplex, resolved, link.
                let duplex = u16::from(link & status::FD != 0) << 13;
                speed | duplex | 1 << 11 | 1 << 10
            }
            PARTNER | EXPANSION | GIGABIT_STATUS | SPECIFIC_STATUS => 0,
            // Pages of the 82574 are not modelled: they all look like the first one.
            _ => self.get(register),
        }
    }
}
