//! Interrupt vectors that wait until the guest can take them.

/// A set of vectors, each of which waits at most once, as in the IRR of a local APIC.
#[derive(Default)]
pub struct QueuedInterrupts {
    /// Bit n: a vector of `groups[n]` waits.
    waiting: u32,
    /// Vectors 32 n to 32 n + 31.
    groups: [u32; 8],
}

impl QueuedInterrupts {
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// A vector that waits already is not there twice.
    pub fn insert(&mut self, vector: u8) {
        let number = vector >> 5;
        if let Some(group) = self.groups.get_mut(usize::from(number)) {
            *group |= bit(vector & 31);
            self.waiting |= bit(number);
        }
    }

    /// The highest vector, which waits no longer.
    pub fn take_highest(&mut self) -> Option<u8> {
        let number = highest(self.waiting)?;
        let group = self.groups.get_mut(usize::from(number))?;
        let low = highest(*group)?;
        *group &= !bit(low);
        if *group == 0 {
            self.waiting &= !bit(number);
        }
        Some(number << 5 | low)
    }
}

fn bit(number: u8) -> u32 {
    1_u32.wrapping_shl(number.into())
}

fn highest(bits: u32) -> Option<u8> {
    bits.checked_ilog2().map(|number| number as u8)
}

#[cfg(test)]
mod tests {
    use super::QueuedInterrupts;
    use alloc::collections::BTreeSet;

    #[test]
    fn vectors_come_out_highest_first_and_each_once() {
        let mut queued = QueuedInterrupts::default();
        assert!(queued.is_empty());
        for vector in [0x31, 0xff, 0x20, 0x31, 0x80, 0x3f, 0xff] {
            queued.insert(vector);
        }
        let taken: alloc::vec::Vec<u8> = core::iter::from_fn(|| queued.take_highest()).collect();
        assert_eq!(taken, [0xff, 0x80, 0x3f, 0x31, 0x20]);
        assert!(queued.is_empty());
    }

    #[test]
    fn the_queue_is_the_set_of_vectors_whatever_comes_and_goes() {
        let (mut queued, mut model) = (QueuedInterrupts::default(), BTreeSet::new());
        let mut random = 1_u32;
        for _ in 0..10_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if random >> 31 == 0 {
                queued.insert((random >> 16) as u8);
                model.insert((random >> 16) as u8);
            } else {
                assert_eq!(queued.take_highest(), model.pop_last());
            }
            assert_eq!(queued.is_empty(), model.is_empty());
        }
    }
}
