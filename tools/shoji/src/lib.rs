//! The parts of the command `shoji`: configuration files, keys, disks, GRUB's menu, and what it asks of a Shoji that runs.
#![forbid(unsafe_code)]

pub mod disk;
pub mod form;
pub mod grub;
pub mod guest;
pub mod keys;
pub mod load;
pub mod lock;
mod network;
pub mod report;
pub mod show;
mod table;
mod wireguard;
mod words;
