//! Which MSRs leave a guest under AMD-V, as the tables of the crate `policy` have it.

use hw::{Hpa, direct, frames};
use x86::svm::{MSRPM_BYTES, MsrPermissionMap};

pub use ::policy::amd::policy;

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
