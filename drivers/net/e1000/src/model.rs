//! The card that the guest sees: registers without any effect on the real one, but for ITR.
//!
//! Registers that only keep what is written are a table ([`KEPT`]); what is in none reads 0, and writes vanish.

use crate::eeprom::Eeprom;
use crate::phy::Phy;
use crate::rx::RxRing;
use crate::spec::{
    EEMNGCTL_DONE, Kind, RAH_AV, RFCTL_EXSTEN, SWSM_SMBI, TARC_ENABLED, cause, ctrl, ctrl_ext, rctl, reg, rxcsum,
    status,
};
use crate::statistics::Statistics;
use crate::tx::TxRing;
use mediator::net::MacAddr;
use net::Bitmap;

/// A register that keeps what is written: offset, bits that do, value after a reset, and whether only the 82574 has it.
struct Kept(u32, u32, u32, bool);

/// In the order of offsets. Those of the 82574's second queue, of MSI-X and of RSS are kept too, but nothing comes of them: everything goes
/// by the first queue, which is what RSS gives where its table is 0.
const KEPT: &[Kept] = &[
    Kept(0x001c, 0xffff_ffff, 0, false), // FLA: flash, which is not there
    Kept(0x0028, 0xffff_ffff, 0, false), // FCAL
    Kept(0x002c, 0xffff, 0, false),      // FCAH
    Kept(0x0030, 0xffff, 0, false),      // FCT
    Kept(reg::VET, 0xffff, 0x8100, false),
    Kept(reg::ITR, 0xffff, 0, false),
    Kept(0x00dc, 0x01f0_0000, 0, true), // EIAC
    Kept(reg::IAM, 0xffff_ffff, 0, true),
    Kept(0x00e4, 0x800f_ffff, 0, true), // IVAR
    Kept(0x00e8, 0xffff, 0, true),      // EITR0 to 4
    Kept(0x00ec, 0xffff, 0, true),
    Kept(0x00f0, 0xffff, 0, true),
    Kept(0x00f4, 0xffff, 0, true),
    Kept(0x00f8, 0xffff, 0, true),
    Kept(0x0170, 0xffff, 0, false),      // FCTTV
    Kept(0x0178, 0xffff_ffff, 0, false), // TXCW
    Kept(reg::TIPG, 0x3fff_ffff, 0x0060_2008, false),
    Kept(0x0458, 0xffff, 0, false),                // AIFS
    Kept(0x0e00, 0xffff_ffff, 0x0706_8302, false), // LEDCTL
    Kept(reg::EXTCNF_CTRL, 0xffff_ffff, 0, true),
    Kept(0x0f10, 0xffff_ffff, 0, true), // PHY_CTRL
    Kept(reg::PBA, 0xffff_ffff, 0x0010_0030, false),
    Kept(0x1008, 0xffff_ffff, 0, true), // PBS
    Kept(0x2160, 0xffff, 0, false),     // FCRTL
    Kept(0x2168, 0xffff, 0, false),     // FCRTH
    Kept(reg::PSRCTL, 0x3f3f_3f7f, 0x0004_0402, true),
    Kept(reg::RDTR, 0xffff, 0, false),
    Kept(reg::RXDCTL, 0xffff_ffff, 0x0101_0000, false),
    Kept(reg::RADV, 0xffff, 0, false),
    Kept(0x2900, 0xffff_fff0, 0, true), // RDBAL1, RDBAH1, RDLEN1, RDH1, RDT1, RXDCTL1
    Kept(0x2904, 0xffff_ffff, 0, true),
    Kept(0x2908, 0x000f_ff80, 0, true),
    Kept(0x2910, 0xffff, 0, true),
    Kept(0x2918, 0xffff, 0, true),
    Kept(0x2928, 0xffff_ffff, 0x0101_0000, true),
    Kept(0x2c00, 0xfff, 0, false),       // RSRPD
    Kept(0x2c08, 0xffff_ffff, 0, true),  // RAID
    Kept(0x3000, 0xffff_ffff, 0, false), // TXDMAC
    Kept(reg::TIDV, 0xffff, 0, false),
    Kept(reg::TXDCTL, 0xffff_ffff, 0, false),
    Kept(reg::TADV, 0xffff, 0, false),
    Kept(0x3830, 0xffff_ffff, 0, false), // TSPMT
    Kept(reg::TARC0, 0xffff_ffff, TARC_ENABLED, true),
    Kept(0x3900, 0xffff_fff0, 0, true), // TDBAL1, TDBAH1, TDLEN1, TDH1, TDT1, TXDCTL1, TARC1
    Kept(0x3904, 0xffff_ffff, 0, true),
    Kept(0x3908, 0x000f_ff80, 0, true),
    Kept(0x3910, 0xffff, 0, true),
    Kept(0x3918, 0xffff, 0, true),
    Kept(0x3928, 0xffff_ffff, 0, true),
    Kept(0x3940, 0xffff_ffff, TARC_ENABLED, true),
    Kept(reg::RXCSUM, 0xffff_ffff, 0, false),
    Kept(reg::RFCTL, 0xffff_ffff, 0, true),
    Kept(0x5818, 0xffff_ffff, 0, true), // MRQC
    Kept(reg::MANC, 0xffff_ffff, 0, false),
    Kept(0x5860, 0xffff_ffff, 0, true), // MANC2H
    Kept(0x5b00, 0xffff_ffff, 0, true), // GCR
    Kept(0x5b64, 0xffff_ffff, 0, true), // GCR2
];

