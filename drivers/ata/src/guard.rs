//! The guard of the controller's PCI configuration: where the ports lie (PCI IDE Controller Specification, revision
//! 1.0; PCI Local Bus Specification 3.0 s. 6.2).

use crate::ports::{BUS_MASTER, Ports};
use crate::spec::reg;
use alloc::vec::Vec;
use mediator::pci::{Place, Region};
use mediator::{ConfigAccess, Ctx, Device, RegionId, Verdict, Violation, Width};
use pci::header;

/// Programming interface: channel 0 or 1 is in native mode, its ports are in the base address registers.
const NATIVE: [u8; 2] = [1 << 0, 1 << 2];
/// Ports of the channels in compatibility mode: command block, control block.
const COMPATIBILITY: [(u16, u16); 2] = [(0x1f0, 0x3f6), (0x170, 0x376)];

const COMMAND_PORTS: u16 = 8;
/// Of the four ports of a native control block only this one is used; in compatibility mode 3F7h is the floppy's.
const CONTROL_OFFSET: u16 = 2;
const BUS_MASTER_PORTS: u16 = 16;

/// What decides where the ports lie.
#[derive(Clone, Copy)]
struct Placement {
    prog_if: u8,
    bars: [u32; 5],
}

impl Placement {
    fn read(device: &mut dyn Device) -> Self {
        let mut bars = [0; 5];
        for (bar, offset) in bars.iter_mut().zip((header::BAR0..).step_by(4)) {
            *bar = device.config_read(offset, Width::Dword);
        }
        let prog_if = device.config_read(header::PROG_IF, Width::Byte).to_le_bytes()[0];
        Self { prog_if, bars }
    }

    fn regions(&self) -> [Region; 5] {
        let [bar0, bar1, bar2, bar3, bar4] = self.bars;
        let bases = [(bar0, bar1), (bar2, bar3)];
        let mut regions = [Region { region: RegionId(0), place: None, len: 0, polled: None }; 5];
        let channels = bases.into_iter().zip(COMPATIBILITY).zip(NATIVE).zip(0_u8..);
        for ((((command, control), (command_port, control_port)), native), number) in channels {
            let native = self.prog_if & native != 0;
            let control_base = base(control, 4).and_then(|base| base.checked_add(CONTROL_OFFSET));
            let (command, control) =
                if native { (base(command, 8), control_base) } else { (Some(command_port), Some(control_port)) };
            let ports = Ports::of(number);
            set(&mut regions, ports.command, command, COMMAND_PORTS, Some(reg::STATUS));
            // Alternate status.
            set(&mut regions, ports.control, control, 1, Some(0));
        }
        set(&mut regions, BUS_MASTER, base(bar4, BUS_MASTER_PORTS), BUS_MASTER_PORTS, None);
        regions
    }
}

fn base(bar: u32, len: u16) -> Option<u16> {
    pci::io_base(bar, len).filter(|_| pci::is_io(bar))
}

fn set(regions: &mut [Region; 5], region: RegionId, base: Option<u16>, len: u16, polled: Option<u32>) {
    if let Some(to) = regions.get_mut(usize::from(region.0)) {
        *to = Region { region, place: base.map(Place::Port), len: len.into(), polled };
    }
}

/// The ports of the controller as its configuration says now.
pub fn regions(device: &mut dyn Device) -> Vec<Region> {
    Placement::read(device).regions().into()
}

/// What is under way while the guest writes to configuration space.
#[derive(Clone, Copy)]
pub struct Transfer {
    /// A transfer of ours.
    pub running: bool,
    /// The device waits for sectors that only we may give it.
    pub feeding: bool,
}

