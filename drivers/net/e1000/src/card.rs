//! The real card, driven by the VMM: its own rings in the arena, legacy descriptors, no offloads.
//!
//! Nobody waits here once the guest runs. What the card writes into its descriptors is looked at with suspicion: it may be wrong.

use crate::desc::{DESCRIPTOR_BYTES, own, rx};
use crate::eeprom;
use crate::regs::{read, write};
use crate::spec::{Kind, RAH_AV, TARC_ENABLED, TIPG_COPPER, TXDCTL_82574, cause, ctrl, rctl, reg, status, tctl};
use mediator::net::{MAX_FRAME_BYTES, MacAddr};
use mediator::{Ctx, Device, DmaArena};
use net::{Descriptors, Frames, MIN_FRAME_BYTES};

/// Descriptors of each ring, and length of each one's buffer. A longer frame takes several.
const DESCRIPTORS: u16 = 256;
const BUFFER_BYTES: usize = 2048;
/// Descriptors that the longest frame takes.
const LONGEST: u16 = MAX_FRAME_BYTES.div_ceil(BUFFER_BYTES) as u16;
/// Register reads until a reset is given up; one takes about a microsecond.
const MAX_READS: u32 = 100_000;
const SETTLE_READS: u32 = 10_000;
/// All ones: nobody answers.
const NOBODY: u32 = u32::MAX;
/// What the card's receiver tells.
const RECEIVE_CAUSES: u32 = cause::RXT0 | cause::RXDMT0 | cause::RXO;

/// The cause by which an interrupt is owed to the guest: that of an access to the PHY, which the card itself never has, since the VMM
/// asks for none.
pub const OWED: u32 = cause::MDAC;

/// Rings and buffers; the card reaches nothing else.
struct Rings {
    rx: Descriptors<DESCRIPTOR_BYTES>,
    rx_frames: Frames,
    /// The next one that the card fills.
    rx_next: u16,
    /// Some were given back that the card does not know of.
    rx_given: bool,
    tx: Descriptors<DESCRIPTOR_BYTES>,
    tx_frames: Frames,
    /// The next that we fill, and the first that the card has not sent.
    tx_next: u16,
    tx_sent: u16,
    tx_new: bool,
}

impl Rings {
    fn new(arena: &mut dyn DmaArena) -> Option<Self> {
        let rx = Descriptors::new(arena, DESCRIPTORS)?;
        let Some(tx) = Descriptors::new(arena, DESCRIPTORS) else {
            rx.free(arena);
            return None;
        };
        let rx_frames = Frames::new(arena, DESCRIPTORS, BUFFER_BYTES);
        let tx_frames = Frames::new(arena, DESCRIPTORS, BUFFER_BYTES);
        match (rx_frames, tx_frames) {
            (Some(rx_frames), Some(tx_frames)) => Some(Self {
                rx,
                rx_frames,
                rx_next: 0,
                rx_given: false,
                tx,
                tx_frames,
                tx_next: 0,
                tx_sent: 0,
                tx_new: false,
            }),
            (some, other) => {
                some.into_iter().chain(other).for_each(|frames| frames.free(arena));
                rx.free(arena);
                tx.free(arena);
                None
            }
        }
    }

    /// Everything is the card's to fill, nothing to send.
    fn reset(&mut self, arena: &mut dyn DmaArena) {
        for index in 0..DESCRIPTORS {
            self.rx.write(arena, index, &own::empty(self.rx_frames.addr(index)));
            self.tx.write(arena, index, &[0; DESCRIPTOR_BYTES]);
        }
        (self.rx_next, self.rx_given, self.tx_next, self.tx_sent, self.tx_new) = (0, false, 0, 0, false);
    }

    fn free_tx(&mut self, arena: &mut dyn DmaArena) -> u16 {
        while self.tx_sent != self.tx_next && own::is_sent(self.tx.read(arena, self.tx_sent)) {
            self.tx_sent = self.tx.next(self.tx_sent);
        }
        // One stays free, so that a full ring is not an empty one.
        DESCRIPTORS.saturating_sub(1).saturating_sub(self.tx.distance(self.tx_sent, self.tx_next))
    }
}

