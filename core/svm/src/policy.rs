//! Which MSRs leave a guest under AMD-V, as the tables of the crate `policy` have it.

use hw::{Hpa, direct, frames};
use x86::svm::{MSRPM_BYTES, MsrPermissionMap};

pub use ::policy::amd::policy;

/// The registers of the local APIC in x2APIC mode that a loan of its timer is about: spurious vector, local vector, counts, divisor.
const TIMER: [u32; 5] = [0x80f, 0x832, 0x838, 0x839, 0x83e];

/// Whether the guest's accesses to the timer of its local APIC leave it, where they are MSRs; else they do as the tables have it.
pub fn intercept_timer(map: &mut MsrPermissionMap, on: bool) {
    for msr in TIMER {
        let rule = ::policy::find(::policy::amd::MSRS, msr).map(::policy::MsrRow::rule);
        let [reads, writes] = rule.map_or([true; 2], |rule| [rule.reads_exit(), rule.writes_exit()]);
        map.intercept(msr, on || reads, on || writes);
    }
}

/// The MSR permission map of one CPU, and where it lies. `None` when the frames do not suffice.
pub fn msr_permissions() -> Option<(&'static mut MsrPermissionMap, Hpa)> {
    let at = frames::alloc(MSRPM_BYTES / frames::FRAME_BYTES as usize)?;
    // SAFETY: zeroed frames of our own, as large as the map; zeroes are a valid map.
    let map = unsafe { &mut *direct::pointer(at).cast::<MsrPermissionMap>() };
    map.intercept_all();
    for row in ::policy::amd::MSRS {
        let rule = row.rule();
        row.msrs().for_each(|msr| map.intercept(msr, rule.reads_exit(), rule.writes_exit()));
    }
    Some((map, at))
}
