//! Tests in an emulator: a case boots a machine, with Shoji or bare, and judges it by its consoles and its disk.
#![forbid(unsafe_code)]

pub mod case;
pub mod cases;
pub mod results;
pub mod runner;
