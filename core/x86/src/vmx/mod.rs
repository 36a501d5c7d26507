//! VT-x: virtual-machine extensions (SDM Vol. 3C chapters 24 to 31, Vol. 3D appendices A to C).

pub mod capability;
mod controls;
pub mod cpuid;
pub mod entry_check;
mod ept;
mod event;
mod exit_reason;
mod field;
mod guest_state;
mod instruction_error;
mod msr_bitmap;
mod qualification;

pub use capability::{Basic, Capabilities, ControlCapability, EptVpidCapability, FeatureControl, FixedBits, Misc};
pub use controls::{
    EXIT_PREMATURELY_BUSY_SHADOW_STACK, EntryControls, ExitControls, PinControls, ProcessorControls, SecondaryControls,
    TertiaryControls, VM_FUNCTION_EPTP_SWITCHING,
};
pub use ept::{EptEntry, EptPointer, InvEpt, InvEptDescriptor, InvVpid, InvVpidDescriptor};
pub use event::{InterruptionInfo, InterruptionKind};
pub use exit_reason::{BasicReason, ExitReason};
pub use field::{Area, Field, Width};
pub use guest_state::{AccessRights, ActivityState, Interruptibility, NO_VMCS_LINK, PendingDebug};
pub use instruction_error::InstructionError;
pub use msr_bitmap::{MSR_BITMAP_BYTES, MsrBitmap, msr_bitmap_bit};
pub use qualification::{
    ControlRegisterAccess, ControlRegisterAccessKind, DebugQualification, DebugRegisterAccess, EptViolation,
    InvalidGuestState, IoQualification, StringIoInfo, TaskSwitch, TaskSwitchSource,
};
