//! `status`: what Shoji is doing.

use crate::boot::HEAP;
use crate::programs;
use abi::hypercall::{Error, name};
use abi::status::{Cpu, Disk, Domain, Memory, Rule, Status};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::State;
use exit::{Call, Caller, Counters, ExitKind, register};
use hw::frames::FRAME_BYTES;
use hw::heap;
use initfunc::initfunc;
use mediator::disk::DiskInfo;
use ranges::DiskRanges;
use spin::Once;

static STATUS: Call = Call { name: name::STATUS, handler: answer };

static RESERVED_BYTES: AtomicU64 = AtomicU64::new(0);
static DISKS: Once<Vec<Disk>> = Once::new();

/// RAM that the guest does not get.
pub fn note_reserved(len_bytes: u64) {
    RESERVED_BYTES.store(len_bytes, Ordering::Relaxed);
}

/// All disks of guarded controllers, and the rules that apply to them.
pub fn note_disks(disks: &[DiskInfo], ranges: &[DiskRanges]) {
    let rules_of = |index| {
        let rules = ranges.iter().filter(move |of| of.disk == index).flat_map(|of| &of.rules);
        let rules = rules.map(|rule| Rule {
            name: rule.name.clone(),
            first_lba: rule.first_lba,
            sectors: rule.sectors,
            cipher: rule.protection.clone(),
        });
        rules.collect()
    };
    let disks = disks.iter().enumerate().map(|(index, disk)| Disk {
        channel: disk.channel,
        unit: disk.unit,
        model: disk.model.clone(),
        serial: disk.serial.clone(),
        sectors: disk.sectors,
        sector_bytes: disk.sector_bytes,
        rules: rules_of(index),
    });
    DISKS.call_once(|| disks.collect());
}

pub fn disks() -> &'static [Disk] {
    DISKS.get().map_or(&[], Vec::as_slice)
}

/// A list of what `items` give. A guest's call must not exhaust the heap: where that has no room the call is refused.
fn list<T>(items: impl ExactSizeIterator<Item = Result<T, Error>>) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    all.try_reserve_exact(items.len()).map_err(|_| Error::Unavailable)?;
    for item in items {
        all.push(item?);
    }
    Ok(all)
}

/// As [`list`].
fn text(from: &str) -> Result<String, Error> {
    let mut text = String::new();
    text.try_reserve_exact(from.len()).map_err(|_| Error::Unavailable)?;
    text.push_str(from);
    Ok(text)
}

fn domains() -> Result<Vec<Domain>, Error> {
    let of = |status: domain::Status| {
        let state = match status.state {
            State::Runs => "runs",
            State::Stopped => "stopped",
            State::Failed { .. } => "failed",
        };
        Ok(Domain {
            name: text(status.name)?,
            state: text(state)?,
            restarts: status.starts.saturating_sub(1),
            last_restart_ns: status.restart_ns,
            memory_bytes: status.pages as u64 * FRAME_BYTES,
        })
    };
    list(programs::list().map_err(|_| Error::Unavailable)?.into_iter().map(of))
}

fn answer(caller: &Caller<'_>, parameters: &[u8], room: &mut [u8]) -> Result<usize, Error> {
    if !parameters.is_empty() {
        return Err(Error::Parameters);
    }
    let status = Status {
        version: text(env!("CARGO_PKG_VERSION"))?,
        uptime_ns: caller.now.0,
        memory: Memory {
            reserved_bytes: RESERVED_BYTES.load(Ordering::Relaxed),
            heap_bytes: heap::len_bytes() as u64,
            heap_used_bytes: HEAP.used_bytes() as u64,
        },
        exit_names: list(ExitKind::NAMES.iter().map(|name| text(name)))?,
        cpus: cpus(caller)?,
        disks: list(disks().iter().map(copy))?,
        domains: domains()?,
        log_records: hw::logger::logs().written(),
        cards: Vec::new(),
    };
    postcard::to_slice(&status, room).map(|written| written.len()).map_err(|_| Error::BufferTooSmall)
}

/// In the order of their numbers.
fn cpus(caller: &Caller<'_>) -> Result<Vec<Cpu>, Error> {
    let mut counters = caller.guest.counters().map_err(|_| Error::Unavailable)?;
    counters.sort_unstable_by_key(|(number, _)| *number);
    let of = |(number, counters): &(usize, Arc<Counters>)| {
        Ok(Cpu {
            number: *number as u32,
            apic_id: hw::cpus::all().get(*number).map_or(0, |cpu| cpu.apic_id()),
            exits: list(counters.all().map(Ok))?,
        })
    };
    list(counters.iter().map(of))
}

fn copy(disk: &Disk) -> Result<Disk, Error> {
    let rule = |rule: &Rule| {
        let &Rule { first_lba, sectors, .. } = rule;
        Ok(Rule { name: text(&rule.name)?, first_lba, sectors, cipher: text(&rule.cipher)? })
    };
    let &Disk { channel, unit, sectors, sector_bytes, .. } = disk;
    let (model, serial) = (text(&disk.model)?, text(&disk.serial)?);
    Ok(Disk { channel, unit, model, serial, sectors, sector_bytes, rules: list(disk.rules.iter().map(rule))? })
}

fn init() -> Result<(), &'static str> {
    register(&STATUS)
}
initfunc!("vmmcall0", init);
