//! Accesses as the bus takes them apart: what is aligned is one, a qword may be two dwords, and all else is bytes.

use super::perform::Operand;
use mediator::{Gpa, Width};

/// What answers one access of the bus, which is aligned to its width.
pub(crate) trait Target {
    /// What is wider than the access is ignored.
    fn read(&mut self, at: Gpa, width: Width) -> u64;
    fn write(&mut self, at: Gpa, width: Width, value: u64);
}

/// An operand in the memory of a target that takes nothing wider than `widest`, a dword or a qword.
pub(crate) struct Parted<T> {
    pub target: T,
    pub at: Gpa,
    pub width: Width,
    pub widest: Width,
}

impl<T: Target> Parted<T> {
    /// Is it what the bus makes one access of?
    #[inline]
    fn is_whole(&self) -> bool {
        self.width <= self.widest && self.is_aligned(self.width)
    }

    #[inline]
    fn is_aligned(&self, width: Width) -> bool {
        self.at.0 & (width.bytes() as u64).wrapping_sub(1) == 0
    }

    /// With the offset of each.
    fn parts(&self) -> (Width, impl Iterator<Item = u64> + use<T>) {
        let part = if self.width == Width::Qword && self.is_aligned(Width::Dword) { Width::Dword } else { Width::Byte };
        (part, (0..self.width.bytes() as u64).step_by(part.bytes()))
    }

    fn at(&self, part: u64) -> Gpa {
        Gpa(self.at.0.wrapping_add(part))
    }

    #[cold]
    fn read_parts(&mut self) -> u64 {
        let (width, parts) = self.parts();
        parts.fold(0, |value, part| {
            let read = self.target.read(self.at(part), width) & width.ones();
            value | read.wrapping_shl((part as u32).wrapping_mul(8))
        })
    }

    #[cold]
    fn write_parts(&mut self, value: u64) {
        let (width, parts) = self.parts();
        for part in parts {
            let value = value.wrapping_shr((part as u32).wrapping_mul(8)) & width.ones();
            self.target.write(self.at(part), width, value);
        }
    }
}

impl<T: Target> Operand for Parted<T> {
    #[inline]
    fn read(&mut self) -> u64 {
        if self.is_whole() { self.target.read(self.at, self.width) } else { self.read_parts() }
    }

    #[inline]
    fn write(&mut self, value: u64) {
        if self.is_whole() {
            self.target.write(self.at, self.width, value & self.width.ones());
        } else {
            self.write_parts(value);
        }
    }
}
