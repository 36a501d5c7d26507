//! What the second decoder says, in words of its own that the three kinds of code share.

use exit::SegmentName;
use yaxpeax_arch::LengthedInstruction;

/// An instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Second {
    pub len: usize,
    /// Its name; where the VMM knows several as one, theirs.
    pub opcode: &'static str,
    /// As it is written.
    pub name: String,
    pub operands: Vec<Operand>,
    pub memory_bytes: usize,
    pub segment: Option<SegmentName>,
    pub repeats: bool,
}

/// One of its operands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operand {
    Register(String),
    /// Sign-extended.
    Immediate(u64),
    Memory {
        base: Option<String>,
        index: Option<String>,
        scale: u8,
        displacement: i64,
    },
    Other,
}

/// Instructions that always or sometimes exit.
const EXITING: &[&str] = &[
    "CPUID", "RDMSR", "WRMSR", "INVD", "HLT", "IN", "OUT", "INS", "OUTS", "VMCALL", "VMMCALL", "XSETBV", "VMRUN",
    "VMLOAD", "VMSAVE", "STGI", "CLGI", "SKINIT", "INVLPGA", "VMXON", "VMXOFF", "VMCLEAR", "VMPTRLD", "VMPTRST",
    "VMREAD", "VMWRITE", "VMLAUNCH", "VMRESUME", "INVEPT", "INVVPID", "GETSEC",
];

impl Second {
    pub fn exits(&self) -> bool {
        EXITING.contains(&self.name.as_str())
    }
}

/// Decodes one instruction of 16-, 32- or 64-bit code. `None`: it is none.
pub fn decode(code: &[u8], bitness: u32) -> Option<Second> {
    match bitness {
        16 => of_16_bits(code),
        32 => of_32_bits(code),
        _ => of_64_bits(code),
    }
}

/// The names under which `decoder::names` knows them.
fn opcode(name: &str, memory_first: bool) -> &'static str {
    match name {
        "MOV" | "MOVNTI" if memory_first => "MOV",
        "MOV" | "MOVZX" => "MOVZX or MOV",
        "MOVSX" | "MOVSXD" => "MOVSX",
        _ => {
            let known = ["LODS", "STOS", "XCHG", "ADD", "OR", "AND", "SUB", "XOR", "CMP", "TEST"];
            known.into_iter().find(|known| *known == name).unwrap_or("another")
        }
    }
}

/// The crate has one module for each kind of code, with types of the same names.
macro_rules! second {
    ($function:ident, $mode:ident, $disp:ident, $($absolute:ident)|+ $(, $qword:ident)?) => {
        fn $function(code: &[u8]) -> Option<Second> {
            use yaxpeax_x86::$mode::{InstDecoder, Operand as O, Segment};
            let register = |register: yaxpeax_x86::$mode::RegSpec| register.name().to_string();
            let memory = |base, index, scale, displacement| Operand::Memory { base, index, scale, displacement };
            let decoded = InstDecoder::default().decode_slice(code).ok()?;
            let operands: Vec<Operand> = (0..decoded.operand_count())
                .map(|i| match decoded.operand(i) {
                    O::Register { reg } => Operand::Register(register(reg)),
                    O::ImmediateI8 { imm } => Operand::Immediate(imm as u64),
                    O::ImmediateU8 { imm } => Operand::Immediate(imm.into()),
                    O::ImmediateI16 { imm } => Operand::Immediate(imm as u64),
                    O::ImmediateU16 { imm } => Operand::Immediate(imm.into()),
                    O::ImmediateI32 { imm } => Operand::Immediate(imm as u64),
                    O::ImmediateU32 { imm } => Operand::Immediate(imm.into()),
                    $(O::$qword { imm } => Operand::Immediate(imm as u64),)?
                    $(O::$absolute { addr } => memory(None, None, 1, addr as i64),)+
                    O::MemDeref { base } => memory(Some(register(base)), None, 1, 0),
                    O::$disp { base, disp } => memory(Some(register(base)), None, 1, disp.into()),
                    O::MemIndexScale { index, scale } => memory(None, Some(register(index)), scale, 0),
                    O::MemIndexScaleDisp { index, scale, disp } => memory(None, Some(register(index)), scale, disp.into()),
                    O::MemBaseIndexScale { base, index, scale } => {
                        memory(Some(register(base)), Some(register(index)), scale, 0)
                    }
                    O::MemBaseIndexScaleDisp { base, index, scale, disp } => {
                        memory(Some(register(base)), Some(register(index)), scale, disp.into())
                    }
                    _ => Operand::Other,
                })
                .collect();
            let prefixes = decoded.prefixes;
            let segment = match prefixes.segment() {
                Segment::ES => Some(SegmentName::Es),
                Segment::CS => Some(SegmentName::Cs),
                Segment::SS => Some(SegmentName::Ss),
                Segment::FS => Some(SegmentName::Fs),
                Segment::GS => Some(SegmentName::Gs),
                _ => None,
            };
            let name = format!("{:?}", decoded.opcode());
            Some(Second {
                len: decoded.len().to_const() as usize,
                opcode: opcode(&name, matches!(operands.first(), Some(Operand::Memory { .. }))),
                name,
                operands,
                memory_bytes: decoded.mem_size().and_then(|size| size.bytes_size()).unwrap_or(0).into(),
                segment,
                repeats: prefixes.rep_any(),
            })
        }
    };
}

second!(of_64_bits, long_mode, Disp, AbsoluteU32 | AbsoluteU64, ImmediateI64);
second!(of_32_bits, protected_mode, Disp, AbsoluteU16 | AbsoluteU32);
second!(of_16_bits, real_mode, MemDisp, AbsoluteU16 | AbsoluteU32);