/// A length of rings: multiples of 128 bytes, up to 1 MiB.
pub const RING_LEN: u32 = 0x000f_ff80;
/// Where rings may begin.
pub const RING_BASE: u32 = 0xffff_fff0;

/// A ring of the guest's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ring {
    pub low: u32,
    pub high: u32,
    pub len: u32,
    pub head: u32,
    pub tail: u32,
}

impl Ring {
    /// Number of descriptors of this length.
    pub fn count(&self, each_bytes: u32) -> u32 {
        self.len.checked_div(each_bytes).unwrap_or(0)
    }

    /// Those between head and tail; none where one of them lies outside.
    pub fn filled(&self, each_bytes: u32) -> u32 {
        let count = self.count(each_bytes);
        if self.head >= count || self.tail >= count {
            return 0;
        }
        if self.tail >= self.head {
            self.tail.wrapping_sub(self.head)
        } else {
            count.saturating_sub(self.head).saturating_add(self.tail)
        }
    }

    /// Where the descriptor at the head lies.
    pub fn at_head(&self, each_bytes: u32) -> mediator::Gpa {
        let base = u64::from(self.low) | u64::from(self.high) << 32;
        // Wraps at the end of the address space, where no RAM is.
        mediator::Gpa(base.wrapping_add(u64::from(self.head).wrapping_mul(each_bytes.into())))
    }

    /// The descriptor at the head is done.
    pub fn advance(&mut self, each_bytes: u32) {
        let next = self.head.saturating_add(1);
        self.head = if next >= self.count(each_bytes) { 0 } else { next };
    }

    /// The register `offset` bytes from the first one.
    fn register(&mut self, offset: u32) -> Option<(&mut u32, u32)> {
        match offset {
            0x00 => Some((&mut self.low, RING_BASE)),
            0x04 => Some((&mut self.high, u32::MAX)),
            0x08 => Some((&mut self.len, RING_LEN)),
            0x10 => Some((&mut self.head, 0xffff)),
            0x18 => Some((&mut self.tail, 0xffff)),
            _ => None,
        }
    }
}

