//! Which MSRs leave a guest under VT-x, as the tables of the crate `policy` have it, and what it sees of this CPU.

use crate::features::Features;
use ::policy::Policy;
use ::policy::intel::{self, Control};
use hw::{Hpa, direct, frames};
use x86::vmx::{EntryControls, ExitControls, MsrBitmap, SecondaryControls};

/// What a guest on this CPU is held to.
pub fn policy(features: &Features) -> Policy {
    intel::policy(|control| has(features, control))
}

fn has(features: &Features, control: Control) -> bool {
    let secondary = features.controls.secondary;
    match control {
        Control::EnableRdtscp => secondary.contains(SecondaryControls::ENABLE_RDTSCP),
        Control::EnableInvpcid => secondary.contains(SecondaryControls::ENABLE_INVPCID),
        Control::EnableXsavesXrstors => secondary.contains(SecondaryControls::ENABLE_XSAVES_XRSTORS),
        Control::EnableUserWaitAndPause => secondary.contains(SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE),
        Control::CounterSwitch => {
            features.controls.entry.contains(EntryControls::LOAD_PERF_GLOBAL_CTRL)
                && features.controls.exit.contains(ExitControls::LOAD_PERF_GLOBAL_CTRL)
        }
    }
}

/// The MSR bitmaps of one CPU, and where they lie. `None` when the frames do not suffice.
pub fn msr_bitmap(features: &Features) -> Option<(&'static mut MsrBitmap, Hpa)> {
    let at = frames::alloc(1)?;
    // SAFETY: a zeroed frame of our own, as large as the bitmaps; zeroes are valid ones.
    let bitmap = unsafe { &mut *direct::pointer(at).cast::<MsrBitmap>() };
    bitmap.intercept_all();
    for row in &policy(features).msrs {
        let rule = row.rule();
        row.msrs().for_each(|msr| bitmap.intercept(msr, rule.reads_exit(), rule.writes_exit()));
    }
    Some((bitmap, at))
}