/// See the module.
pub struct Card {
    pub kind: Kind,
    pub mac: MacAddr,
    rings: Option<Rings>,
    /// Causes that interrupt, as the card has them.
    enabled: u32,
    /// It takes every frame, also such as are not for its address.
    pub takes_all: bool,
}

impl Card {
    /// Takes the card over and resets it. Waits; the guest does not run.
    ///
    /// # Errors
    /// Nobody answers, the reset does not end, or there is no hardware address.
    pub fn new(device: &mut dyn Device, kind: Kind) -> Result<Self, &'static str> {
        let mut card = Self { kind, mac: [0; 6], rings: None, enabled: 0, takes_all: false };
        card.reset(device)?;
        card.mac = mac(device, kind).ok_or("it has no hardware address")?;
        Ok(card)
    }

    /// The card forgets every address, sends and receives nothing, and does not wake the machine. Waits.
    fn reset(&mut self, device: &mut dyn Device) -> Result<(), &'static str> {
        if read(device, reg::STATUS) == NOBODY {
            return Err("its registers do not answer");
        }
        write(device, reg::IMC, u32::MAX);
        write(device, reg::RCTL, 0);
        write(device, reg::TCTL, 0);
        let before = read(device, reg::CTRL);
        if self.kind.is_82574() {
            // Its requests on the bus end first (DS s. 5.2.3.1).
            write(device, reg::CTRL, before | ctrl::MASTER_DISABLE);
            let _ = (0..MAX_READS).any(|_| read(device, reg::STATUS) & status::MASTER_ENABLE == 0);
        }
        write(device, reg::CTRL, before & !ctrl::MASTER_DISABLE | ctrl::RST);
        if !(0..MAX_READS).any(|_| read(device, reg::CTRL) & ctrl::RST == 0) {
            return Err("it cannot be reset; switch the machine off and on");
        }
        // It loads its EEPROM now, which takes milliseconds, as these do.
        for _ in 0..SETTLE_READS {
            read(device, reg::STATUS);
        }
        self.enabled = 0;
        self.quiet(device);
        Ok(())
    }

    /// The machine has slept: everything anew. False: the card does not come back.
    pub fn resume(&mut self, cx: &mut Ctx<'_>) -> bool {
        let is_reset = self.reset(cx.device).is_ok();
        is_reset && (self.rings.is_none() || self.start(cx))
    }

    /// Nothing that an earlier owner has left stays on, whatever the reset has missed.
    fn quiet(&self, device: &mut dyn Device) {
        write(device, reg::IMC, u32::MAX);
        for register in [reg::RCTL, reg::TCTL, reg::WUC, reg::WUFC, reg::MANC, reg::ITR, reg::RDTR, reg::RADV] {
            write(device, register, 0);
        }
        for register in [reg::RDBAL, reg::RDBAH, reg::RDLEN, reg::TDBAL, reg::TDBAH, reg::TDLEN] {
            write(device, register, 0);
        }
        read(device, reg::ICR);
        write(device, reg::ICR, u32::MAX);
    }

    /// Begins to send and to receive. `false`: the arena has no room.
    #[must_use]
    pub fn start(&mut self, cx: &mut Ctx<'_>) -> bool {
        if self.rings.is_none() {
            self.rings = Rings::new(cx.arena);
        }
        let Some(rings) = &mut self.rings else { return false };
        rings.reset(cx.arena);
        let device = &mut *cx.device;
        let link =
            read(device, reg::CTRL) & !(ctrl::RST | ctrl::PHY_RST | ctrl::VME) | ctrl::SLU | ctrl::ASDE | ctrl::FD;
        write(device, reg::CTRL, link);
        // No VLAN filter and no hash, so that groups of IPv6 come: frames that the tunnel does not want are dropped there.
        for offset in (reg::MTA..reg::MTA_END).step_by(4).chain((reg::VFTA..reg::VFTA_END).step_by(4)) {
            write(device, offset, 0);
        }
        let [a, b, c, d, e, f] = self.mac;
        write(device, reg::RAL, u32::from_le_bytes([a, b, c, d]));
        write(device, reg::RAH, u32::from_le_bytes([e, f, 0, 0]) | RAH_AV);
        let ring = |device: &mut dyn Device, base: u32, ring: &Descriptors<DESCRIPTOR_BYTES>| {
            let [a, b, c, d, high @ ..] = ring.bus_addr().0.to_le_bytes();
            write(device, base, u32::from_le_bytes([a, b, c, d]));
            write(device, base.saturating_add(4), u32::from_le_bytes(high));
            write(device, base.saturating_add(8), ring.len_bytes());
            write(device, base.saturating_add(0x10), 0);
            write(device, base.saturating_add(0x18), 0);
        };
        ring(device, reg::RDBAL, &rings.rx);
        ring(device, reg::TDBAL, &rings.tx);
        write(device, reg::RXCSUM, 0);
        if self.kind.is_82574() {
            write(device, reg::RFCTL, 0);
            write(device, reg::TXDCTL, TXDCTL_82574);
            write(device, reg::TARC0, TARC_ENABLED);
        }
        write(device, reg::TIPG, TIPG_COPPER);
        write(device, reg::TCTL, tctl::EN | tctl::PSP | tctl::CT | tctl::COLD);
        let all = if self.takes_all { rctl::UPE } else { 0 };
        write(device, reg::RCTL, all | rctl::EN | rctl::MPE | rctl::LPE | rctl::BAM | rctl::SECRC);
        write(device, reg::RDT, DESCRIPTORS.saturating_sub(1).into());
        true
    }

    /// Does it have its rings?
    pub fn is_started(&self) -> bool {
        self.rings.is_some()
    }

    /// Speed, duplex and whether there is a link, as bits of STATUS; no link where nobody answers.
    pub fn link(device: &mut dyn Device) -> u32 {
        match read(device, reg::STATUS) {
            NOBODY => 0,
            now => now & (status::FD | status::LU | status::SPEED | status::ASDV),
        }
    }

    /// Is there room for the longest frame?
    pub fn has_room(&mut self, arena: &mut dyn DmaArena) -> bool {
        self.rings.as_mut().is_some_and(|rings| rings.free_tx(arena) >= LONGEST)
    }

    /// Is there room for a packet that becomes many frames?
    pub fn has_much_room(&mut self, arena: &mut dyn DmaArena) -> bool {
        self.rings.as_mut().is_some_and(|rings| rings.free_tx(arena) >= DESCRIPTORS / 2)
    }

    /// Puts a frame into the ring. False: there is no room, or it is longer than any.
    #[must_use]
    pub fn send(&mut self, arena: &mut dyn DmaArena, frame: &[u8]) -> bool {
        let Some(rings) = &mut self.rings else { return false };
        let needed = frame.len().div_ceil(BUFFER_BYTES);
        if frame.is_empty() || frame.len() > MAX_FRAME_BYTES || needed > usize::from(rings.free_tx(arena)) {
            return false;
        }
        let pieces = frame.chunks(BUFFER_BYTES);
        let last = pieces.len().saturating_sub(1);
        for (number, piece) in pieces.enumerate() {
            // Padded here, too: not every card that claims to pad does.
            let padded = if last == 0 { piece.len().max(MIN_FRAME_BYTES) } else { piece.len() };
            let Some(bytes) = rings.tx_frames.bytes(arena, rings.tx_next, padded) else { return false };
            let (data, padding) = bytes.split_at_mut_checked(piece.len()).unwrap_or_default();
            data.copy_from_slice(piece);
            padding.fill(0);
            let at = rings.tx_frames.addr(rings.tx_next);
            let descriptor = own::transmit(at, u16::try_from(padded).unwrap_or(0), number == last);
            rings.tx.write(arena, rings.tx_next, &descriptor);
            rings.tx_next = rings.tx.next(rings.tx_next);
        }
        rings.tx_new = true;
        true
    }

    /// The next frame that has come, at the start of `to`, with its length; a frame with errors, or longer than `to`, is
    /// `Some(Err(Broken))`.
    pub fn receive(&mut self, arena: &mut dyn DmaArena, to: &mut [u8]) -> Option<Result<usize, Broken>> {
        let rings = self.rings.as_mut()?;
        let descriptors = rings.frame_len(arena)?;
        let (mut len, mut good) = (0_usize, true);
        for _ in 0..descriptors {
            let index = rings.rx_next;
            let (_, errors, piece) = own::received(rings.rx.read(arena, index));
            let target = to.get_mut(len..).and_then(|rest| rest.get_mut(..piece));
            match (rings.rx_frames.bytes(arena, index, piece), target) {
                (Some(bytes), Some(target)) if errors == 0 => target.copy_from_slice(bytes),
                _ => good = false,
            }
            len = len.saturating_add(piece);
            rings.rx.write(arena, index, &own::empty(rings.rx_frames.addr(index)));
            rings.rx_next = rings.rx.next(index);
            rings.rx_given = true;
        }
        Some(if good && len >= net::HEADER_BYTES { Ok(len) } else { Err(Broken) })
    }

    /// Tells the card what it has got.
    pub fn ring(&mut self, device: &mut dyn Device) {
        let Some(rings) = &mut self.rings else { return };
        if core::mem::take(&mut rings.rx_given) {
            let last = rings.rx.step(rings.rx_next, DESCRIPTORS.saturating_sub(1));
            write(device, reg::RDT, last.into());
        }
        if core::mem::take(&mut rings.tx_new) {
            write(device, reg::TDT, rings.tx_next.into());
        }
    }

    /// Lets the card interrupt for these causes only.
    pub fn enable(&mut self, device: &mut dyn Device, causes: u32) {
        if causes != self.enabled {
            write(device, reg::IMC, !causes);
            write(device, reg::IMS, causes);
            self.enabled = causes;
        }
    }

    pub fn enabled(&self) -> u32 {
        self.enabled
    }

    /// Interrupts the guest's CPU.
    pub fn raise(device: &mut dyn Device) {
        write(device, reg::ICS, OWED);
    }

    /// What was raised is not owed any more.
    pub fn withdraw(device: &mut dyn Device) {
        write(device, reg::ICR, OWED);
    }

    /// Takes the card's causes, so that it can interrupt anew.
    pub fn take_causes(device: &mut dyn Device) -> u32 {
        match read(device, reg::ICR) {
            NOBODY => 0,
            causes => {
                // Not every card forgets all of them by the read (DS s. 10.2.4.1).
                write(device, reg::ICR, causes);
                causes
            }
        }
    }

    /// What the card shall interrupt for, if the guest wants interrupts for `wanted`; `full`: also when frames were sent.
    pub fn wanted(wanted: u32, full: bool) -> u32 {
        if wanted == 0 {
            return 0;
        }
        let receive = if wanted & RECEIVE_CAUSES != 0 { RECEIVE_CAUSES } else { 0 };
        OWED | receive | wanted & cause::LSC | if full { cause::TXDW } else { 0 }
    }
}

