//! Attributes of a segment in a VMCB: bits 55:52 and 47:40 of its descriptor, packed (APM Vol. 2 15.5.1, 4.7).

use bitflags::bitflags;

bitflags! {
    /// Bits 7:0 are the descriptor's byte 5 (type, S, DPL, P), bits 11:8 AVL, L, D/B and G.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Attributes: u16 {
        /// Code or data, not a system segment.
        const S = 1 << 4;
        const PRESENT = 1 << 7;
        /// For the operating system's use.
        const AVL = 1 << 8;
        /// 64-bit code.
        const LONG = 1 << 9;
        /// 32-bit operands, addresses or stack.
        const DEFAULT_32 = 1 << 10;
        /// The descriptor's limit was in 4 KiB units. The VMCB's limit is in bytes either way.
        const GRANULARITY = 1 << 11;

        const _ = !0;
    }
}

impl Attributes {
    /// After reset: present, writable, accessed data.
    pub const REAL_MODE_DATA: Self = Self::from_bits_retain(0x93);
    /// After reset: present, readable, accessed code.
    pub const REAL_MODE_CODE: Self = Self::from_bits_retain(0x9B);
    /// After reset.
    pub const LDT: Self = Self::from_bits_retain(0x82);
    /// After reset: busy 32-bit task state.
    pub const BUSY_TSS: Self = Self::from_bits_retain(0x8B);

    /// Of a descriptor's byte 5 and its flags.
    pub const fn pack(access: u8, flags: Self) -> Self {
        Self::from_bits_retain(access as u16 | (flags.bits() & 0xF00))
    }

    /// Of an 8-byte descriptor.
    pub const fn of_descriptor(descriptor: u64) -> Self {
        Self::from_bits_retain((descriptor >> 40 & 0xFF | descriptor >> 44 & 0xF00) as u16)
    }

    /// The descriptor's byte 5.
    pub const fn access(self) -> u8 {
        self.bits() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_descriptors_are_packed() {
        // Linux' 64-bit kernel code and 32-bit user data.
        assert_eq!(Attributes::of_descriptor(0x00AF_9B00_0000_FFFF).bits(), 0xA9B);
        assert_eq!(Attributes::of_descriptor(0x00CF_F300_0000_FFFF).bits(), 0xCF3);
        // Neither base (FFh in byte 7) nor limit (Fh in byte 6) leaks in.
        assert_eq!(Attributes::of_descriptor(0xFF0F_00FF_FFFF_FFFF).bits(), 0);
    }

    #[test]
    fn the_parts_are_put_together_and_taken_apart() {
        let code = Attributes::pack(0x9B, Attributes::LONG | Attributes::GRANULARITY);
        assert_eq!(code.bits(), 0xA9B);
        assert_eq!(code.access(), 0x9B);
        assert!(code.contains(Attributes::LONG | Attributes::S | Attributes::PRESENT));
        assert!(!code.contains(Attributes::DEFAULT_32));
        assert_eq!(Attributes::pack(0x93, Attributes::PRESENT), Attributes::REAL_MODE_DATA);
    }
}
