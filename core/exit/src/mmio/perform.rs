//! An access to a device, carried out: registers, flags, index and count as the CPU would leave them.
//!
//! Specification: Intel SDM Vol. 1 (325462) rev. 083, 3.4.3.1 (flags), and Vol. 2 for each instruction.

use super::decode::{Extension, MmioAccess, Op, Operation, Source, StringIndex};
use crate::{Gpr, Vcpu, gpr};
use mediator::Width;

const PAGE_MASK: u64 = 0xfff;

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const DF: u64 = 1 << 10;
const OF: u64 = 1 << 11;
const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;

/// The operand in memory, as a device gives and takes it. What is wider than the access is ignored.
pub(crate) trait Operand {
    fn read(&mut self) -> u64;
    fn write(&mut self, value: u64);
}

impl MmioAccess {
    /// Bits 11:0 of the operand's address.
    #[inline]
    pub(crate) fn page_offset<V: Vcpu>(&self, vcpu: &V) -> u64 {
        let place = &self.place;
        let register = |register: Option<Gpr>| register.map_or(0, |register| vcpu.gpr(register));
        let index = register(place.index).wrapping_shl(place.scale.into());
        let effective = register(place.base).wrapping_add(index).wrapping_add(place.displacement.into());
        let base = if place.flat { 0 } else { vcpu.segment(place.segment).base };
        base.wrapping_add(effective) & PAGE_MASK
    }

    /// Carries the access out, and moves past the instruction, or past one repetition of it.
    #[inline]
    pub(crate) fn perform<V: Vcpu>(&self, vcpu: &mut V, operand: &mut impl Operand) {
        if self.is_over(vcpu) {
            return vcpu.skip_instruction(self.len_bytes);
        }
        match self.op {
            Op::Load { to, extension } => {
                let value = operand.read() & self.width.ones();
                to.set(vcpu, extend(value, self.width, extension));
            }
            Op::Store(source) => operand.write(source.value(vcpu) & self.width.ones()),
            Op::Exchange(register) => {
                let value = operand.read();
                operand.write(register.get(vcpu));
                register.set(vcpu, value);
            }
            Op::OnMemory { operation, second } => {
                let second = second.value(vcpu);
                let result = self.calculate(vcpu, operation, operand.read(), second);
                if operation.has_result() {
                    operand.write(result);
                }
            }
            Op::OnRegister { operation, first } => {
                let result = self.calculate(vcpu, operation, first.get(vcpu), operand.read());
                if operation.has_result() {
                    first.set(vcpu, result);
                }
            }
        }
        match self.string {
            Some(string) => self.advance(vcpu, string),
            None => vcpu.skip_instruction(self.len_bytes),
        }
    }

    /// A count of zero: the CPU would not have touched memory, so another CPU has changed the instruction since.
    fn is_over<V: Vcpu>(&self, vcpu: &V) -> bool {
        self.string.is_some_and(|string| string.repeated && vcpu.gpr(Gpr::Rcx) & string.width.ones() == 0)
    }

    fn calculate<V: Vcpu>(&self, vcpu: &mut V, operation: Operation, first: u64, second: u64) -> u64 {
        let (result, flags) = calculate(operation, first, second, self.width);
        vcpu.set_rflags(vcpu.rflags() & !ARITHMETIC | flags);
        result
    }

    /// Index and count after one element; of the last one the instruction ends.
    #[cold]
    fn advance<V: Vcpu>(&self, vcpu: &mut V, string: StringIndex) {
        let element_bytes = self.width.bytes() as u64;
        let index = vcpu.gpr(string.register);
        let down = vcpu.rflags() & DF != 0;
        let index = if down { index.wrapping_sub(element_bytes) } else { index.wrapping_add(element_bytes) };
        gpr::set_low(vcpu, string.register, string.width, index);
        if string.repeated {
            let count = vcpu.gpr(Gpr::Rcx).wrapping_sub(1) & string.width.ones();
            gpr::set_low(vcpu, Gpr::Rcx, string.width, count);
            if count != 0 {
                return vcpu.skip_instruction(0);
            }
        }
        vcpu.skip_instruction(self.len_bytes);
    }
}

impl Source {
    #[inline]
    fn value<V: Vcpu>(self, vcpu: &V) -> u64 {
        match self {
            Self::Register(register) => register.get(vcpu),
            Self::Immediate(value) => value,
        }
    }
}

