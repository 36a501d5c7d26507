//! Rows of MSRs and the rules that they follow.

use core::ops::RangeInclusive;

/// What happens to an MSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The CPU's own, reads and writes. It leaves the guest only where the CPU's permission map does not reach.
    Pass,
    /// Raises #GP, as on a CPU without it.
    Absent,
    /// Reads are native. The guest may change the `free` bits only; a write that changes others raises #GP.
    Frozen { free: u64 },
    /// Reads are native. The guest may change the `free` bits and set the `set_only` ones; what else a write would change is
    /// dropped: guests write it without a thought for #GP.
    Masked { free: u64, set_only: u64 },
    /// Reads are native. Writes get through with some bits set and some clear, whatever the guest says.
    Forced { set: u64, clear: u64 },
    /// As if the firmware had locked it: reads give the `native` bits of the CPU's value, and those that are `set`. A write
    /// within the bits that are `ignored` changes nothing; any other, and every one where that is `None`, raises #GP.
    Locked { native: u64, set: u64, ignored: Option<u64> },
    /// EFER: the guest sees and sets the bits that its CPU has; those that the VMM keeps neither show nor change.
    Efer,
    /// The local APIC: its mode is the guest's, its page stays where it is.
    ApicBase,
    /// The interrupt command register in x2APIC mode: no INIT and no startup IPI reaches the hardware.
    InterruptCommand,
    /// MTRR: virtual. Values and checks are those of a CPU, the CPU's own registers stay as the firmware left them.
    MemoryType,
    /// The time stamp counter: a write moves the guest's offset, not the counter.
    Tsc,
    /// What the TSC was moved by: the CPU's own and the guest's offset.
    TscAdjust,
    /// The deadline of the local APIC's timer: the CPU's own while the guest's TSC is the CPU's, else translated.
    TscDeadline,
    /// Which performance counters run: the CPU switches it with the guest.
    CounterControl,
}

impl Rule {
    /// No bit may be changed.
    pub const FROZEN: Self = Self::Frozen { free: 0 };
    /// Writes vanish.
    pub const IGNORED: Self = Self::Masked { free: 0, set_only: 0 };

    /// RDMSR leaves the guest, because it is not the CPU's value that the guest gets.
    pub const fn reads_exit(self) -> bool {
        matches!(self, Self::Efer | Self::Absent | Self::Locked { .. } | Self::MemoryType | Self::TscAdjust)
    }

    /// WRMSR leaves the guest.
    pub const fn writes_exit(self) -> bool {
        !matches!(self, Self::Pass | Self::TscDeadline)
    }
}

/// A run of MSRs with one rule, for one reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsrRow {
    first: u32,
    last: u32,
    /// As the manuals have it.
    name: &'static str,
    rule: Rule,
    reason: &'static str,
}

impl MsrRow {
    pub const fn new(msrs: RangeInclusive<u32>, name: &'static str, rule: Rule, reason: &'static str) -> Self {
        Self { first: *msrs.start(), last: *msrs.end(), name, rule, reason }
    }

    pub fn msrs(&self) -> RangeInclusive<u32> {
        self.first..=self.last
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn rule(&self) -> Rule {
        self.rule
    }

    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

/// The row of an MSR; `None`: the guest does not get it.
pub fn find(table: &[MsrRow], msr: u32) -> Option<&MsrRow> {
    let row = table.get(table.partition_point(|row| row.last < msr))?;
    (row.first <= msr).then_some(row)
}

/// Whether a table is as it is searched, ascending and no MSR in two rows, and every row has a name and a reason. For a
/// `const` assertion beside the table.
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "no iterators in const; checked here")]
pub const fn in_order(table: &[MsrRow]) -> bool {
    let mut i = 0;
    while i < table.len() {
        let row = &table[i];
        let follows = i == 0 || table[i - 1].last < row.first;
        if !follows || row.last < row.first || row.name.is_empty() || row.reason.is_empty() {
            return false;
        }
        i += 1;
    }
    true
}
