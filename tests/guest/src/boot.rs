//! From the boot sector to the guest that the image names.

use crate::machine::{area, com2, exceptions, hypervisor};
use crate::report;
use core::arch::global_asm;

global_asm!(include_str!("start/boot.s"), options(raw));
// One piece: the last two use macros and numbers of the first.
global_asm!(
    include_str!("start/modes.s"),
    include_str!("start/cpus.s"),
    include_str!("start/exceptions.s"),
    options(raw)
);

/// What the image's builder writes into the boot sector at byte 4.
#[repr(C)]
struct Parameters {
    name: [u8; 16],
    encrypted_first: u32,
    encrypted_sectors: u32,
    cpus: u32,
    rounds: u32,
}

unsafe extern "C" {
    static boot_parameters: Parameters;
    static boot_drive: u8;
}

fn parameters() -> &'static Parameters {
    // SAFETY: the boot sector stays where the BIOS loaded it, and nothing writes to the block.
    unsafe { &boot_parameters }
}

/// Name of the guest that this image runs.
pub fn name() -> &'static str {
    let name = &parameters().name;
    let len = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    core::str::from_utf8(&name[..len]).unwrap_or("?")
}

/// The disk's encrypted range under Shoji: first LBA and number of sectors.
pub fn encrypted_range() -> Option<(u32, u32)> {
    let p = parameters();
    (p.encrypted_sectors > 0).then_some((p.encrypted_first, p.encrypted_sectors))
}

/// CPUs of the machine, this one included.
pub fn cpus() -> usize {
    (parameters().cpus as usize).max(1)
}

/// How often to do what is done again and again.
pub fn rounds() -> u32 {
    parameters().rounds.max(1)
}

/// BIOS drive number that the boot sector was given.
pub fn drive() -> u8 {
    // SAFETY: written once, by the boot sector, before this code was loaded.
    unsafe { (&raw const boot_drive).read() }
}

/// Runs `prepare`, then the guest that the image names, of those of the program. The start code comes out in the program's `guest_main`, in
/// 64-bit mode, interrupts off, which calls this.
pub fn start(guests: &[(&str, fn())], prepare: fn()) -> ! {
    com2::init();
    area::init(0);
    exceptions::init();
    let name = name();
    say!("guest {name}, BIOS drive {:#x}, {}", drive(), hypervisor::current());
    prepare();
    match guests.iter().find(|(n, _)| *n == name) {
        Some((_, run)) => run(),
        None => report::fail(format_args!("no such guest")),
    }
    report::pass()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    report::fail(format_args!("{info}"))
}
