//! How often each kind of exit happened, and which things were already said in the log.

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
    Nmi,
    /// The guest can take an NMI that was kept for it.
    NmiWindow,
    /// The guest can take an interrupt that was queued for it.
    InterruptWindow,
    /// An exception that is intercepted lest the guest raise it without end, and delivered again.
    Exception,
    /// A write to bits of CR0 or CR4 that the VMM keeps.
    ControlRegister,
    Xsetbv,
    TaskSwitch,
    InvalidState,
    Unexpected,
}

/// Names in the order of [`ExitKind`].
const NAMES: [&str; 21] = [
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
    "nmi",
    "nmi window",
    "interrupt window",
    "exception",
    "control register",
    "xsetbv",
    "task switch",
    "invalid state",
    "unexpected",
];

/// One counter per kind.
#[derive(Default)]
pub struct Counters([u64; NAMES.len()]);

impl Counters {
    #[inline]
    pub(crate) fn count(&mut self, kind: ExitKind) {
        if let Some(count) = self.0.get_mut(usize::from(kind as u8)) {
            *count = count.wrapping_add(1);
        }
    }

    /// How often `kind` happened.
    pub fn get(&self, kind: ExitKind) -> u64 {
        self.0.get(usize::from(kind as u8)).copied().unwrap_or(0)
    }

    /// Names for the log and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0)
    }
}

/// Things that are logged the first time only: the guest can repeat them at will.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Notice {
    VmmMemory,
    NestedFaultElsewhere,
    UnknownMsr,
    RefusedMsr,
    MicrocodeUpdate,
    StringIntoNoRam,
}

/// Which notices were given.
#[derive(Default)]
pub(crate) struct Notices(u32);

impl Notices {
    /// True once per kind of notice.
    pub fn first(&mut self, notice: Notice) -> bool {
        let bit = 1_u32.wrapping_shl(u32::from(notice as u8));
        let first = self.0 & bit == 0;
        self.0 |= bit;
        first
    }
}
