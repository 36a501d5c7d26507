//! HLT: the CPU stops, and every timer interrupt wakes it.

use crate::machine::cpu::{self, rdtsc};
use crate::machine::irq::{count, set_timer, with_lines};

const TIMER: u8 = 0;
const HUNDRED_HERTZ: u16 = 11932;
const WAITS: u32 = 50;

pub fn run() {
    set_timer(HUNDRED_HERTZ);
    let (wakes, longest) = with_lines(1 << TIMER, || {
        let start = count(TIMER);
        let mut longest = 0;
        for _ in 0..WAITS {
            let before = (count(TIMER), rdtsc());
            cpu::wait_for_interrupt();
            check!(count(TIMER) > before.0, "HLT ended without an interrupt");
            longest = longest.max(rdtsc() - before.1);
        }
        (count(TIMER) - start, longest)
    });
    set_timer(0);
    say!("{wakes} interrupts in {WAITS} waits, the longest took {longest} ticks");
    check!(longest > 1000, "HLT does not wait");
}
