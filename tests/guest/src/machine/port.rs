//! Port instructions in their plain form. Safe to call: a port access by itself touches no memory of this program
//! (who programs a bus master chooses its buffers in `ata`).

use core::arch::asm;

macro_rules! port_access {
    ($in:ident, $out:ident, $type:ty, $register:tt) => {
        pub fn $in(port: u16) -> $type {
            let value;
            // SAFETY: see the module's text.
            unsafe {
                asm!(concat!("in ", $register, ", dx"), in("dx") port, out($register) value,
                    options(nomem, nostack, preserves_flags))
            };
            value
        }
        pub fn $out(port: u16, value: $type) {
            // SAFETY: see the module's text.
            unsafe {
                asm!(concat!("out dx, ", $register), in("dx") port, in($register) value,
                    options(nostack, preserves_flags))
            };
        }
    };
}

port_access!(in8, out8, u8, "al");
port_access!(in16, out16, u16, "ax");
port_access!(in32, out32, u32, "eax");

/// REP INSW into `data`, in one instruction.
pub fn read_words(port: u16, data: &mut [u8]) {
    // SAFETY: writes exactly `data.len() / 2` words to `data`.
    unsafe {
        asm!("rep insw", in("dx") port, inout("rdi") data.as_mut_ptr() => _, inout("rcx") data.len() / 2 => _,
            options(nostack, preserves_flags))
    };
}

/// REP OUTSW from `data`, in one instruction.
pub fn write_words(port: u16, data: &[u8]) {
    // SAFETY: reads exactly `data.len() / 2` words of `data`.
    unsafe {
        asm!("rep outsw", in("dx") port, inout("rsi") data.as_ptr() => _, inout("rcx") data.len() / 2 => _,
            options(nostack, preserves_flags))
    };
}
