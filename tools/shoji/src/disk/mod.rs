//! Disks, outside of the guest: image files and block devices, their partitions, what they hold, and LUKS2 headers.

mod device;
mod holds;
mod identity;
pub mod luks;

pub use device::{Device, Mode};
pub use holds::{content, loss, recognise};
pub use identity::{Identity, identify};
