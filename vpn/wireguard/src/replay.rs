//! Which counters of a session have been seen (RFC 6479): a ring of words, of which one is always between the newest and the oldest
//! counter that can be told.

const WORD_BITS: u64 = 64;
const WORDS: u64 = 64;
/// How far back a counter may lie behind the greatest one.
pub const WINDOW: u64 = (WORDS - 1) * WORD_BITS;

pub struct Window {
    seen: [u64; WORDS as usize],
    /// One more than the greatest counter that was accepted.
    next: u64,
}

impl Window {
    pub const fn new() -> Self {
        Self { seen: [0; WORDS as usize], next: 0 }
    }

    /// Takes a counter once. To be asked for authentic packets alone.
    pub fn accept(&mut self, counter: u64) -> bool {
        let Some(behind) = counter.checked_add(1) else { return false };
        if counter >= self.next {
            self.forget_up_to(counter);
            self.next = behind;
        } else if self.next.saturating_sub(counter) > WINDOW {
            return false;
        }
        let bit = 1u64.wrapping_shl((counter % WORD_BITS) as u32);
        let Some(word) = self.seen.get_mut(place(counter / WORD_BITS)) else { return false };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Empties the words that `counter` is the first to reach.
    fn forget_up_to(&mut self, counter: u64) {
        let Some(greatest) = self.next.checked_sub(1) else { return };
        let (last, to) = (greatest / WORD_BITS, counter / WORD_BITS);
        for step in 1..=to.saturating_sub(last).min(WORDS) {
            if let Some(word) = self.seen.get_mut(place(last.saturating_add(step))) {
                *word = 0;
            }
        }
    }
}

/// Where a word lies in the ring.
const fn place(word: u64) -> usize {
    (word % WORDS) as usize
}