/// A frame that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

impl Rings {
    /// Number of descriptors of the first whole frame. A ring full of one that does not end is as many.
    fn frame_len(&self, arena: &mut dyn DmaArena) -> Option<u16> {
        let mut index = self.rx_next;
        for count in 1..DESCRIPTORS {
            let (state, ..) = own::received(self.rx.read(arena, index));
            if u32::from(state) & rx::DD == 0 {
                return None;
            }
            if u32::from(state) & rx::EOP != 0 {
                return Some(count);
            }
            index = self.rx.next(index);
        }
        Some(DESCRIPTORS.saturating_sub(1))
    }
}

/// The hardware address: as the card has loaded it from its EEPROM, or else from there.
fn mac(device: &mut dyn Device, kind: Kind) -> Option<MacAddr> {
    let low = read(device, reg::RAL).to_le_bytes();
    let high = read(device, reg::RAH);
    let [e, f, ..] = high.to_le_bytes();
    let [a, b, c, d] = low;
    if high & RAH_AV != 0 && is_station([a, b, c, d, e, f]) {
        return Some([a, b, c, d, e, f]);
    }
    let mut address = [0; 6];
    for (number, bytes) in address.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        *bytes = eeprom::read_word(device, kind, u16::try_from(number).ok()?)?.to_le_bytes();
    }
    is_station(address).then_some(address)
}

fn is_station(address: MacAddr) -> bool {
    address != [0; 6] && !net::is_multicast(&address)
}
