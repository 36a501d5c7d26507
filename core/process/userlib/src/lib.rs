//! What programs in ring 3 stand on. A program is a crate with a `fn main()`, which serves:
//!
//! ```no_run
//! struct Hello;
//! impl userlib::Service<userlib::Port> for Hello {
//!     fn handle(&self, _op: u64, leases: &mut dyn userlib::Leases) -> Result<u64, userlib::Error> {
//!         Ok(leases.write(0, 0, b"hello\n")? as u64)
//!     }
//! }
//! userlib::serve(&[("hello", &Hello)]);
//! ```
//!
//! Unsafe: the system call itself (`system_call`), the heap (`heap`), and the first instruction (`start`); each module says more.
//! On the host, for tests, system calls fail.
#![cfg_attr(target_os = "none", no_std)]
// The start of a program whose `main` is an ordinary function. This compiler is pinned.
#![cfg_attr(target_os = "none", allow(internal_features))]
#![cfg_attr(target_os = "none", feature(lang_items))]

extern crate alloc;

#[cfg(target_os = "none")]
mod heap;
mod port;
mod serve;
#[cfg(target_os = "none")]
mod start;
pub mod system_call;

pub use message::{Error, Lease, Leases, NoLeases, Service, Writer};
pub use port::{Port, end_process, new_process, open};
pub use serve::serve;

use abi::call;
use system_call::{call, pass};

/// Writes a line to the log.
#[macro_export]
macro_rules! info {
    ($($text:tt)*) => { $crate::log($crate::Level::Info, format_args!($($text)*)) };
}

/// Of a line of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Level {
    Error = 1,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Writes a line to the log.
pub fn log(level: Level, text: core::fmt::Arguments<'_>) {
    let text = alloc::fmt::format(text);
    // Nobody to tell.
    let _ = pass(call::LOG, [level as u64, text.as_ptr() as u64, text.len() as u64, 0]);
}

/// Ends the program; status 0 if all is well.
pub fn exit(status: u64) -> ! {
    loop {
        let _ = call(call::EXIT, [status, 0, 0, 0]);
    }
}

/// Nanoseconds since Shoji started.
pub fn now() -> u64 {
    pass(call::NOW, [0; 4]).map_or(0, |[now, _]| now)
}
