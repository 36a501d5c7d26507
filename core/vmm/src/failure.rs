//! When Shoji cannot go on: one clear sentence on COM1 and on the screen, then stop, or the operating system without
//! Shoji where the configuration allows that.

use crate::screen;
use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicU16, Ordering};
use hw::{Hpa, direct};

/// A sentence that names what is wrong and what to do.
pub struct Failure(pub String);

impl<T: Into<String>> From<T> for Failure {
    fn from(sentence: T) -> Self {
        Self(sentence.into())
    }
}

const NOT_ALLOWED: u16 = u16::MAX;
/// BIOS drive to boot from without Shoji.
static BOOT_WITHOUT: AtomicU16 = AtomicU16::new(NOT_ALLOWED);

/// From now on a failure boots `drive` without Shoji.
pub fn boot_without_shoji_from(drive: u8) {
    BOOT_WITHOUT.store(u16::from(drive), Ordering::Relaxed);
}

/// From now on a failure stops the machine: the guest has run.
pub fn never_boot_without_shoji() {
    BOOT_WITHOUT.store(NOT_ALLOWED, Ordering::Relaxed);
}

/// Says it and does not return.
pub fn stop(failure: Failure) -> ! {
    let sentence = &failure.0;
    log::error!("{sentence}");
    let without = u8::try_from(BOOT_WITHOUT.load(Ordering::Relaxed)).ok();
    let end = match without {
        Some(_) => "The operating system starts WITHOUT Shoji, as the configuration allows.",
        None => "Stopped.",
    };
    log::error!("{end}");
    // The sinks never fail.
    let _ = write!(screen::last_words(), "Shoji: {sentence}\n{end}\n");
    match without {
        Some(drive) => without_shoji(drive),
        None => {
            hw::cpus::halt_others();
            halt()
        }
    }
}

fn without_shoji(drive: u8) -> ! {
    // SAFETY: the BIOS data area, which the boot loader reads in its second pass.
    unsafe { direct::pointer(Hpa(abi::SECOND_PASS_ADDRESS.into())).write_volatile(abi::SECOND_PASS_MARK) };
    // SAFETY: no guest has run, or BOOT_WITHOUT would be unset.
    unsafe { hw::cpus::dismiss_others() };
    crate::vendor::disable();
    crate::home::wipe_secrets();
    // SAFETY: no guest has run, or BOOT_WITHOUT would be unset.
    unsafe { entry::boot_natively(drive, direct::DIRECT_MAP) }
}

/// Nothing more, for good.
pub fn halt() -> ! {
    loop {
        x86_64::instructions::hlt();
    }
}