fn extend(value: u64, width: Width, extension: Extension) -> u64 {
    match (extension, width) {
        (Extension::Zero, _) | (_, Width::Qword) => value,
        (Extension::Sign, Width::Byte) => value as i8 as u64,
        (Extension::Sign, Width::Word) => value as i16 as u64,
        (Extension::Sign, Width::Dword) => value as i32 as u64,
    }
}

/// The result, and the six arithmetic flags. AF after AND, OR and XOR is undefined; it is cleared, as CPUs do.
fn calculate(operation: Operation, first: u64, second: u64, width: Width) -> (u64, u64) {
    let (first, second) = (first & width.ones(), second & width.ones());
    let sign = width.ones() ^ width.ones() >> 1;
    let result = width.ones()
        & match operation {
            Operation::Add => first.wrapping_add(second),
            Operation::Sub | Operation::Cmp => first.wrapping_sub(second),
            Operation::And | Operation::Test => first & second,
            Operation::Or => first | second,
            Operation::Xor => first ^ second,
        };
    let (carry, overflow, half_carry) = match operation {
        Operation::Add => (result < first, !(first ^ second) & (first ^ result) & sign, first ^ second ^ result),
        Operation::Sub | Operation::Cmp => {
            (first < second, (first ^ second) & (first ^ result) & sign, first ^ second ^ result)
        }
        _ => (false, 0, 0),
    };
    let flags = [
        (CF, carry),
        (PF, (result as u8).count_ones() & 1 == 0),
        (AF, half_carry & 0x10 != 0),
        (ZF, result == 0),
        (SF, result & sign != 0),
        (OF, overflow != 0),
    ];
    (result, flags.into_iter().filter(|&(_, set)| set).fold(0, |all, (flag, _)| all | flag))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [Width; 4] = [Width::Byte, Width::Word, Width::Dword, Width::Qword];

    /// The flags by their definitions, in arithmetic that is wide enough: no borrowed formulas.
    fn by_definition(operation: Operation, first: u64, second: u64, width: Width) -> (u64, u64) {
        let ones = i128::from(width.ones());
        let bits = width.bytes() * 8;
        let signed = |value: i128| if value >> (bits - 1) & 1 == 1 { value - ones - 1 } else { value };
        let (a, b) = (i128::from(first) & ones, i128::from(second) & ones);
        let (exact, exact_signed, exact_nibble) = match operation {
            Operation::Add => (a + b, signed(a) + signed(b), (a & 15) + (b & 15)),
            Operation::Sub | Operation::Cmp => (a - b, signed(a) - signed(b), (a & 15) - (b & 15)),
            Operation::And | Operation::Test => (a & b, signed(a & b), 0),
            Operation::Or => (a | b, signed(a | b), 0),
            Operation::Xor => (a ^ b, signed(a ^ b), 0),
        };
        let result = exact & ones;
        let mut flags = 0;
        let mut set = |flag, on: bool| flags |= if on { flag } else { 0 };
        set(CF, exact != result);
        set(OF, exact_signed != signed(result));
        set(AF, exact_nibble != exact_nibble & 15);
        set(ZF, result == 0);
        set(SF, signed(result) < 0);
        set(PF, (0..8).filter(|bit| result >> bit & 1 == 1).count() % 2 == 0);
        (result as u64, flags)
    }

    #[test]
    fn results_and_flags_are_those_of_exact_arithmetic() {
        use Operation::{Add, And, Cmp, Or, Sub, Test, Xor};
        let edges = [0, 1, 2, 0xf, 0x10, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000];
        let wide = [0xffff_ffff, i64::MAX as u64, 1 << 63, u64::MAX, 0x0123_4567_89ab_cdef];
        for width in WIDTHS {
            for operation in [Add, Or, And, Sub, Xor, Cmp, Test] {
                for first in edges.into_iter().chain(wide) {
                    for second in edges.into_iter().chain(wide) {
                        let expected = by_definition(operation, first, second, width);
                        let is = calculate(operation, first, second, width);
                        assert_eq!(is, expected, "{operation:?} {first:x} {second:x} {width:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn extension_fills_the_upper_bits() {
        assert_eq!(extend(0x80, Width::Byte, Extension::Sign), 0xffff_ffff_ffff_ff80);
        assert_eq!(extend(0x7f, Width::Byte, Extension::Sign), 0x7f);
        assert_eq!(extend(0x8000, Width::Word, Extension::Sign), 0xffff_ffff_ffff_8000);
        assert_eq!(extend(0x8000_0000, Width::Dword, Extension::Sign), 0xffff_ffff_8000_0000);
        assert_eq!(extend(0x8000_0000, Width::Dword, Extension::Zero), 0x8000_0000);
    }
}
