//! Threads stand for CPUs.

use crate::{Ranked, set_held};
use std::boxed::Box;
use std::format;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::String;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::vec::Vec;

std::thread_local! {
    static HELD: &'static AtomicU64 = Box::leak(Box::default());
}

fn check() {
    set_held(|| HELD.with(|held| *held));
}

/// What the panic of `code` says; `None`: it does not panic.
fn complaint(code: impl FnOnce()) -> Option<String> {
    let said = catch_unwind(AssertUnwindSafe(code)).err()?;
    Some(said.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn locks_are_taken_upwards_and_given_back_in_any_order() {
    check();
    let (low, middle, high) = (Ranked::<_, 1>::new(1), Ranked::<_, 4>::new(2), Ranked::<_, 7>::new(3));
    let (first, second, third) = (low.lock(), middle.lock(), high.lock());
    assert_eq!((*first, *second, *third), (1, 2, 3));
    drop(second);
    drop(third);
    *middle.lock() = 9;
    drop(first);
    assert_eq!((*low.lock(), *middle.lock()), (1, 9));
}

#[test]
fn a_lock_out_of_order_is_caught_before_anybody_waits() {
    check();
    let (low, high) = (Ranked::<_, 2>::new(()), Ranked::<_, 5>::new(()));
    let held = high.lock();
    let said = complaint(|| drop(low.lock())).unwrap();
    assert!(said.contains("rank 2") && said.contains("0b100000"), "{said}");
    // The same rank again, be it the same lock or another.
    assert!(complaint(|| drop(high.lock())).is_some());
    assert!(complaint(|| drop(Ranked::<_, 5>::new(()).lock())).is_some());
    drop(held);
    assert_eq!(complaint(|| drop(low.lock())), None);
}

#[test]
fn what_another_cpu_holds_is_no_matter_of_this_one() {
    check();
    let (low, high) = (Ranked::<_, 2>::new(()), Ranked::<_, 5>::new(()));
    let _held = high.lock();
    thread::scope(|scope| scope.spawn(|| drop(low.lock())).join().unwrap());
}

#[test]
fn trying_takes_a_free_lock_in_any_order_and_leaves_a_held_one() {
    check();
    let (low, high) = (Ranked::<_, 2>::new(()), Ranked::<_, 5>::new(()));
    let held = high.lock();
    assert!(low.try_lock().is_some());
    assert!(high.try_lock().is_none());
    // Trying has not forgotten what is held.
    assert!(complaint(|| drop(low.lock())).is_some());
    drop(held);
    assert!(high.try_lock().is_some());
}

#[test]
fn no_count_is_lost_between_cpus() {
    check();
    let count = Ranked::<_, 3>::new(0);
    thread::scope(|scope| {
        let cpus: Vec<_> = (0..4).map(|_| scope.spawn(|| (0..10_000).for_each(|_| *count.lock() += 1))).collect();
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
    });
    assert_eq!(format!("{}", *count.lock()), "40000");
}