/// A guest write to configuration space.
pub fn on_config_write(
    cx: &mut Ctx<'_>,
    access: ConfigAccess,
    value: u64,
    transfer: Transfer,
) -> Result<Verdict, Violation> {
    let busy = transfer.running;
    let dword = access.offset & !3;
    let old = cx.device.config_read(dword, Width::Dword);
    let value = u32::try_from(value & access.width.ones()).unwrap_or(u32::MAX);
    let new = pci::merge(old, access.offset, access.width, value);
    let refused = |what| Err(Violation { what, detail: u64::from(new) });
    match dword {
        header::COMMAND => {
            let needed = header::COMMAND_IO | header::COMMAND_MASTER;
            if busy && old & !new & needed != 0 {
                // The bus master could not be stopped when it must be.
                return refused("IDE configuration: decoding switched off in mid-transfer");
            }
            if new & !old & header::COMMAND_IO != 0 && !bus_master_placed(cx.device) {
                return refused("IDE configuration: decoding switched on with the bus master at port 0");
            }
        }
        header::REVISION => {
            let [_, old_mode, ..] = old.to_le_bytes();
            let [_, new_mode, ..] = new.to_le_bytes();
            let modes = NATIVE.iter().fold(0, |all, bit| all | bit);
            if (old_mode ^ new_mode) & modes != 0 {
                // Whether a chip takes the new mode cannot be known before it is written.
                return refused("IDE configuration: mode of a channel changed");
            }
        }
        header::BAR0..=header::BAR4 => return on_bar(cx, dword, new, busy),
        // Chips can stop decoding a channel there (PIIX: IDETIM bit 15). A reset would not reach the device then, and
        // it would take the next plain data for the sectors that it waits for.
        header::DEVICE_SPECIFIC.. if transfer.feeding => {
            return refused("IDE configuration: the chip's own registers written while sectors are");
        }
        _ => {}
    }
    Ok(Verdict::Passthrough)
}

/// Does the function decode its ports, and may it master the bus? With either off the bus master cannot be stopped, or
/// makes something else of its table than what stands there.
pub fn can_transfer(device: &mut dyn Device) -> bool {
    let needed = header::COMMAND_IO | header::COMMAND_MASTER;
    device.config_read(header::COMMAND, Width::Word) & needed == needed
}

/// The function was reset, and perhaps placed by firmware: the hooks follow. Where they cannot, and where the bus master would be
/// decoded at port 0, the function is made to decode nothing, as after a reset; the guest places it as ever.
pub fn on_resume(cx: &mut Ctx<'_>) {
    let placed = Placement::read(cx.device).regions();
    for region in &placed {
        // What a region leaves may be another's place. Giving ports up is never refused.
        let _ = cx.hooks.move_region(region.region, None);
    }
    let moved = placed.iter().all(|region| cx.hooks.move_region(region.region, region.place).is_ok());
    if moved && bus_master_placed(cx.device) {
        return;
    }
    let command = cx.device.config_read(header::COMMAND, Width::Word);
    cx.device.config_write(header::COMMAND, Width::Word, command & !(header::COMMAND_IO | header::COMMAND_MASTER));
    for bar in (header::BAR0..=header::BAR4).step_by(4) {
        cx.device.config_write(bar, Width::Dword, 0);
    }
    let unplaced = Placement::read(cx.device).regions();
    for region in &unplaced {
        // Of the ports left some are the compatible ones, which were this controller's all the time.
        let _ = cx.hooks.move_region(region.region, region.place);
    }
}

/// Is the bus master's register block somewhere else than at port 0, or absent?
fn bus_master_placed(device: &mut dyn Device) -> bool {
    let bar = device.config_read(header::BAR4, Width::Dword);
    !pci::is_io(bar) || base(bar, BUS_MASTER_PORTS).is_some()
}

/// A base address register becomes `new`: the hooks move first, all or none.
fn on_bar(cx: &mut Ctx<'_>, offset: u16, new: u32, busy: bool) -> Result<Verdict, Violation> {
    let refused = |what| Err(Violation { what, detail: u64::from(new) });
    let old = Placement::read(cx.device);
    let mut placed = old;
    let index = usize::from(offset.saturating_sub(header::BAR0) >> 2);
    if let Some(bar) = placed.bars.get_mut(index) {
        // The type bit is hard-wired.
        *bar = (new & !1) | (*bar & 1);
    }
    let (from, to) = (old.regions(), placed.regions());
    if from == to {
        return Ok(Verdict::Passthrough);
    }
    if busy {
        return refused("IDE configuration: ports moved in mid-transfer");
    }
    let decodes = cx.device.config_read(header::COMMAND, Width::Word) & header::COMMAND_IO != 0;
    if decodes && to.iter().zip(&from).any(|(to, from)| to.place.is_none() && from.place.is_some()) {
        return refused("IDE configuration: ports moved to 0 while they are decoded");
    }
    for (done, (new, old)) in to.iter().zip(&from).enumerate() {
        if new != old && cx.hooks.move_region(new.region, new.place).is_err() {
            for back in from.iter().take(done) {
                // They were ours a moment ago, so nobody else can have them.
                let _ = cx.hooks.move_region(back.region, back.place);
            }
            return refused("IDE configuration: ports moved onto ports that are guarded");
        }
    }
    Ok(Verdict::Passthrough)
}
