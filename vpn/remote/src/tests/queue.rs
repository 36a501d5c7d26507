//! The ring against a list.

use crate::queue::Queue;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

proptest! {
    #[test]
    fn a_queue_is_a_list_bounded_by_bytes(steps in prop::collection::vec((any::<bool>(), 0_usize..40), 1..400)) {
        const CAPACITY: usize = 97;
        let mut queue = Queue::new(CAPACITY).unwrap();
        let mut list: VecDeque<Vec<u8>> = VecDeque::new();
        for (n, (push, len)) in steps.into_iter().enumerate() {
            let used: usize = list.iter().map(|frame| frame.len() + 2).sum();
            prop_assert_eq!(queue.room(), CAPACITY - used);
            if push {
                let frame: Vec<u8> = (0..len).map(|i| (i + n) as u8).collect();
                prop_assert_eq!(queue.push(&frame), used + len + 2 <= CAPACITY);
                if used + len + 2 <= CAPACITY {
                    list.push_back(frame);
                }
            } else {
                // One that the buffer is too short for is lost.
                let mut buffer = vec![0; len];
                let expected = list.pop_front();
                prop_assert_eq!(queue.first_len(), expected.as_ref().map(Vec::len));
                let popped = queue.pop(&mut buffer).map(|len| buffer[..len].to_vec());
                prop_assert_eq!(popped, expected.filter(|frame| frame.len() <= len));
            }
            prop_assert_eq!(queue.is_empty(), list.is_empty());
        }
        prop_assert_eq!(queue.clear(), list.len() as u64);
        prop_assert!(queue.room() == CAPACITY && queue.is_empty());
    }
}
