//! The parts of the command `shoji`: configuration files, keys, GRUB's menu.
#![forbid(unsafe_code)]

pub mod form;
pub mod grub;
pub mod keys;
pub mod load;
pub mod lock;
pub mod report;
pub mod show;
mod table;
mod words;
