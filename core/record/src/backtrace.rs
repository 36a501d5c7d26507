//! Who called whom, by frame pointers: at RBP lies the caller's RBP, above it the return address (System V ABI, AMD64
//! supplement 1.0, s. 3.2.2).

use core::ops::Range;

/// Callers are many only where a function calls itself without end, and then the first ones tell enough.
const MOST_FRAMES: usize = 32;

/// Return addresses, innermost first. Ends at the first frame that is not one: outside of `stack`, not aligned, not above the
/// one before, or with a return address outside of `text`.
pub struct Frames<R> {
    read: R,
    stack: Range<u64>,
    text: Range<u64>,
    rbp: u64,
    left: usize,
}

impl<R: Fn(u64) -> u64> Frames<R> {
    /// `read` gives the 8 bytes at an address; it is only called for aligned addresses inside of `stack`.
    pub fn new(rbp: u64, stack: Range<u64>, text: Range<u64>, read: R) -> Self {
        Self { read, stack, text, rbp, left: MOST_FRAMES }
    }
}

impl<R: Fn(u64) -> u64> Iterator for Frames<R> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let return_at = self.rbp.checked_add(8)?;
        let is_frame =
            self.rbp & 7 == 0 && self.stack.contains(&self.rbp) && return_at.checked_add(8)? <= self.stack.end;
        if !is_frame {
            return None;
        }
        let (rbp, return_to) = ((self.read)(self.rbp), (self.read)(return_at));
        // The stack grows down, so callers lie above: whatever is there, the walk ends.
        self.rbp = if rbp > self.rbp { rbp } else { 0 };
        self.text.contains(&return_to).then_some(return_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const BASE: u64 = 0x1000;

    /// The stack begins at BASE.
    fn walk(stack: &[u64], rbp: u64) -> Vec<u64> {
        let end = BASE + 8 * stack.len() as u64;
        let read = |at: u64| {
            assert!((BASE..end).contains(&at) && at.is_multiple_of(8), "{at:#x}");
            stack[((at - BASE) / 8) as usize]
        };
        Frames::new(rbp, BASE..end, 0x5000..0x6000, read).collect()
    }

    #[test]
    fn callers_are_found_up_to_the_first_without_a_frame() {
        let stack = [BASE + 0x18, 0x5001, 0xdead, BASE + 0x30, 0x5002, 0xdead, 0, 0x5003];
        assert_eq!(walk(&stack, BASE), [0x5001, 0x5002, 0x5003]);
        assert_eq!(walk(&stack, BASE + 0x18), [0x5002, 0x5003]);
    }

    #[test]
    fn an_overwritten_stack_ends_the_walk() {
        assert_eq!(walk(&[BASE + 0x10, 0x4fff, 0, 0x5003], BASE), [0; 0], "a return address outside of the text");
        assert_eq!(walk(&[BASE, 0x5001], BASE), [0x5001], "a frame that is its own caller's");
        assert_eq!(walk(&[BASE + 0x10, 0x5001, BASE, 0x5002], BASE), [0x5001, 0x5002], "a ring of frames");
        assert_eq!(walk(&[BASE + 9, 0x5001, 0, 0], BASE), [0x5001], "a frame that is not aligned");
        assert_eq!(walk(&[!7, 0x5001], BASE), [0x5001], "a frame at the end of the address space");
    }

    #[test]
    fn a_frame_that_reaches_out_of_the_stack_is_not_read() {
        for rbp in [0, BASE - 8, BASE + 8, BASE + 16, u64::MAX - 7, u64::MAX] {
            assert_eq!(walk(&[0, 0x5001], rbp), [0; 0], "{rbp:#x}");
        }
    }

    #[test]
    fn endless_recursion_is_cut() {
        let stack: Vec<u64> = (0..100).flat_map(|n| [BASE + 16 * (n + 1), 0x5000 + n]).collect();
        assert_eq!(walk(&stack, BASE).len(), MOST_FRAMES);
    }
}
