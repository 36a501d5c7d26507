//! Model-specific registers that the guest does not reach freely, each with its reason.

/// One MSR that leaves the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MsrIntercept {
    pub msr: u32,
    pub read: bool,
    pub write: bool,
    pub reason: &'static str,
}

/// Everything else passes, so far as the CPU's permission map reaches; what lies outside the map is refused.
pub const MSR_INTERCEPTS: &[MsrIntercept] = &[];
