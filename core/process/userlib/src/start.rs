//! From the first instruction to `main`, and what a panic does.
//!
//! Unsafe: the first instruction, and the names that the compiler looks for.

use crate::{Level, exit, heap, log};
use abi::call::status;
use core::panic::PanicInfo;

// The stack pointer is as after a call. `main` is what the compiler makes of the program's own (see `start`).
core::arch::global_asm!(
    ".text",
    ".global _start",
    "_start:",
    "xor ebp, ebp",
    "xor edi, edi",
    "xor esi, esi",
    "jmp main"
);

/// What `main` may give.
#[lang = "termination"]
pub trait Termination {}
impl Termination for () {}

#[lang = "start"]
fn start<T: Termination>(main: fn() -> T, _arguments: isize, _argument: *const *const u8, _: u8) -> isize {
    main();
    exit(0)
}

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    if heap::is_full() {
        exit(status::OUT_OF_MEMORY)
    }
    log(Level::Error, format_args!("{info}"));
    exit(status::PANIC)
}
