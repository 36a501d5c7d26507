//! I/O ports. Accesses keep their order with those of memory, for the compiler as for the CPU (SDM Vol. 3A 9.3): gates and devices
//! with DMA rely on it. So the assembly may touch memory, for all that is said to the compiler.

use core::arch::asm;
use mediator::Width;

/// Reads a port; the value is zero-extended. A qword is no port access and reads all ones.
///
/// # Safety
/// The caller may use the device behind the port.
#[inline]
pub unsafe fn read(port: u16, width: Width) -> u32 {
    let value: u32;
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            Width::Byte => asm!("in al, dx", in("dx") port, inout("eax") 0 => value, options(nostack, preserves_flags)),
            Width::Word => asm!("in ax, dx", in("dx") port, inout("eax") 0 => value, options(nostack, preserves_flags)),
            Width::Dword => asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack, preserves_flags)),
            Width::Qword => value = u32::MAX,
        }
    }
    value
}

/// Writes a port. A qword is no port access and vanishes.
///
/// # Safety
/// As [`read`].
#[inline]
pub unsafe fn write(port: u16, width: Width, value: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            Width::Byte => asm!("out dx, al", in("dx") port, in("al") value as u8, options(nostack, preserves_flags)),
            Width::Word => asm!("out dx, ax", in("dx") port, in("ax") value as u16, options(nostack, preserves_flags)),
            Width::Dword => asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack, preserves_flags)),
            Width::Qword => {}
        }
    }
}

/// Fills `data` from one port. Bytes that do not make up a whole element stay as they are.
///
/// # Safety
/// As [`read`].
pub unsafe fn read_string(port: u16, width: Width, data: &mut [u8]) {
    let count = data.len() / width.bytes();
    let to = data.as_mut_ptr();
    // SAFETY: writes exactly `count` elements, which fit into `data`; the port is the caller's promise.
    unsafe {
        match width {
            Width::Byte => asm!("rep insb", in("dx") port, inout("rcx") count => _, inout("rdi") to => _),
            Width::Word => asm!("rep insw", in("dx") port, inout("rcx") count => _, inout("rdi") to => _),
            Width::Dword => asm!("rep insd", in("dx") port, inout("rcx") count => _, inout("rdi") to => _),
            Width::Qword => {}
        }
    }
}

/// Writes `data` to one port. Bytes that do not make up a whole element are left out.
///
/// # Safety
/// As [`read`].
pub unsafe fn write_string(port: u16, width: Width, data: &[u8]) {
    let count = data.len() / width.bytes();
    let from = data.as_ptr();
    // SAFETY: reads exactly `count` elements of `data`; the port is the caller's promise.
    unsafe {
        match width {
            Width::Byte => {
                asm!("rep outsb", in("dx") port, inout("rcx") count => _, inout("rsi") from => _)
            }
            Width::Word => {
                asm!("rep outsw", in("dx") port, inout("rcx") count => _, inout("rsi") from => _)
            }
            Width::Dword => {
                asm!("rep outsd", in("dx") port, inout("rcx") count => _, inout("rsi") from => _)
            }
            Width::Qword => {}
        }
    }
}
