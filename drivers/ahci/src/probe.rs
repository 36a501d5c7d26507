//! Before the guest starts: which ports have disks, and reading sectors by polling.
//!
//! [`mediator::Ctx::now`] does not move within a call, so waiting is bounded by the number of register reads. A read of a
//! register of the controller takes some hundred nanoseconds, so the bound is some seconds; firmware has spun the disks
//! up.

use crate::fis::{self, Fis};
use crate::mediator::Ahci;
use crate::port::{NOP, Port, Ports, Shared};
use crate::prdt;
use crate::regs;
use crate::spec::{SIGNATURE_PACKET, cap, cmd, det, ghc, hba, is, port};
use crate::unit::{Disk, Disks, Unit};
use acs::identify::Identity;
use acs::spec::{SECTOR_BYTES, code, status};
use acs::taskfile::{Form, Request};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{Own, Plain, Pool, Queue};
use mediator::disk::DiskError;
use mediator::pci::{AttachError, Function};
use mediator::{Ctx, Device};
use pci::MemoryGuard;

/// Size of the bounce buffers of a controller: enough for a disk that is busy, what is kept for another one, and the spare page.
pub const POOL_BYTES: usize = (1 << 20) + block::SHARE_BYTES + block::PAGE_BYTES;
/// Register reads until a device is given up.
const MAX_READS: u32 = 8_000_000;
/// Most bytes of one command before the guest.
const READ_BYTES: usize = 64 * 1024;
/// The slot that is used before the guest.
const SLOT: usize = 0;

/// Takes the controller over as firmware has left it; firmware's own use of it goes on through the mediator.
///
/// # Errors
/// [`AttachError`]: the DMA arena is too small, or a port does not stop.
pub fn attach(cx: &mut Ctx<'_>, function: &Function, guard: MemoryGuard) -> Result<Ahci, AttachError> {
    if !MemoryGuard::can_transfer(cx.device) {
        let command = cx.device.config_read(pci::header::COMMAND, mediator::Width::Word);
        let master = command | pci::header::COMMAND_MASTER;
        cx.device.config_write(pci::header::COMMAND, mediator::Width::Word, master);
    }
    let global = regs::read(cx.device, hba::GHC);
    regs::write(cx.device, hba::GHC, (global | ghc::AE) & !ghc::HR);
    let capabilities = regs::read(cx.device, hba::CAP);
    let implemented = regs::read(cx.device, hba::PI);
    let pool = Pool::new(cx.arena, POOL_BYTES, block::PAGE_BYTES);
    // For the log of a failed queued command: the stopped port may have every other buffer.
    let pool = pool.ok_or(AttachError("no DMA memory for bounce buffers"))?.with_spare();
    let mut shared = Shared {
        queue: Queue::new(0, pool),
        own: Own::default(),
        held: 0,
        extra: 0,
        disks: Disks::default(),
        turn: 0,
        wide: capabilities & cap::S64A != 0,
        plain: Arc::new(Plain),
    };
    let mut ports = Ports::default();
    for number in (0..32).filter(|number| implemented & 1_u32.wrapping_shl(*number) != 0) {
        let mut it = Port::new(number);
        take_over(cx, &mut it, &mut shared.disks)?;
        ports.add(it);
    }
    shared.queue.share(shared.disks.0.iter().map(|disk| disk.port));
    Ok(Ahci { name: format!("ahci {}", function.bdf), guard, ports, shared })
}

