//! Layouts of the two kinds of TSS.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, 8.2.1 (32 bits) and 8.6 (16 bits).

use crate::SegmentName;

/// Size of the larger one, without I/O permission map.
pub const MAX_BYTES: usize = 0x68;

/// In the order in which both kinds hold them; a 16-bit TSS has the first four only.
pub const SEGMENTS: [SegmentName; 6] =
    [SegmentName::Es, SegmentName::Cs, SegmentName::Ss, SegmentName::Ds, SegmentName::Fs, SegmentName::Gs];

/// What the CPU saves of a task, and loads again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TaskImage {
    pub eip: u32,
    pub eflags: u32,
    /// By [`crate::Gpr`], up to EDI.
    pub gprs: [u32; 8],
    /// Selectors by [`SEGMENTS`].
    pub segments: [u16; 6],
}

/// Which kind of TSS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Bits16,
    Bits32,
}

impl Format {
    /// By the type in its descriptor.
    pub fn of(access: u8) -> Self {
        if access & 8 == 0 { Self::Bits16 } else { Self::Bits32 }
    }

    /// Bytes of a register's slot.
    pub fn slot_bytes(self) -> usize {
        match self {
            Self::Bits16 => 2,
            Self::Bits32 => 4,
        }
    }

    /// Bytes that the limit must cover.
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Bits16 => 0x2c,
            Self::Bits32 => MAX_BYTES,
        }
    }

    /// Where the instruction pointer is; flags, registers and selectors follow, a slot each.
    fn saved_at(self) -> usize {
        match self {
            Self::Bits16 => 0x0e,
            Self::Bits32 => 0x20,
        }
    }

    fn segment_count(self) -> usize {
        match self {
            Self::Bits16 => 4,
            Self::Bits32 => SEGMENTS.len(),
        }
    }

    fn ldt_at(self) -> usize {
        match self {
            Self::Bits16 => 0x2a,
            Self::Bits32 => 0x60,
        }
    }

    fn slot(self, index: usize) -> usize {
        self.saved_at().wrapping_add(index.wrapping_mul(self.slot_bytes()))
    }

    /// Writes what changes of a TSS.
    pub fn encode(self, image: &TaskImage, tss: &mut [u8; MAX_BYTES]) {
        let registers = [image.eip, image.eflags].into_iter().chain(image.gprs);
        for (index, value) in registers.enumerate() {
            put(tss, self.slot(index), &value.to_le_bytes(), self.slot_bytes());
        }
        for (index, selector) in (10..).zip(image.segments).take(self.segment_count()) {
            // The upper half of a selector's slot is reserved, and stays.
            put(tss, self.slot(index), &selector.to_le_bytes(), 2);
        }
    }

    /// What a TSS of 16 bits does not hold is zero.
    pub fn parse(self, tss: &[u8; MAX_BYTES]) -> TaskImage {
        let register = |index| get(tss, self.slot(index), self.slot_bytes());
        let mut image = TaskImage { eip: register(0), eflags: register(1), ..TaskImage::default() };
        for (index, value) in (2..).zip(&mut image.gprs) {
            *value = register(index);
        }
        for (index, selector) in (10..).zip(&mut image.segments).take(self.segment_count()) {
            *selector = get(tss, self.slot(index), 2) as u16;
        }
        image
    }

    pub fn ldt(self, tss: &[u8; MAX_BYTES]) -> u16 {
        get(tss, self.ldt_at(), 2) as u16
    }

    /// `None`: this kind holds no CR3.
    pub fn cr3(self, tss: &[u8; MAX_BYTES]) -> Option<u32> {
        (self == Self::Bits32).then(|| get(tss, 0x1c, 4))
    }

    /// T: a debug exception when this task is switched to.
    pub fn debug_trap(self, tss: &[u8; MAX_BYTES]) -> bool {
        self == Self::Bits32 && get(tss, 0x64, 2) & 1 != 0
    }
}

fn put(tss: &mut [u8; MAX_BYTES], at: usize, bytes: &[u8], len_bytes: usize) {
    for (to, from) in tss.iter_mut().skip(at).zip(bytes).take(len_bytes) {
        *to = *from;
    }
}

fn get(tss: &[u8; MAX_BYTES], at: usize, len_bytes: usize) -> u32 {
    tss.iter().skip(at).take(len_bytes).rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte is its own offset.
    fn counted() -> [u8; MAX_BYTES] {
        core::array::from_fn(|at| at as u8)
    }

    #[test]
    fn a_tss_of_32_bits_is_read_as_the_manual_draws_it() {
        let image = Format::Bits32.parse(&counted());
        assert_eq!((image.eip, image.eflags), (0x2322_2120, 0x2726_2524));
        assert_eq!((image.gprs[0], image.gprs[4], image.gprs[7]), (0x2b2a_2928, 0x3b3a_3938, 0x4746_4544));
        assert_eq!(image.segments, [0x4948, 0x4d4c, 0x5150, 0x5554, 0x5958, 0x5d5c]);
        assert_eq!((Format::Bits32.ldt(&counted()), Format::Bits32.cr3(&counted())), (0x6160, Some(0x1f1e_1d1c)));
        assert!(!Format::Bits32.debug_trap(&counted()));
    }

    #[test]
    fn a_tss_of_16_bits_is_read_as_the_manual_draws_it() {
        let image = Format::Bits16.parse(&counted());
        assert_eq!((image.eip, image.eflags), (0x0f0e, 0x1110));
        assert_eq!((image.gprs[0], image.gprs[4], image.gprs[7]), (0x1312, 0x1b1a, 0x2120));
        assert_eq!(image.segments, [0x2322, 0x2524, 0x2726, 0x2928, 0, 0]);
        assert_eq!((Format::Bits16.ldt(&counted()), Format::Bits16.cr3(&counted())), (0x2b2a, None));
    }

    #[test]
    fn what_is_written_is_read_again_and_the_rest_stays() {
        let image = TaskImage {
            eip: 0xe1e2,
            eflags: 0xf1f2,
            gprs: [1, 2, 3, 4, 5, 6, 7, 8],
            segments: [0x11, 0x22, 0x33, 0x44, 0, 0],
        };
        for (format, changed) in [(Format::Bits16, 0x0e..0x2a), (Format::Bits32, 0x20..0x60)] {
            let mut tss = [0xcc; MAX_BYTES];
            format.encode(&image, &mut tss);
            assert_eq!(format.parse(&tss), image);
            let kept = tss.iter().enumerate().filter(|(at, _)| !changed.contains(at));
            assert!(kept.into_iter().all(|(_, &byte)| byte == 0xcc));
        }
    }
}
