//! How often each kind of exit happened.

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
    Shutdown,
    Nmi,
    InvalidState,
    Unexpected,
}

/// One counter per kind.
#[derive(Default)]
pub struct Counters([u64; 12]);

impl Counters {
    /// Names for the log and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        core::iter::empty()
    }
}
