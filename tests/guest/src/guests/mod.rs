//! The guests: one file each, one line each in [`ALL`]. What a guest needs of its machine stands in the manifest of
//! the crate `guest-images`.

use crate::machine::cpu;

mod cpuid;

/// Name in the image, and the guest; it passes by returning.
pub static ALL: &[(&str, fn())] = &[("cpuid", cpuid::run)];

/// Leaf 4000_0000h names Shoji.
pub const SIGNATURE: [u8; 12] = *b"Shoji\0\0\0\0\0\0\0";

/// Is this guest under Shoji? Else it is on the bare machine.
pub fn shoji() -> bool {
    let leaf = cpu::cpuid(0x4000_0000);
    let mut signature = [0; 12];
    for (to, from) in signature.chunks_exact_mut(4).zip([leaf.ebx, leaf.ecx, leaf.edx]) {
        to.copy_from_slice(&from.to_le_bytes());
    }
    signature == SIGNATURE
}
