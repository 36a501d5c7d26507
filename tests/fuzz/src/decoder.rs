//! The VMM's decoder of instructions against a second one, which shares nothing with it (`yaxpeax-x86`).
//!
//! Input: a byte that chooses 16-, 32- or 64-bit code, then the code. What the VMM would carry out on a device must be
//! the same to both: length, what is done, width, registers, immediate, address. Of instructions that exit the length must be
//! the same. What the VMM refuses to carry out may be anything. Where the other decoder is known to be wrong, or tells
//! less, stands in [`EXPLAINED`].

mod second;

use exit::mmio::{Decoded, Extension, MmioAccess, Op, Operation, RegisterPart, Source, decode_code};
use exit::{Gpr, SegmentName};
use mediator::Width;
use second::{Operand, Second};

/// Where the instruction lies, for addresses relative to it.
const RIP: u64 = 0x7_1234;
const BITNESS: [u32; 3] = [16, 32, 64];
const LONGEST: usize = 15;

/// A difference that is known, and how it is known again.
struct Explained {
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
    applies: fn(&Case<'_>) -> bool,
}

/// All of them.
const EXPLAINED: &[Explained] = &[
    Explained {
        why: "it does not tell a DS prefix from none, which differ where the base is BP or SP",
        applies: |case| case.prefixes().contains(&0x3e),
    },
    Explained {
        why: "14 prefixes and one byte are an instruction of 15 bytes, which is the limit; to it that is too long",
        applies: |case| case.prefixes().len() == LONGEST - 1,
    },
    Explained {
        why: "82h is 80h in 16- and 32-bit code (SDM Vol. 3B 24.15), and no instruction to it",
        applies: |case| case.opcode() == Some(0x82),
    },
    Explained {
        why: "of several REX prefixes only the last counts (SDM Vol. 2A 2.2.1.2); it adds them up or takes them for no instruction",
        applies: |case| case.prefixes().iter().filter(|byte| case.bitness == 64 && **byte & 0xf0 == 0x40).count() > 1,
    },
    Explained {
        why: "MOVSXD without REX.W has a destination of 32 bits (SDM Vol. 2B), to it 64",
        applies: |case| {
            case.bitness == 64
                && case.opcode() == Some(0x63)
                && case.prefixes().last().is_none_or(|rex| rex & 0xf8 != 0x48)
        },
    },
];

/// One instruction, seen by both.
struct Case<'a> {
    code: &'a [u8],
    bitness: u32,
    access: MmioAccess,
    /// `None`: it is no instruction to it.
    second: Option<Second>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((mode, code)) = data.split_first() else { return };
    let bitness = BITNESS[usize::from(*mode) % BITNESS.len()];
    let code = &code[..code.len().min(LONGEST)];
    compare(code, bitness);
}

/// What came of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compared {
    /// Both say the same of what is carried out.
    Carried,
    /// Both measured the same.
    Measured,
    Explained,
    /// Nothing to compare: no instruction to one of them, or one that the VMM refuses.
    Nothing,
}

fn compare(code: &[u8], bitness: u32) -> Compared {
    let Some(Decoded { len_bytes, access }) = decode_code(code, bitness, RIP) else { return Compared::Nothing };
    let second = second::decode(code, bitness);
    let Ok(access) = access else {
        let Some(second) = second.filter(|second| second.exits()) else { return Compared::Nothing };
        assert_eq!(usize::from(len_bytes), second.len, "{bitness} bits, {code:02x?}: {second:?}");
        return Compared::Measured;
    };
    let case = Case { code, bitness, access, second };
    if EXPLAINED.iter().any(|explained| (explained.applies)(&case)) {
        return Compared::Explained;
    }
    case.judge();
    Compared::Carried
}

