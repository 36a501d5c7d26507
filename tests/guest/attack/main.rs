//! Guests that attack the hypervisor under them, whichever it is; each also runs on the bare machine.
//!
//! One image runs one case: the boot sector names it. A case passes (exit port, and `PASS name` on COM2) when the safe
//! result that its file documents has come about; the safe result is never that the hypervisor stops. What a case has
//! seen it writes in `SEEN` lines, which hold nothing that changes from run to run, so that the lines of two machines can
//! be laid side by side (`guest-images compare`).
//!
//! A case on one CPU is an entry in [`cases::ALL`], and one in the manifest of the crate `guest-images`.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
#[macro_use]
extern crate tiny;
#[cfg(target_os = "none")]
#[macro_use]
mod frame;
#[cfg(target_os = "none")]
mod cases;

#[cfg(target_os = "none")]
#[unsafe(no_mangle)]
extern "C" fn guest_main() -> ! {
    tiny::boot::start(cases::ALL, frame::begin)
}

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("The attacks run on a bare machine: cargo run -p guest-images -- build DIR");
}
