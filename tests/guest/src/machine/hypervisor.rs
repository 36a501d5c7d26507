//! Under which hypervisor this is, if any.

use super::cpu;
use core::fmt;

/// Shoji's name in leaf 4000_0000h.
pub const SHOJI: [u8; 12] = *b"Shoji\0\0\0\0\0\0\0";

/// Leaf 1 ECX: a hypervisor is present.
const PRESENT: u32 = 1 << 31;

/// A hypervisor by its name in leaf 4000_0000h; `None`: the bare machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hypervisor(pub Option<[u8; 12]>);

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_ref().map(|name| core::str::from_utf8(name).unwrap_or("?")) {
            Some(name) => write!(f, "under {}", name.trim_end_matches('\0')),
            None => f.write_str("BARE"),
        }
    }
}

/// The one that this program runs under.
pub fn current() -> Hypervisor {
    let named = signature();
    let present = named == SHOJI || cpu::cpuid(1).ecx & PRESENT != 0;
    // QEMU's own emulation names itself too.
    Hypervisor((present && &named != b"TCGTCGTCGTCG").then_some(named))
}

fn signature() -> [u8; 12] {
    let leaf = cpu::cpuid(0x4000_0000);
    let mut signature = [0; 12];
    for (to, from) in signature.chunks_exact_mut(4).zip([leaf.ebx, leaf.ecx, leaf.edx]) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    signature
}

/// Is this guest under Shoji?
pub fn shoji() -> bool {
    signature() == SHOJI
}