impl Case<'_> {
    fn prefixes(&self) -> &[u8] {
        const PREFIXES: [u8; 11] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
        let is_prefix = |byte: &u8| PREFIXES.contains(byte) || (self.bitness == 64 && byte & 0xf0 == 0x40);
        let end = self.code.iter().position(|byte| !is_prefix(byte)).unwrap_or(self.code.len());
        &self.code[..end]
    }

    fn opcode(&self) -> Option<u8> {
        self.code.get(self.prefixes().len()).copied()
    }

    fn judge(&self) {
        let Self { code, bitness, access, second } = self;
        let Some(second) = second else { panic!("{bitness} bits, {code:02x?}: {access:?} is none to the other") };
        let what = || format!("{bitness} bits, {code:02x?}:\n{access:x?}\n{second:x?}");
        assert_eq!(usize::from(access.len_bytes), second.len, "length, {}", what());
        assert_eq!(names(&access.op, access.string.is_some()), second.opcode, "{}", what());
        assert_eq!(access.width.bytes(), second.memory_bytes, "width, {}", what());
        assert_eq!(access.string.is_some_and(|s| s.repeated), access.string.is_some() && second.repeats, "{}", what());
        let Some(at) = second.operands.iter().position(|o| matches!(o, Operand::Memory { .. })) else {
            panic!("no operand in memory, {}", what());
        };
        let other = second.operands.iter().enumerate().find(|(i, _)| *i != at).map(|(_, operand)| operand);
        let memory_first = at == 0;
        let (first, value) = match access.op {
            Op::Load { to, .. } | Op::OnRegister { first: to, .. } => (false, Source::Register(to)),
            Op::Store(value) | Op::OnMemory { second: value, .. } => (true, value),
            Op::Exchange(register) => (memory_first, Source::Register(register)),
        };
        // TEST is the same both ways round.
        let either = matches!(access.op, Op::OnMemory { operation: Operation::Test, .. });
        assert!(first == memory_first || either, "order, {}", what());
        match (value, other) {
            (Source::Register(part), Some(Operand::Register(name))) => {
                assert_eq!(named(part), *name, "{}", what());
            }
            (Source::Immediate(ours), Some(Operand::Immediate(theirs))) => {
                let ones = access.width.ones();
                assert_eq!(ours & ones, theirs & ones, "immediate, {}", what());
            }
            _ => panic!("{}", what()),
        }
        self.judge_place(second, &second.operands[at], &what);
    }

    fn judge_place(&self, second: &Second, operand: &Operand, what: &dyn Fn() -> String) {
        let place = &self.access.place;
        let Operand::Memory { base, index, scale, displacement } = operand else { return };
        let relative = base.as_deref().is_some_and(|base| base.ends_with("ip"));
        let base = base.as_deref().filter(|_| !relative).map(gpr);
        let index = index.as_deref().map(gpr);
        // Without a scale it does not matter which of two registers is the index.
        let scaled = |index: Option<Gpr>, scale| if index.is_some() { scale } else { 0 };
        let (own_scale, scale) = (scaled(place.index, place.scale), scaled(index, scale.trailing_zeros() as u8));
        let same = (place.base, place.index, own_scale) == (base, index, scale);
        let swapped = (place.base, place.index, own_scale, scale) == (index, base, 0, 0);
        assert!(same || swapped, "address, {}", what());
        let from = if relative { RIP + second.len as u64 } else { 0 };
        let displacement = from.wrapping_add(*displacement as u64) & 0xfff;
        assert_eq!(u64::from(place.displacement), displacement, "displacement, {}", what());
        let stack = |register: &Option<Gpr>| matches!(register, Some(Gpr::Rsp | Gpr::Rbp));
        let segment = match second.segment {
            _ if matches!(self.access.string, Some(string) if string.register == Gpr::Rdi) => SegmentName::Es,
            Some(segment) => segment,
            None if stack(&place.base) => SegmentName::Ss,
            None => SegmentName::Ds,
        };
        let counts = |segment| self.bitness != 64 || matches!(segment, SegmentName::Fs | SegmentName::Gs);
        let same = place.segment == segment || (!counts(place.segment) && !counts(segment));
        assert!(same, "segment {segment:?}, {}", what());
    }
}

/// The other decoder's name for what is done. MOVNTI and MOV are one to the VMM.
fn names(op: &Op, string: bool) -> &'static str {
    match op {
        Op::Load { .. } if string => "LODS",
        Op::Store(_) if string => "STOS",
        Op::Load { extension: Extension::Sign, .. } => "MOVSX",
        Op::Load { .. } => "MOVZX or MOV",
        Op::Store(_) => "MOV",
        Op::Exchange(_) => "XCHG",
        Op::OnMemory { operation, .. } | Op::OnRegister { operation, .. } => match operation {
            Operation::Add => "ADD",
            Operation::Or => "OR",
            Operation::And => "AND",
            Operation::Sub => "SUB",
            Operation::Xor => "XOR",
            Operation::Cmp => "CMP",
            Operation::Test => "TEST",
        },
    }
}

const LEGACY: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];

/// A general purpose register by any of its names.
fn gpr(name: &str) -> Gpr {
    let legacy = LEGACY.iter().position(|legacy| name.trim_start_matches(['r', 'e']) == *legacy);
    let extended = || name.trim_start_matches('r').trim_end_matches(['d', 'w', 'b']).parse().ok();
    legacy.or_else(extended).and_then(Gpr::by_number).unwrap_or_else(|| panic!("register {name}"))
}

/// Its name, as assemblers write it.
fn named(part: RegisterPart) -> String {
    let number = part.gpr as usize;
    let Some(legacy) = LEGACY.get(number) else {
        let suffix = ["b", "w", "d", ""][part.width as usize];
        return format!("r{number}{suffix}");
    };
    match part.width {
        Width::Byte if part.high => format!("{}h", &legacy[..1]),
        Width::Byte if number < 4 => format!("{}l", &legacy[..1]),
        Width::Byte => format!("{legacy}l"),
        Width::Word => (*legacy).into(),
        Width::Dword => format!("e{legacy}"),
        Width::Qword => format!("r{legacy}"),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let code: [&[u8]; 24] = [
        &[0x89, 0x07],
        &[0x48, 0x8b, 0x84, 0x8d, 1, 2, 3, 4],
        &[0x8a, 0x25, 0, 0, 0, 0],
        &[0x65, 0x44, 0x88, 0x7c, 0x24, 0x08],
        &[0xc7, 0x07, 0xff, 0xff, 0xff, 0xff],
        &[0x66, 0xc7, 0x07, 0xff, 0xff],
        &[0xa1, 0, 1, 2, 3, 4, 5, 6, 7],
        &[0x67, 0xa2, 0, 1, 2, 3],
        &[0x0f, 0xb6, 0x00],
        &[0x48, 0x0f, 0xbf, 0x00],
        &[0x48, 0x63, 0x00],
        &[0x0f, 0xc3, 0x10],
        &[0xf3, 0xab],
        &[0x2e, 0xac],
        &[0x87, 0x0f],
        &[0x83, 0x0f, 0x80],
        &[0x66, 0x81, 0x2f, 0x34, 0x12],
        &[0x3b, 0x4f, 0x10],
        &[0xf6, 0x07, 0x80],
        &[0x0f, 0xa2],
        &[0x66, 0x0f, 0x32],
        &[0xf3, 0x6d],
        &[0x66, 0xe5, 0x92],
        &[0x0f, 0x01, 0xd9],
    ];
    let seed = |(mode, code): (u8, &[u8])| [&[mode], code].concat();
    (0..3).flat_map(|mode| code.into_iter().map(move |code| (mode, code))).map(seed).collect()
}

#[cfg(test)]
mod tests;
