//! Steps that may end in a reset of the machine, which is a safe result if the hypervisor is there again afterwards.
//!
//! Bytes of CMOS, which survive resets and are zero when the machine is switched on, tell how far the case has come.

use tiny::machine::{com2, hypervisor, port};

/// Not used by the firmware, and outside of its checksum.
const STEP: u8 = 0x76;
const HYPERVISOR: u8 = 0x77;
const BEGUN: u8 = 0x78;

/// A name, and what to do.
pub type Step<'a> = (&'a str, &'a dyn Fn());

fn cmos(index: u8) -> u8 {
    port::out8(0x70, index);
    port::in8(0x71)
}

fn set_cmos(index: u8, value: u8) {
    port::out8(0x70, index);
    port::out8(0x71, value);
}

/// The hypervisor in one byte; 0: none.
fn fingerprint() -> u8 {
    hypervisor::current().0.map_or(0, |name| name.iter().fold(1u8, |sum, &byte| sum.rotate_left(1) ^ byte) | 1)
}

/// Fails when this is not the first start of the case and no step was on its way: a reset that nobody expected.
pub fn begin() {
    check!(cmos(BEGUN) == 0 || cmos(STEP) != 0, "the machine was reset");
    set_cmos(BEGUN, 1);
}

/// Runs each step once, over resets.
pub fn run(steps: &[Step<'_>]) {
    let begun = usize::from(cmos(STEP));
    if begun == 0 {
        set_cmos(HYPERVISOR, fingerprint());
    }
    check_eq!(cmos(HYPERVISOR), fingerprint(), "the hypervisor after step {begun}");
    if let Some((name, _)) = begun.checked_sub(1).and_then(|last| steps.get(last)) {
        seen!("{name}: the machine was reset");
    }
    for (i, (name, step)) in steps.iter().enumerate().skip(begun) {
        say!("step {name}");
        set_cmos(STEP, i as u8 + 1);
        com2::drain();
        step();
        seen!("{name}: the guest goes on");
    }
    set_cmos(STEP, 0);
}
