//! What the log tells of MSRs that the guest did not get.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use policy::MsrRow;

/// A guest that tries this many different ones is not told of any more: it sweeps.
const LINES: usize = 32;
/// Bits of an entry besides the number: it is in use, and what was tried was a write.
const USED: u64 = 1 << 33;
const WRITE: u64 = 1 << 32;

/// Which MSRs were told of: one line for each number, reads and writes apart, all CPUs together.
#[derive(Default)]
pub(crate) struct MsrRefusals([AtomicU64; LINES]);

impl MsrRefusals {
    /// The guest tried to `verb` an MSR. `what`: the answer it got.
    pub fn note(&self, what: &str, verb: &str, msr: u32, row: Option<&MsrRow>) {
        let entry = u64::from(msr) | USED | if verb == "write" { WRITE } else { 0 };
        let Some(slot) = self.claim(entry) else { return };
        match row {
            Some(row) => log::info!("guest's {verb} of MSR {msr:#x} ({}): {what}: {}", row.name(), row.reason()),
            None => log::info!("guest's {verb} of MSR {msr:#x}: {what}: in no table"),
        }
        if slot == LINES.saturating_sub(1) {
            log::warn!("guest tries many MSRs that it does not get; further ones are not logged");
        }
    }

    /// The slot of an entry that is new; `None`: it is not, or all slots are taken.
    fn claim(&self, entry: u64) -> Option<usize> {
        for (slot, known) in self.0.iter().enumerate() {
            match known.compare_exchange(0, entry, Relaxed, Relaxed) {
                Ok(_) => return Some(slot),
                Err(known) if known == entry => return None,
                Err(_) => {}
            }
        }
        None
    }
}
