//! Base address registers (PCI 3.0 s. 6.2.5.1).

/// Is this base address register one of I/O space (bit 0)?
pub fn is_io(bar: u32) -> bool {
    bar & 1 != 0
}

/// First port of an I/O base address register of `len` ports (a power of two), or `None` when it is unassigned.
///
/// The type bits and the bits that the size hard-wires to 0 are masked, so that a sizing write (all ones) gives the
/// ports that the function decodes meanwhile. Bits above 15 are dropped: x86 has 64 Ki ports, and many functions
/// hard-wire those bits to 0, so the lower half is what may be decoded.
pub fn io_base(bar: u32, len: u16) -> Option<u16> {
    let mask = !u32::from(len.saturating_sub(1) | 3);
    match u16::try_from(bar & mask & 0xffff) {
        Ok(0) | Err(_) => None,
        Ok(base) => Some(base),
    }
}
