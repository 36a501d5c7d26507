//! Tiny guests, one exit kind each. The frame that they stand in is the library of this crate.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[macro_use]
extern crate tiny;
#[cfg(target_os = "none")]
mod guests;
#[cfg(target_os = "none")]
use tiny::{boot, machine, report};

#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    boot::start(guests::ALL, || ())
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("The tiny guests run on a bare machine: cargo run -p guest-images -- build DIR");
}
