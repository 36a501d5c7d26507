//! AMD-V: secure virtual machine (APM Vol. 2 chapter 15, appendices B and C).

pub mod cpuid;
mod event;
mod exit_code;
mod exit_info;
mod intercept;
mod msr_permission;
mod segment;
mod vmcb;

pub use event::{Event, EventKind};
pub use exit_code::ExitCode;
pub use exit_info::{IoInfo, NestedFaultInfo};
pub use intercept::{Misc1, Misc2, Misc3};
pub use msr_permission::{MSRPM_BYTES, MsrPermissionMap, msrpm_bit};
pub use segment::Attributes;
pub use vmcb::{CleanBits, ControlArea, SaveArea, Segment, TlbControl, Vmcb, control};