/// See the module.
pub struct Model {
    pub kind: Kind,
    mac: MacAddr,
    pub ctrl: u32,
    ctrl_ext: u32,
    pub rctl: u32,
    pub tctl: u32,
    /// Causes that have come, and those that interrupt.
    pub icr: u32,
    pub ims: u32,
    swsm: u32,
    kept: [u32; KEPT.len()],
    reta: Bitmap<32>,
    /// Low and high halves.
    addresses: [[u32; 2]; 16],
    mta: Bitmap<128>,
    vfta: Bitmap<128>,
    pub tx: TxRing,
    pub rx: RxRing,
    pub eeprom: Eeprom,
    pub phy: Phy,
    pub statistics: Statistics,
    /// Bits of STATUS, as the real card had them last.
    pub link: u32,
}

impl Model {
    pub fn new(kind: Kind, mac: MacAddr, eeprom: Eeprom) -> Self {
        let mut model = Self {
            kind,
            mac,
            ctrl: 0,
            ctrl_ext: 0,
            rctl: 0,
            tctl: 0,
            icr: 0,
            ims: 0,
            swsm: 0,
            kept: [0; KEPT.len()],
            reta: Bitmap::default(),
            addresses: [[0; 2]; 16],
            mta: Bitmap::default(),
            vfta: Bitmap::default(),
            tx: TxRing::default(),
            rx: RxRing::default(),
            eeprom,
            phy: Phy::new(kind),
            statistics: Statistics::default(),
            link: 0,
        };
        model.reset();
        model
    }