/// Stops a port, points it at our memory, asks its disk who it is, and leaves it running or not, as it was.
fn take_over(cx: &mut Ctx<'_>, it: &mut Port, disks: &mut Disks) -> Result<(), AttachError> {
    let regs = it.regs;
    let address = |device: &mut dyn Device, low, high| {
        u64::from(regs.read(device, low)) | u64::from(regs.read(device, high)) << 32
    };
    it.list = address(cx.device, port::CLB, port::CLBU);
    it.received = address(cx.device, port::FB, port::FBU);
    let before = regs.read(cx.device, port::CMD);
    halt(cx.device, it).map_err(|_| AttachError("an AHCI port does not stop"))?;
    let connected = regs.read(cx.device, port::SSTS) & det::MASK == det::PRESENT;
    let used = before & (cmd::FRE | cmd::ST) != 0;
    if !connected && !used {
        return Ok(());
    }
    if !it.program(cx) {
        return Err(AttachError("no DMA memory for an AHCI port"));
    }
    let may_be_disk = connected && regs.read(cx.device, port::SIG) != SIGNATURE_PACKET;
    if let Some(identity) = if may_be_disk { polled(cx, it, identify) } else { None } {
        it.unit = Unit::Disk(disks.0.len());
        disks.0.push(Disk { port: it.number, identity, ranges: None });
    }
    // As firmware had it.
    let run = before & (cmd::FRE | cmd::ST);
    let stopped = regs.read(cx.device, port::CMD) & !(cmd::FRE | cmd::ST);
    regs.write(cx.device, port::CMD, stopped | run & cmd::FRE);
    if run & cmd::ST != 0 {
        regs.write(cx.device, port::CMD, stopped | run);
    }
    it.running = run & cmd::ST != 0;
    Ok(())
}

/// A register stays as it is.
struct Stuck;

fn wait(device: &mut dyn Device, it: &Port, register: u32, bits: u32) -> Result<(), Stuck> {
    let gone = (0..MAX_READS).any(|_| it.regs.read(device, register) & bits == 0);
    if gone { Ok(()) } else { Err(Stuck) }
}

/// Commands first, then FISes (AHCI s. 10.3.2).
fn halt(device: &mut dyn Device, it: &Port) -> Result<(), Stuck> {
    for (on, running) in [(cmd::ST, cmd::CR), (cmd::FRE, cmd::FR)] {
        let now = it.regs.read(device, port::CMD);
        it.regs.write(device, port::CMD, now & !on);
        wait(device, it, port::CMD, running)?;
    }
    Ok(())
}

/// Has the port run without interrupts for `commands`, and stops it again.
fn polled<R>(cx: &mut Ctx<'_>, it: &mut Port, commands: impl FnOnce(&mut Ctx<'_>, &Port) -> Option<R>) -> Option<R> {
    let enabled = it.regs.read(cx.device, port::IE);
    it.regs.write(cx.device, port::IE, 0);
    let now = it.regs.read(cx.device, port::CMD) & !(cmd::ST | cmd::FRE);
    it.regs.write(cx.device, port::CMD, now | cmd::FRE);
    it.regs.write(cx.device, port::SERR, u32::MAX);
    let free = wait(cx.device, it, port::TFD, u32::from(status::BSY | status::DRQ)).is_ok();
    it.regs.write(cx.device, port::CMD, now | cmd::FRE | cmd::ST);
    let result = if free { commands(cx, it) } else { None };
    let stopped = halt(cx.device, it).is_ok();
    it.regs.clear(cx.device, u32::MAX);
    it.regs.write(cx.device, port::IE, enabled);
    result.filter(|_| stopped)
}

/// One command that reads, by polling. Gives what it read.
fn command(cx: &mut Ctx<'_>, it: &Port, sent: &Fis, len: usize) -> Result<Vec<u8>, DiskError> {
    let buffer = cx.arena.alloc(len, block::PAGE_BYTES).ok_or(DiskError::Request)?;
    let result = command_into(cx, it, sent, buffer.bus_addr(), len);
    let data = result.and_then(|()| {
        let bytes = cx.arena.bytes(buffer.bus_addr(), len).map_err(|_| DiskError::Request)?;
        let mut data = Vec::new();
        data.try_reserve_exact(len).map_err(|_| DiskError::Request)?;
        data.extend_from_slice(bytes);
        Ok(data)
    });
    // A device that does not end its command may still reach the buffer, which is lost then.
    if data != Err(DiskError::Timeout) {
        cx.arena.free(buffer);
    }
    data
}

