//! How often each kind of exit happened, and which things were already said in the log.

use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Kinds of exits, finer than [`crate::Exit`] where the cost differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ExitKind {
    Cpuid,
    ReadMsr,
    WriteMsr,
    Port,
    StringPort,
    NestedFault,
    Hypercall,
    VirtualizationInstruction,
    InvalidateCaches,
    Halt,
    Shutdown,
    Init,
    /// Another CPU of the VMM asked for this one.
    Signal,
    Nmi,
    /// The guest can take an NMI that was kept for it.
    NmiWindow,
    /// The guest can take an interrupt that was queued for it.
    InterruptWindow,
    /// An interrupt of the guest's, while the VMM wants to be back at one.
    ExternalInterrupt,
    /// The VMM wanted to be back at this time.
    Recall,
    /// An exception that is intercepted lest the guest raise it without end, and delivered again.
    Exception,
    /// A write to bits of CR0 or CR4 that the VMM keeps.
    ControlRegister,
    Xsetbv,
    TaskSwitch,
    InvalidState,
    Unexpected,
}

impl ExitKind {
    /// Names for people, in the order of the kinds.
    pub const NAMES: [&str; 24] = NAMES;
}

const NAMES: [&str; 24] = [
    "cpuid",
    "rdmsr",
    "wrmsr",
    "port",
    "string port",
    "nested fault",
    "hypercall",
    "virtualization instruction",
    "invd",
    "hlt",
    "shutdown",
    "init",
    "signal",
    "nmi",
    "nmi window",
    "interrupt window",
    "external interrupt",
    "recall",
    "exception",
    "control register",
    "xsetbv",
    "task switch",
    "invalid state",
    "unexpected",
];

/// One counter per kind. One CPU counts, any may read.
#[derive(Default)]
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    #[inline]
    pub(crate) fn count(&self, kind: ExitKind) {
        if let Some(count) = self.0.get(usize::from(kind as u8)) {
            // One writer: no read-modify-write, whose lock would cost more than all the rest.
            count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
        }
    }

    /// How often `kind` happened.
    pub fn get(&self, kind: ExitKind) -> u64 {
        self.0.get(usize::from(kind as u8)).map_or(0, |count| count.load(Relaxed))
    }

    /// How often each kind happened, in the order of [`ExitKind::NAMES`].
    pub fn all(&self) -> impl ExactSizeIterator<Item = u64> {
        self.0.iter().map(|count| count.load(Relaxed))
    }

    /// Names for the log and how often each happened on all of these CPUs.
    pub(crate) fn sum(cpus: &[(usize, Arc<Self>)]) -> impl Iterator<Item = (&'static str, u64)> {
        let of_kind = |kind| cpus.iter().filter_map(move |(_, cpu)| cpu.0.get(kind));
        NAMES.into_iter().enumerate().map(move |(kind, name)| {
            (name, of_kind(kind).fold(0, |sum: u64, count| sum.wrapping_add(count.load(Relaxed))))
        })
    }
}

/// Things that are logged the first time only: the guest can repeat them at will.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Notice {
    VmmMemory,
    NestedFaultElsewhere,
    StringIntoNoRam,
    InstructionNotEmulated,
    PrefixNotEmulated,
    OperandElsewhere,
    LocalApicWrite,
    UnknownCpu,
}

/// Which notices were given.
#[derive(Default)]
pub(crate) struct Notices(AtomicU32);

impl Notices {
    /// True once per kind of notice.
    pub fn first(&self, notice: Notice) -> bool {
        let bit = 1_u32.wrapping_shl(u32::from(notice as u8));
        self.0.fetch_or(bit, Relaxed) & bit == 0
    }
}
