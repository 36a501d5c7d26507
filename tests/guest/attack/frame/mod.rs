//! What the cases share: what they saw, code made at run time, steps that may end in a reset.

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tiny::machine::code::Ended;
use tiny::machine::exceptions::{Fault, UD};
use tiny::machine::memory::{BUFFER_BYTES, Map, Range, buffer, buffer_address, vmm_range};
use tiny::machine::port;
use tiny::machine::smp::Life;

/// Writes what was seen: the same line in each run on the same machine.
macro_rules! seen {
    ($($arg:tt)*) => { say!("SEEN {}", format_args!($($arg)*)) };
}

pub use tiny::machine::code;
pub mod random;
pub mod steps;

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct How(pub Result<(), Fault>);

const NAMES: [&str; 22] = [
    "#DE",
    "#DB",
    "NMI",
    "#BP",
    "#OF",
    "#BR",
    "#UD",
    "#NM",
    "#DF",
    "vector 9",
    "#TS",
    "#NP",
    "#SS",
    "#GP",
    "#PF",
    "vector 15",
    "#MF",
    "#AC",
    "#MC",
    "#XM",
    "#VE",
    "#CP",
];

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(()) => f.write_str("done"),
            Err(Fault { vector, error, .. }) => {
                match NAMES.get(vector as usize) {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "vector {vector}")?,
                }
                if error != 0 { write!(f, "({error:#x})") } else { Ok(()) }
            }
        }
    }
}

impl How {
    /// Of code that a UD2 stands behind: done, or how it ended before that.
    pub fn of(ended: Ended, code: &[u8]) -> Self {
        let done = ended.fault.vector == UD && ended.distance == code.len() as i64;
        Self(if done { Ok(()) } else { Err(ended.fault) })
    }
}

/// The memory that the hypervisor keeps, as the BIOS's map shows it by leaving it out. At most 16 MiB of it: what is
/// further up may be another's. `None`: on the bare machine, or under a hypervisor that hides none.
pub fn hypervisor_memory() -> Option<Range> {
    const MOST: u64 = 16 << 20;
    let found = vmm_range(&Map::from_bios()).map(|range| Range { len: range.len.min(MOST), ..range });
    match found {
        Some(range) => say!("memory of the hypervisor: {:#x}..{:#x}", range.start, range.end()),
        None => seen!("no memory is missing in the map"),
    }
    found
}

static QEMU: AtomicBool = AtomicBool::new(false);

/// Looks what machine this is; on the first CPU, before others can do so at the same time.
pub fn begin() {
    // QEMU fw_cfg device specification: selector 0 reads "QEMU".
    port::out16(0x510, 0);
    QEMU.store([(); 4].map(|()| port::in8(0x511)) == *b"QEMU", Relaxed);
    steps::begin();
}

/// Is this machine QEMU's? Its emulation leaves out checks of the CPU.
pub fn qemu() -> bool {
    QEMU.load(Relaxed)
}

/// Memory of the hypervisor, or a stretch of RAM of all ones that stands for it on the bare machine.
pub fn target_memory() -> Range {
    const STAND_IN: usize = 40;
    hypervisor_memory().unwrap_or_else(|| {
        buffer(STAND_IN).fill(0xff);
        Range { start: buffer_address(STAND_IN), len: BUFFER_BYTES as u64, kind: 2 }
    })
}

/// A watching CPU has lived on while others did `what`: no time without a round was longer than an emulator's own pauses.
pub fn check_life(what: &str, life: Life) {
    // QEMU's CPUs are threads of a host that may be busy, and its ticks are the host's; elsewhere ticks are instructions.
    let limit = if qemu() { 30_000_000_000 } else { 20_000_000 };
    say!("{what}: {life:?}");
    check!(life.rounds > 100, "{what}: a CPU beside it gets through {} rounds", life.rounds);
    check!(life.longest_gap < limit, "{what}: a CPU beside it stands still for {} ticks", life.longest_gap);
}
