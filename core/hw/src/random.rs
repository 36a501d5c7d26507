//! What the guest and earlier starts of the VMM cannot know.
//!
//! Source: Intel Software Developer's Manual (325462-085), cited as "SDM".

use crate::time::tsc;
use core::arch::x86_64::{__cpuid, _rdrand64_step};

/// CPUID leaf 1, ECX (SDM Vol. 2A CPUID).
const RDRAND: u32 = 1 << 30;
/// A generator that fails so often in a row is broken (SDM Vol. 1 s. 7.3.17.1).
const TRIES: usize = 10;

/// Another one at each start: 256 random bits where the CPU has a generator, and the time stamp counter, which has run since power came on
/// and through firmware, loader and a user's typing. For nonces; without a generator too little for keys.
pub fn boot_nonce() -> [u8; 40] {
    let mut nonce = [0; 40];
    let words = (0..4).map(|_| random().unwrap_or(0)).chain([tsc()]);
    nonce.chunks_exact_mut(8).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
    nonce
}

/// 256 bits that nobody can foretell, fit for keys. `None`: the CPU has no generator, or one that is broken.
pub fn seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    let mut last = None;
    for word in seed.chunks_exact_mut(8) {
        let drawn = random()?;
        // Some CPUs give the same for good after they have slept, and say that all is well.
        if last.replace(drawn) == Some(drawn) || drawn == u64::MAX {
            return None;
        }
        word.copy_from_slice(&drawn.to_le_bytes());
    }
    Some(seed)
}

/// 64 bits of the CPU's generator, where it has one that works.
fn random() -> Option<u64> {
    if __cpuid(1).ecx & RDRAND == 0 {
        return None;
    }
    let mut word = 0;
    // SAFETY: the CPU has the instruction, which writes registers only.
    (0..TRIES).any(|_| unsafe { _rdrand64_step(&mut word) } == 1).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nonces_are_the_same() {
        assert_ne!(boot_nonce(), boot_nonce());
    }

    #[test]
    fn no_two_seeds_are_the_same_where_there_are_any() {
        if let Some(seed) = seed() {
            assert_ne!(Some(seed), super::seed());
        }
    }
}
