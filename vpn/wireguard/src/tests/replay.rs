use crate::replay::{WINDOW, Window};
use crate::tests::rig::Chance;
use std::collections::BTreeSet;

#[test]
fn the_window_is_wide_enough_for_reordered_traffic() {
    const { assert!(WINDOW >= 2000) }
}

#[test]
fn each_counter_is_accepted_once_and_never_again() {
    let mut window = Window::new();
    for counter in [5, 0, 4, 64, 63, 65, WINDOW, 1] {
        assert!(window.accept(counter), "{counter} is new");
        assert!(!window.accept(counter), "{counter} was seen");
    }
}

#[test]
fn what_is_too_old_to_tell_is_refused() {
    let mut window = Window::new();
    assert!(window.accept(WINDOW + 100));
    assert!(!window.accept(100));
    assert!(window.accept(101), "the oldest that can be told");
    assert!(!window.accept(u64::MAX), "it has no next one");
}

#[test]
fn the_window_decides_as_a_set_of_all_counters_does() {
    for seed in 0..20 {
        let (mut window, mut seen, mut chance) = (Window::new(), BTreeSet::new(), Chance::new(seed));
        let mut greatest = 0u64;
        for _ in 0..5000 {
            let counter = match chance.draw() % 100 {
                0 => greatest + chance.draw() % (4 * WINDOW),
                1..=40 => greatest + 1 + chance.draw() % 3,
                41..=50 => greatest.saturating_sub(WINDOW + 64 - chance.draw() % 128),
                _ => greatest.saturating_sub(chance.draw() % (WINDOW + 2)),
            };
            let next = if seen.is_empty() { 0 } else { greatest + 1 };
            let told = counter >= next || next - counter <= WINDOW;
            assert_eq!(window.accept(counter), told && seen.insert(counter), "{counter} after {greatest}, seed {seed}");
            greatest = *seen.last().unwrap();
        }
    }
}