fn command_into(
    cx: &mut Ctx<'_>,
    it: &Port,
    sent: &Fis,
    buffer: mediator::BusAddr,
    len: usize,
) -> Result<(), DiskError> {
    let memory = it.memory.as_ref().ok_or(DiskError::Request)?;
    let len = u32::try_from(len).map_err(|_| DiskError::Request)?;
    let table = memory.prdt(cx.arena, SLOT).map_err(|_| DiskError::Request)?;
    let entries = prdt::contiguous(buffer, len, table).map_err(|_| DiskError::Request)?;
    memory.set_command(cx.arena, SLOT, 5, entries, sent, &[0; 16]).map_err(|_| DiskError::Request)?;
    it.regs.clear(cx.device, u32::MAX);
    it.regs.write(cx.device, port::CI, 1);
    for _ in 0..MAX_READS {
        let moved = memory.moved_bytes(cx.arena, SLOT);
        let failed = it.regs.read(cx.device, port::IS) & is::FATAL != 0;
        if !failed && it.regs.read(cx.device, port::CI) & 1 != 0 {
            continue;
        }
        let [now, error, ..] = it.regs.read(cx.device, port::TFD).to_le_bytes();
        let bad = failed || now & (status::ERR | status::DF) != 0;
        if !bad && moved < len {
            // The count is written before the command leaves the list; it was read before.
            continue;
        }
        return if bad { Err(DiskError::Device { status: now, error }) } else { Ok(()) };
    }
    Err(DiskError::Timeout)
}

fn identify(cx: &mut Ctx<'_>, it: &Port) -> Option<Identity> {
    let mut sent = NOP;
    fis::set_command(&mut sent, code::IDENTIFY_DEVICE);
    let answer = command(cx, it, &sent, SECTOR_BYTES).ok()?;
    Some(Identity::parse(answer.first_chunk()?))
}

/// Reads whole sectors by polling. The port is as it was afterwards.
///
/// # Errors
/// [`DiskError`].
pub fn read(cx: &mut Ctx<'_>, it: &mut Port, identity: &Identity, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
    let sector_bytes = usize::try_from(identity.sector_bytes).map_err(|_| DiskError::Request)?;
    let sectors = data.len().checked_div(sector_bytes).ok_or(DiskError::Request)? as u64;
    let whole = data.len().checked_rem(sector_bytes) == Some(0);
    let end = lba.checked_add(sectors).ok_or(DiskError::Request)?;
    if !whole || !identity.lba || end > identity.sectors {
        return Err(DiskError::Request);
    }
    let running = it.regs.read(cx.device, port::CMD) & (cmd::ST | cmd::FRE);
    halt(cx.device, it).map_err(|Stuck| DiskError::Timeout)?;
    if !it.program(cx) {
        return Err(DiskError::Request);
    }
    let result = polled(cx, it, |cx, it| Some(read_sectors(cx, it, identity, lba, sector_bytes, data)));
    let now = it.regs.read(cx.device, port::CMD);
    it.regs.write(cx.device, port::CMD, now | running & cmd::FRE);
    it.regs.write(cx.device, port::CMD, now | running);
    result.unwrap_or(Err(DiskError::Timeout))
}

fn read_sectors(
    cx: &mut Ctx<'_>,
    it: &Port,
    identity: &Identity,
    mut lba: u64,
    sector_bytes: usize,
    data: &mut [u8],
) -> Result<(), DiskError> {
    let most = READ_BYTES.checked_div(sector_bytes).unwrap_or(1).clamp(1, 128);
    let (form, code) = match identity.lba48 {
        true => (Form::Lba48, code::READ_DMA_EXT),
        false => (Form::Lba28, code::READ_DMA),
    };
    for piece in data.chunks_mut(most.saturating_mul(sector_bytes)) {
        let sectors = u32::try_from(piece.len().checked_div(sector_bytes).unwrap_or(0)).unwrap_or(0);
        let mut sent = NOP;
        fis::set_command(&mut sent, code);
        fis::address(&mut sent, Request { form, lba, sectors }, false);
        piece.copy_from_slice(&command(cx, it, &sent, piece.len())?);
        lba = lba.saturating_add(u64::from(sectors));
    }
    Ok(())
}
