//! Every kind of exit at the highest rate for ten seconds, on all CPUs but the last, which measures how it lives.
//!
//! Safe: each instruction ends as its first one did, and the last CPU never stands still for long.

use super::exit_storm::KINDS;
use crate::frame::check_life;
use crate::frame::code::{self, Ended, Registers};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tiny::machine::apic;
use tiny::machine::memory::buffer_address;
use tiny::machine::smp;
use tiny::machine::time::for_seconds;

const SECONDS: u32 = 10;
/// Rounds of one kind before the next one's turn.
const AT_ONCE: u32 = 50;

pub fn run() {
    let cpus = smp::start();
    let rounds = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let others = || {
        while !stop.load(Relaxed) {
            flood(&rounds);
        }
    };
    // The last CPU's own part is to live; the others between follow the first one.
    let ((), life) = smp::watched_by(cpus - 1, || {
        smp::on_range(1..cpus - 1, &others, || {
            for_seconds(SECONDS, || flood(&rounds));
            stop.store(true, Relaxed);
        });
    });
    check_life("a flood of exits", life);
    say!("FLOOD {} exits and more by {} CPUs in {SECONDS} s", rounds.load(Relaxed), cpus - 1);
    seen!("all kinds end as the first one did");
}

/// Some of each kind.
fn flood(rounds: &AtomicU64) {
    let own = buffer_address(50 + smp::number());
    for (name, bytes, rcx, rax) in KINDS {
        let registers = Registers { rcx, rax, rdi: own, ..Registers::default() };
        let first = code::run(bytes, registers);
        let alike = |e: Ended| (e.fault.vector, e.fault.error, e.distance);
        for round in 0..AT_ONCE {
            check_eq!(alike(code::run(bytes, registers)), alike(first), "{name}, round {round}");
        }
    }
    for _ in 0..AT_ONCE {
        apic::write(apic::TASK_PRIORITY, 0);
        apic::send(0, apic::TO_OTHERS | apic::STARTUP | smp::start_page());
    }
    rounds.fetch_add(u64::from(AT_ONCE) * (KINDS.len() as u64 + 2), Relaxed);
}
