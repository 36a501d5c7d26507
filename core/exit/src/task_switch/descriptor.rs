//! Descriptors of TSSs, LDTs, code and data.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, 3.4.2, 3.4.5 and 3.5; 7.13 (error codes).

use crate::Segment;

const ACCESS_BUSY: u8 = 1 << 1;
const ACCESS_S: u8 = 1 << 4;
const ACCESS_PRESENT: u8 = 1 << 7;
/// Of code and data: type bits.
const ACCESS_ACCESSED: u8 = 1 << 0;
const ACCESS_WRITABLE_OR_READABLE: u8 = 1 << 1;
const ACCESS_CONFORMING: u8 = 1 << 2;
const ACCESS_CODE: u8 = 1 << 3;
/// S and type of an LDT.
const LDT: u8 = 2;

/// A selector: RPL in bits 1:0, TI in bit 2, index above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selector(pub u16);

impl Selector {
    pub fn rpl(self) -> u8 {
        (self.0 & 3) as u8
    }

    /// TI: its descriptor is in the LDT.
    pub fn is_local(self) -> bool {
        self.0 & 4 != 0
    }

    /// Names no segment.
    pub fn is_null(self) -> bool {
        self.0 & !3 == 0
    }

    /// Of its descriptor in the table.
    pub fn offset(self) -> u16 {
        self.0 & !7
    }

    /// Error code of an exception that is this selector's fault; `external` is the bit EXT.
    pub fn error(self, external: u32) -> u32 {
        u32::from(self.0 & !3) | external
    }
}

/// A descriptor as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// Byte 5: type, S, DPL, P.
    pub fn access(self) -> u8 {
        (self.0 >> 40) as u8
    }

    pub fn is_present(self) -> bool {
        self.access() & ACCESS_PRESENT != 0
    }

    pub fn dpl(self) -> u8 {
        self.access() >> 5 & 3
    }

    /// A TSS of 16 or 32 bits, busy or not.
    pub fn is_tss(self) -> bool {
        self.access() & (ACCESS_S | 0b101) == 1
    }

    pub fn is_busy(self) -> bool {
        self.access() & ACCESS_BUSY != 0
    }

    pub fn is_ldt(self) -> bool {
        self.access() & (ACCESS_S | 0xf) == LDT
    }

    pub fn is_code(self) -> bool {
        self.access() & (ACCESS_S | ACCESS_CODE) == ACCESS_S | ACCESS_CODE
    }

    pub fn is_conforming_code(self) -> bool {
        self.is_code() && self.access() & ACCESS_CONFORMING != 0
    }

    pub fn is_writable_data(self) -> bool {
        self.access() & (ACCESS_S | ACCESS_CODE | ACCESS_WRITABLE_OR_READABLE) == ACCESS_S | ACCESS_WRITABLE_OR_READABLE
    }

    /// Data, or code that may be read.
    pub fn is_readable(self) -> bool {
        self.access() & ACCESS_S != 0 && (!self.is_code() || self.access() & ACCESS_WRITABLE_OR_READABLE != 0)
    }

    /// Code or data: marked as accessed.
    pub fn accessed(self) -> Self {
        Self(self.0 | u64::from(ACCESS_ACCESSED) << 40)
    }

    /// A TSS: marked as busy or available.
    pub fn with_busy(self, busy: bool) -> Self {
        let bit = u64::from(ACCESS_BUSY) << 40;
        Self(if busy { self.0 | bit } else { self.0 & !bit })
    }

    /// In bytes, granularity applied.
    pub fn limit(self) -> u32 {
        let limit = (self.0 & 0xffff | self.0 >> 32 & 0xf_0000) as u32;
        if self.0 & 1 << 55 == 0 { limit } else { limit << 12 | 0xfff }
    }

    fn base(self) -> u64 {
        self.0 >> 16 & 0xff_ffff | self.0 >> 32 & 0xff00_0000
    }

    /// The register that this descriptor fills. L means nothing outside of IA-32e mode, where no task switches are.
    pub fn segment(self, selector: Selector) -> Segment {
        Segment {
            selector: selector.0,
            base: self.base(),
            limit: self.limit(),
            long: false,
            default_32: self.0 & 1 << 54 != 0,
            access: self.access(),
        }
    }
}

/// A register that names no usable segment.
pub fn unusable(selector: u16, dpl: u8) -> Segment {
    Segment { selector, access: ACCESS_S | 0b0011 | dpl << 5, ..Segment::default() }
}

/// Code of 4 GiB: what CS is until its descriptor has been read.
pub fn flat_code(selector: u16, dpl: u8, default_32: bool) -> Segment {
    let access = ACCESS_PRESENT | ACCESS_S | 0b1011 | dpl << 5;
    Segment { selector, base: 0, limit: u32::MAX, long: false, default_32, access }
}

/// A segment of virtual-8086 mode (SDM Vol. 3B 21.2).
pub fn virtual_8086(selector: u16) -> Segment {
    let access = ACCESS_PRESENT | ACCESS_S | 0b0011 | 3 << 5;
    Segment { selector, base: u64::from(selector) << 4, limit: 0xffff, long: false, default_32: false, access }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_descriptor_are_taken_apart() {
        let data = Descriptor(0x12cf_f334_5678_ffff);
        assert_eq!(
            data.segment(Selector(0x2b)),
            Segment { selector: 0x2b, base: 0x1234_5678, limit: u32::MAX, long: false, default_32: true, access: 0xf3 }
        );
        assert_eq!((data.dpl(), data.is_present(), data.is_writable_data(), data.is_code()), (3, true, true, false));
        assert_eq!(Descriptor(0x000f_8900_0000_0067).limit(), 0xf_0067);
    }

    #[test]
    fn kinds_are_told_by_the_access_byte() {
        let all = |is: fn(Descriptor) -> bool| -> alloc::vec::Vec<u64> {
            (0..32).filter(|&access| is(Descriptor(access << 40))).collect()
        };
        assert_eq!(all(Descriptor::is_tss), [1, 3, 9, 11]);
        assert_eq!(all(Descriptor::is_ldt), [2]);
        assert_eq!(all(Descriptor::is_writable_data), [18, 19, 22, 23]);
        assert_eq!(all(Descriptor::is_code), [24, 25, 26, 27, 28, 29, 30, 31]);
        assert_eq!(all(Descriptor::is_conforming_code), [28, 29, 30, 31]);
        assert_eq!(all(Descriptor::is_readable), [16, 17, 18, 19, 20, 21, 22, 23, 26, 27, 30, 31]);
    }
}
