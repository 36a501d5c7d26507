//! I/O ports.

use mediator::Width;
use x86_64::instructions::port::Port;

/// Reads a port; the value is zero-extended. A qword is no port access and reads all ones.
///
/// # Safety
/// The caller may use the device behind the port.
pub unsafe fn read(port: u16, width: Width) -> u32 {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            Width::Byte => u32::from(Port::<u8>::new(port).read()),
            Width::Word => u32::from(Port::<u16>::new(port).read()),
            Width::Dword => Port::<u32>::new(port).read(),
            Width::Qword => u32::MAX,
        }
    }
}

/// Writes a port. A qword is no port access and vanishes.
///
/// # Safety
/// As [`read`].
pub unsafe fn write(port: u16, width: Width, value: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            Width::Byte => Port::<u8>::new(port).write(value as u8),
            Width::Word => Port::<u16>::new(port).write(value as u16),
            Width::Dword => Port::<u32>::new(port).write(value),
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
            Width::Byte => core::arch::asm!("rep insb", in("dx") port, inout("rcx") count => _, inout("rdi") to => _),
            Width::Word => core::arch::asm!("rep insw", in("dx") port, inout("rcx") count => _, inout("rdi") to => _),
            Width::Dword => core::arch::asm!("rep insd", in("dx") port, inout("rcx") count => _, inout("rdi") to => _),
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
                core::arch::asm!("rep outsb", in("dx") port, inout("rcx") count => _, inout("rsi") from => _)
            }
            Width::Word => {
                core::arch::asm!("rep outsw", in("dx") port, inout("rcx") count => _, inout("rsi") from => _)
            }
            Width::Dword => {
                core::arch::asm!("rep outsd", in("dx") port, inout("rcx") count => _, inout("rsi") from => _)
            }
            Width::Qword => {}
        }
    }
}
