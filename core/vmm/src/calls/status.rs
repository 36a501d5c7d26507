//! `status`: what Shoji is doing.

use crate::boot::HEAP;
use crate::programs;
use abi::hypercall::{Error, name};
use abi::status::{Cpu, Disk, Domain, Memory, Rule, Status};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::State;
use exit::{Call, Caller, ExitKind, register};
use hw::frames::FRAME_BYTES;
use hw::heap::HEAP_BYTES;
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

fn domains() -> Vec<Domain> {
    let of = |status: domain::Status| Domain {
        name: status.name.to_string(),
        state: match status.state {
            State::Runs => "runs",
            State::Stopped => "stopped",
            State::Failed { .. } => "failed",
        }
        .to_string(),
        restarts: status.starts.saturating_sub(1),
        last_restart_ns: status.restart_ns,
        memory_bytes: status.pages as u64 * FRAME_BYTES,
    };
    programs::list().into_iter().map(of).collect()
}

fn answer(caller: &Caller<'_>, parameters: &[u8], room: &mut [u8]) -> Result<usize, Error> {
    if !parameters.is_empty() {
        return Err(Error::Parameters);
    }
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_string(),
        uptime_ns: caller.now.0,
        memory: Memory {
            reserved_bytes: RESERVED_BYTES.load(Ordering::Relaxed),
            heap_bytes: HEAP_BYTES as u64,
            heap_used_bytes: HEAP.used_bytes() as u64,
        },
        exit_names: ExitKind::NAMES.iter().map(ToString::to_string).collect(),
        cpus: cpus(caller),
        disks: DISKS.get().cloned().unwrap_or_default(),
        domains: domains(),
        log_records: hw::logger::logs().written(),
    };
    postcard::to_slice(&status, room).map(|written| written.len()).map_err(|_| Error::BufferTooSmall)
}

/// In the order of their numbers.
fn cpus(caller: &Caller<'_>) -> Vec<Cpu> {
    let mut counters = caller.guest.counters();
    counters.sort_by_key(|(number, _)| *number);
    let cpus = counters.iter().map(|(number, counters)| Cpu {
        number: *number as u32,
        apic_id: hw::cpus::all().get(*number).map_or(0, |cpu| cpu.apic_id()),
        exits: counters.all().collect(),
    });
    cpus.collect()
}

fn init() -> Result<(), &'static str> {
    register(&STATUS)
}
initfunc!("vmmcall0", init);