    /// As after a reset (SDM s. 14.1, DS s. 4.6): registers, rings, causes; the PHY keeps its state, the link is as it is.
    pub fn reset(&mut self) {
        (self.ctrl, self.ctrl_ext, self.rctl, self.tctl) = (ctrl::SLU | ctrl::FD, 0, 0, 0);
        (self.icr, self.ims, self.swsm) = (0, 0, 0);
        for (place, Kept(_, _, value, _)) in self.kept.iter_mut().zip(KEPT) {
            *place = *value;
        }
        (self.reta, self.mta, self.vfta) = (Bitmap::default(), Bitmap::default(), Bitmap::default());
        let [a, b, c, d, e, f] = self.mac;
        self.addresses = [[0; 2]; 16];
        if let Some(first) = self.addresses.first_mut() {
            *first = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]) | RAH_AV];
        }
        self.tx.reset();
        self.rx = RxRing::default();
        self.eeprom.reset();
        self.statistics = Statistics::default();
    }

    /// A register of the table.
    pub fn kept(&self, offset: u32) -> u32 {
        self.index(offset).and_then(|index| self.kept.get(index)).copied().unwrap_or(0)
    }

    fn index(&self, offset: u32) -> Option<usize> {
        let index = KEPT.binary_search_by_key(&offset, |kept| kept.0).ok()?;
        KEPT.get(index).filter(|kept| self.kind.is_82574() || !kept.3).map(|_| index)
    }

    /// STATUS's bits of the link, as the guest shall see them.
    pub fn shown_link(&self) -> u32 {
        if self.phy.is_off() { self.link & !status::LU } else { self.link }
    }

    fn status(&self) -> u32 {
        let master = self.kind.is_82574() && self.ctrl & ctrl::MASTER_DISABLE == 0;
        self.shown_link()
            | if master { status::MASTER_ENABLE } else { 0 }
            | if self.kind.is_82574() { status::PHYRA } else { 0 }
    }

    /// The real link is like this now.
    pub fn set_link(&mut self, link: u32) {
        let before = self.shown_link();
        self.link = link;
        self.tell_link(before);
    }

    fn tell_link(&mut self, before: u32) {
        if (before ^ self.shown_link()) & status::LU != 0 {
            self.add_cause(cause::LSC);
        }
    }

    pub fn add_cause(&mut self, causes: u32) {
        self.icr |= causes & self.kind.causes();
    }

    /// Is an interrupt asserted?
    pub fn is_asserted(&self) -> bool {
        self.icr & self.ims != 0
    }

    /// A read of ICR: takes all causes. Of the 82574 it tells whether they interrupt, and may mask them.
    fn take_causes(&mut self) -> u32 {
        let asserted = self.is_asserted();
        let causes = core::mem::take(&mut self.icr);
        if !self.kind.is_82574() {
            return causes;
        }
        if asserted && self.ctrl_ext & ctrl_ext::IAME != 0 {
            self.ims &= !self.kept(reg::IAM);
        }
        causes | if asserted { cause::ASSERTED } else { 0 }
    }

    fn address(&mut self, offset: u32) -> Option<&mut u32> {
        let index = (offset.checked_sub(reg::RAL)? / 4) as usize;
        let half = usize::from(index & 1 != 0);
        self.addresses.get_mut(index / 2)?.get_mut(half)
    }

    pub fn read(&mut self, offset: u32) -> u32 {
        let index = |first: u32| (offset.saturating_sub(first) / 4) as usize;
        match offset {
            reg::CTRL | reg::CTRL_DUP => self.ctrl,
            reg::STATUS => self.status(),
            reg::EECD => self.eeprom.read_eecd(self.kind),
            reg::EERD => self.eeprom.read_eerd(),
            reg::CTRL_EXT => self.ctrl_ext,
            reg::MDIC => self.phy.read_mdic(),
            reg::ICR => self.take_causes(),
            reg::ICS => self.icr,
            reg::IMS => self.ims,
            reg::RCTL => self.rctl,
            reg::TCTL => self.tctl,
            reg::RDBAL..=reg::RDT if self.rx.ring.register(offset.wrapping_sub(reg::RDBAL)).is_some() => {
                self.rx.ring.register(offset.wrapping_sub(reg::RDBAL)).map_or(0, |(value, _)| *value)
            }
            reg::TDBAL..=reg::TDT => {
                self.tx.ring.register(offset.wrapping_sub(reg::TDBAL)).map_or(0, |(value, _)| *value)
            }
            reg::STATISTICS..reg::STATISTICS_END => self.statistics.take(offset.wrapping_sub(reg::STATISTICS)),
            reg::MTA..reg::MTA_END => self.mta.dword(index(reg::MTA)),
            reg::RAL..reg::RA_END => self.address(offset).map_or(0, |value| *value),
            reg::VFTA..reg::VFTA_END => self.vfta.dword(index(reg::VFTA)),
            0x5c00..0x5c80 => self.reta.dword(index(0x5c00)),
            reg::EEMNGCTL if self.kind.is_82574() => EEMNGCTL_DONE,
            reg::SWSM if self.kind.is_82574() => {
                let before = self.swsm;
                self.swsm |= SWSM_SMBI;
                before
            }
            _ => self.kept(offset),
        }
    }

    pub fn write(&mut self, offset: u32, value: u32) {
        let index = |first: u32| (offset.saturating_sub(first) / 4) as usize;
        match offset {
            reg::CTRL | reg::CTRL_DUP => self.write_ctrl(value),
            reg::EECD => self.eeprom.write_eecd(self.kind, value),
            reg::EERD => self.eeprom.write_eerd(self.kind, value),
            reg::CTRL_EXT => self.ctrl_ext = value & !(ctrl_ext::ASDCHK | ctrl_ext::EE_RST),
            reg::MDIC => {
                let before = self.shown_link();
                if self.phy.write_mdic(value, self.link) {
                    self.add_cause(cause::MDAC);
                }
                self.tell_link(before);
            }
            reg::ICR => self.icr &= !value,
            reg::ICS => self.add_cause(value),
            reg::IMS => self.ims |= value & self.kind.causes(),
            reg::IMC => self.ims &= !value,
            reg::RCTL => self.rctl = value,
            reg::TCTL => self.tctl = value,
            reg::RDBAL..=reg::RDT => put(self.rx.ring.register(offset.wrapping_sub(reg::RDBAL)), value),
            reg::TDBAL..=reg::TDT => put(self.tx.ring.register(offset.wrapping_sub(reg::TDBAL)), value),
            reg::MTA..reg::MTA_END => self.mta.set_dword(index(reg::MTA), value),
            reg::RAL..reg::RA_END => {
                if let Some(place) = self.address(offset) {
                    *place = value;
                }
            }
            reg::VFTA..reg::VFTA_END => self.vfta.set_dword(index(reg::VFTA), value),
            0x5c00..0x5c80 => self.reta.set_dword(index(0x5c00), value),
            reg::SWSM => self.swsm = value,
            _ => {
                let found = self.index(offset).and_then(|index| Some((self.kept.get_mut(index)?, KEPT.get(index)?.1)));
                put(found, value);
            }
        }
    }

    fn write_ctrl(&mut self, value: u32) {
        if value & ctrl::RST != 0 {
            return self.reset();
        }
        if value & ctrl::PHY_RST != 0 {
            let before = self.shown_link();
            self.phy.reset();
            self.tell_link(before);
        }
        self.ctrl = value & !ctrl::PHY_RST;
    }

    /// May this frame reach the guest? Its tag, if it has one, decides too (SDM s. 3.2.1, 9.3).
    pub fn lets_in(&self, frame: &[u8]) -> Filtered {
        let Some(to) = frame.first_chunk::<6>() else { return Filtered::Out };
        if !self.lets_vlan_in(frame) {
            return Filtered::Out;
        }
        let [a, b, c, d, e, f] = *to;
        let exact = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, 0, 0]) | RAH_AV];
        // The address select bits are of no use here.
        let is_own = self.addresses.iter().any(|[low, high]| [*low, *high & (RAH_AV | 0xffff)] == exact);
        let group = net::is_multicast(to);
        let passes = is_own
            || group && self.rctl & rctl::MPE != 0
            || !group && self.rctl & rctl::UPE != 0
            || net::is_broadcast(to) && self.rctl & rctl::BAM != 0;
        if passes {
            return Filtered::In;
        }
        // Twelve bits of the last two bytes, from bit 4, 3, 2 or 0 on (SDM s. 13.5.1).
        let shift: u16 = match self.rctl.wrapping_shr(rctl::MO_SHIFT) & 3 {
            0 => 4,
            1 => 3,
            2 => 2,
            _ => 0,
        };
        let hash = u16::from_le_bytes([e, f]).wrapping_shr(shift.into()) & 0xfff;
        if group && self.mta.contains(hash) { Filtered::ByHash } else { Filtered::Out }
    }

    fn lets_vlan_in(&self, frame: &[u8]) -> bool {
        if self.rctl & rctl::VFE == 0 {
            return true;
        }
        let Some(tag) = self.tag_of(frame) else { return true };
        let canonical = u32::from(tag) >> 12 & 1 == u32::from(self.rctl & rctl::CFI != 0);
        (self.rctl & rctl::CFIEN == 0 || canonical) && self.vfta.contains(tag & 0xfff)
    }

    /// Control information of a frame with a tag of the type that the guest has chosen.
    pub fn tag_of(&self, frame: &[u8]) -> Option<u16> {
        net::tag_of(frame, self.tag_type())
    }

    pub fn tag_type(&self) -> u16 {
        // It keeps no more bits.
        self.kept(reg::VET) as u16
    }

    /// Are receive descriptors extended ones?
    pub fn is_extended(&self) -> bool {
        self.kind.is_82574() && (self.kept(reg::RFCTL) & RFCTL_EXSTEN != 0 || self.is_split())
    }

    /// Do they have four buffers?
    pub fn is_split(&self) -> bool {
        self.kind.is_82574() && self.rctl & rctl::DTYP == rctl::DTYP_SPLIT
    }

    pub fn checks(&self) -> (bool, bool) {
        let control = self.kept(reg::RXCSUM);
        (control & rxcsum::IPOFL != 0, control & rxcsum::TUOFL != 0)
    }
}

/// Of a filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filtered {
    In,
    /// Its address may be another with the same hash.
    ByHash,
    Out,
}

/// A register and the bits of it that keep what is written.
fn put(register: Option<(&mut u32, u32)>, value: u32) {
    if let Some((place, mask)) = register {
        *place = value & mask;
    }
}
