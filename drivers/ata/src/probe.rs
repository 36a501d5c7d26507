//! Before the guest starts: which units there are, and reading sectors by polling.
//!
//! [`mediator::Ctx::now`] does not move within a call, so waiting is bounded by the number of status reads. A read of
//! a port on the south bridge takes about a microsecond, so the bound is some seconds; firmware has spun the disks up.

use crate::bounce::BOUNCE_BYTES;
use crate::channel::{Channel, is_busy};
use crate::identify::Identity;
use crate::ports::Ports;
use crate::prd::TABLE_BYTES;
use crate::spec::{SECTOR_BYTES, SIGNATURE_PACKET, code, control, device, reg, status};
use crate::taskfile::{Form, Request, Taskfile};
use crate::unit::{Disk, Unit};
use block::{Pool, Queue};
use mediator::disk::DiskError;
use mediator::pci::AttachError;
use mediator::{Ctx, Device, Width};

/// Status reads until a device is given up.
const MAX_STATUS_READS: u32 = 4_000_000;

/// Status reads that take the 400 ns in which a status is not yet valid (ATA/ATAPI-7 s. 9.2).
const SETTLE_READS: u32 = 5;

/// Most sectors of one command before the guest: fits 28-bit commands.
const SECTORS_PER_COMMAND: u32 = 128;

/// Finds the units of a channel, and allocates what they need.
///
/// # Errors
/// [`AttachError`]: the DMA arena is too small.
pub fn attach(cx: &mut Ctx<'_>, channel: &mut Channel) -> Result<(), AttachError> {
    let ports = channel.ports;
    ports.set_control(cx.device, control::NIEN);
    for (unit, found) in channel.units.iter_mut().enumerate() {
        *found = probe(cx.device, ports, unit);
    }
    leave(cx.device, ports);
    if channel.units.iter().any(|unit| !matches!(unit, Unit::Absent)) {
        let table = cx.arena.alloc(TABLE_BYTES, TABLE_BYTES);
        channel.buffers.table = Some(table.ok_or(AttachError("no DMA memory for a PRD table"))?);
    }
    if channel.units.iter().any(|unit| matches!(unit, Unit::Disk(_))) {
        let pool = Pool::new(cx.arena, BOUNCE_BYTES, TABLE_BYTES);
        let pool = pool.ok_or(AttachError("no DMA memory for a bounce buffer"))?;
        channel.buffers.queue = Some(Queue::new(channel.number, pool));
    }
    Ok(())
}

/// Unit 0 selected, no interrupt pending, interrupts enabled: as firmware leaves a channel.
fn leave(device: &mut dyn Device, ports: Ports) {
    ports.write(device, reg::DEVICE, device::OBSOLETE);
    settle(device, ports);
    ports.read(device, reg::STATUS);
    ports.set_control(device, 0);
}

/// Waits until a status is valid.
pub fn settle(device: &mut dyn Device, ports: Ports) {
    for _ in 0..SETTLE_READS {
        ports.alt_status(device);
    }
}

/// Waits for BSY to go. `None`: it does not.
fn wait(device: &mut dyn Device, ports: Ports) -> Option<u8> {
    settle(device, ports);
    for _ in 0..MAX_STATUS_READS {
        let now = ports.alt_status(device);
        if now & status::BSY == 0 || status::FLOATING.contains(&now) {
            return Some(now);
        }
    }
    None
}

/// The device register that selects a unit.
pub fn select(unit: usize) -> u8 {
    device::OBSOLETE | if unit == 0 { 0 } else { device::DEV }
}

/// Asks a unit for its identity.
fn probe(device: &mut dyn Device, ports: Ports, unit: usize) -> Unit {
    ports.write(device, reg::DEVICE, select(unit));
    match wait(device, ports) {
        // DRQ without a command: nobody of this world.
        Some(now) if status::FLOATING.contains(&now) || is_busy(now) => return Unit::Absent,
        None => return Unit::Absent,
        // 00h too: a packet device shows it after a reset, just as unit 0 does on behalf of an absent unit 1.
        Some(_) => {}
    }
    ports.write(device, reg::COMMAND, code::IDENTIFY_DEVICE);
    let found = match wait(device, ports) {
        Some(now) if status::FLOATING.contains(&now) => Unit::Absent,
        Some(now) if now & status::DRQ != 0 => {
            let mut answer = [0; SECTOR_BYTES];
            device.read_string(ports.command, reg::DATA, Width::Word, &mut answer);
            let _ = wait(device, ports);
            Unit::Disk(Disk::new(Identity::parse(&answer)))
        }
        Some(now) if now & status::ERR != 0 && signature(device, ports) == SIGNATURE_PACKET => Unit::Packet,
        _ => Unit::Absent,
    };
    ports.read(device, reg::STATUS);
    found
}

fn signature(device: &mut dyn Device, ports: Ports) -> [u8; 2] {
    [ports.read(device, reg::LBA_MID), ports.read(device, reg::LBA_HIGH)]
}

/// Reads whole sectors by polling.
///
/// # Errors
/// [`DiskError`].
pub fn read(
    device: &mut dyn Device,
    ports: Ports,
    unit: usize,
    identity: &Identity,
    lba: u64,
    data: &mut [u8],
) -> Result<(), DiskError> {
    let sector_bytes = usize::try_from(identity.sector_bytes).map_err(|_| DiskError::Request)?;
    let sectors = data.len().checked_div(sector_bytes).ok_or(DiskError::Request)? as u64;
    let whole = data.len().checked_rem(sector_bytes) == Some(0);
    let end = lba.checked_add(sectors).ok_or(DiskError::Request)?;
    if !whole || !identity.lba || end > identity.sectors {
        return Err(DiskError::Request);
    }
    ports.set_control(device, control::NIEN);
    let result = read_sectors(device, ports, unit, identity, lba, data.chunks_mut(sector_bytes));
    leave(device, ports);
    result
}

fn read_sectors<'a>(
    device: &mut dyn Device,
    ports: Ports,
    unit: usize,
    identity: &Identity,
    mut lba: u64,
    mut sectors: impl ExactSizeIterator<Item = &'a mut [u8]>,
) -> Result<(), DiskError> {
    let mut taskfile = Taskfile::after_reset(select(unit));
    ports.write(device, reg::DEVICE, taskfile.device);
    wait(device, ports).ok_or(DiskError::Timeout)?;
    let (form, command) = match identity.lba48 {
        true => (Form::Lba48, code::READ_SECTORS_EXT),
        false => (Form::Lba28, code::READ_SECTORS),
    };
    while sectors.len() > 0 {
        let count = u32::try_from(sectors.len()).unwrap_or(u32::MAX).min(SECTORS_PER_COMMAND);
        taskfile.set_request(Request { form, lba, sectors: count }, identity.geometry);
        ports.send(device, &taskfile, command);
        for sector in sectors.by_ref().take(count as usize) {
            let now = wait(device, ports).ok_or(DiskError::Timeout)?;
            if now & (status::ERR | status::DF) != 0 || now & status::DRQ == 0 {
                return Err(DiskError::Device { status: now, error: ports.read(device, reg::ERROR) });
            }
            device.read_string(ports.command, reg::DATA, Width::Word, sector);
        }
        lba = lba.saturating_add(u64::from(count));
    }
    Ok(())
}
