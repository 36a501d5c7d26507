//! What an instruction does with the operand that it has in memory.
//!
//! Specification: Intel SDM Vol. 2 (325383) rev. 083.
//!
//! Emulated is what operating systems and compilers use on device registers: MOV in every form (moffs and MOVNTI
//! included), MOVZX, MOVSX, MOVSXD, LODS and STOS (repeated too, one element an exit), XCHG, and ADD, SUB, AND, OR, XOR,
//! CMP, TEST in every form, which compilers make of `*register |= bit`. All else is refused by its name, never guessed:
//!
//! - LOCK: the VMM's read and write of a device are two accesses of the bus, which is what LOCK rules out. XCHG
//!   without the prefix is taken all the same: old kernels write APIC registers by it, and mean no lock.
//! - MOVS: it has a second operand in memory. No driver copies from these pages.
//! - INC, DEC, NEG, NOT, ADC, SBB, shifts, BT and its like, CMPXCHG, XADD, PUSH, POP, CALL, far pointers, descriptor
//!   tables, x87, SIMD: no guest was seen to use one on a device.

use super::register::RegisterPart;
use crate::{Gpr, SegmentName};
use iced_x86::{CodeSize, Instruction, MemorySize, Mnemonic, OpKind, Register};
use mediator::Width;

/// What becomes of the upper bits of a wider register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extension {
    Zero,
    Sign,
}

/// A value that is not in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Register(RegisterPart),
    /// Sign-extended to 64 bits.
    Immediate(u64),
}

/// Arithmetic of two operands that sets the flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Add,
    Or,
    And,
    Sub,
    Xor,
    /// SUB without a result.
    Cmp,
    /// AND without a result.
    Test,
}

impl Operation {
    /// Whether the first operand becomes the result.
    pub fn has_result(self) -> bool {
        !matches!(self, Self::Cmp | Self::Test)
    }
}

/// What is done with the operand in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Memory to a register, which may be wider.
    Load {
        to: RegisterPart,
        extension: Extension,
    },
    Store(Source),
    Exchange(RegisterPart),
    /// Memory is the first operand, and takes the result.
    OnMemory {
        operation: Operation,
        second: Source,
    },
    /// The register is the first operand, and takes the result.
    OnRegister {
        operation: Operation,
        first: RegisterPart,
    },
}

/// An index register of a string instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringIndex {
    pub register: Gpr,
    /// SI/DI, ESI/EDI or RSI/RDI, and the count in CX, ECX or RCX.
    pub width: Width,
    /// REP prefix.
    pub repeated: bool,
}

/// Where the operand lies, as far as its page does not matter: bits 11:0 are the same in linear and physical addresses,
/// and in addresses of every width.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub segment: SegmentName,
    /// The segment's base counts as 0 whatever it is: all but FS and GS in 64-bit code, which has no others (SDM Vol. 1, 3.3.4).
    pub flat: bool,
    pub base: Option<Gpr>,
    pub index: Option<Gpr>,
    /// log2 of what the index is multiplied by, 0 to 3.
    pub scale: u8,
    pub displacement: u16,
}

/// One access to a device in memory, as an instruction makes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioAccess {
    pub op: Op,
    /// Of the operand in memory.
    pub width: Width,
    pub place: Place,
    pub string: Option<StringIndex>,
    /// Of the instruction.
    pub len_bytes: u8,
}

impl MmioAccess {
    /// No access; what stands for none yet.
    pub(super) const NONE: Self = Self {
        op: Op::Store(Source::Immediate(0)),
        width: Width::Byte,
        place: Place { segment: SegmentName::Ds, flat: false, base: None, index: None, scale: 0, displacement: 0 },
        string: None,
        len_bytes: 0,
    };

    /// Whether the operand is read. Of an access that does both, the CPU may tell either.
    #[inline]
    pub fn reads(&self) -> bool {
        !matches!(self.op, Op::Store(_))
    }

    #[inline]
    pub fn writes(&self) -> bool {
        match self.op {
            Op::Load { .. } | Op::OnRegister { .. } => false,
            Op::Store(_) | Op::Exchange(_) => true,
            Op::OnMemory { operation, .. } => operation.has_result(),
        }
    }
}

/// Why an instruction is not emulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotEmulated {
    /// Not among the instructions of this file.
    Instruction,
    /// LOCK, or REP where it repeats nothing.
    Prefix,
}

/// Takes an instruction apart that has touched a device.
///
/// # Errors
/// It is none of those that are emulated.
pub fn decode(instruction: &Instruction) -> Result<MmioAccess, NotEmulated> {
    let string = string_index(instruction);
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let parts = parts(instruction).ok_or(NotEmulated::Instruction)?;
    if instruction.has_lock_prefix() || (repeats && string.is_none()) {
        return Err(NotEmulated::Prefix);
    }
    let (op, width) = parts;
    let place = place(instruction, string).ok_or(NotEmulated::Instruction)?;
    Ok(MmioAccess { op, width, place, string, len_bytes: instruction.len() as u8 })
}

fn parts(instruction: &Instruction) -> Option<(Op, Width)> {
    use Mnemonic as M;
    match instruction.mnemonic() {
        M::Mov | M::Movnti if is_memory(instruction.op0_kind()) => store(instruction),
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => store(instruction),
        M::Mov | M::Movzx | M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => load(instruction, Extension::Zero),
        M::Movsx => load(instruction, Extension::Sign),
        // To 16 bits Intel's CPUs read a word, and AMD's read a dword.
        M::Movsxd => load(instruction, Extension::Sign).filter(|&(_, width)| width == Width::Dword),
        M::Xchg => exchange(instruction),
        M::Add => arithmetic(instruction, Operation::Add),
        M::Or => arithmetic(instruction, Operation::Or),
        M::And => arithmetic(instruction, Operation::And),
        M::Sub => arithmetic(instruction, Operation::Sub),
        M::Xor => arithmetic(instruction, Operation::Xor),
        M::Cmp => arithmetic(instruction, Operation::Cmp),
        M::Test => arithmetic(instruction, Operation::Test),
        _ => None,
    }
}

fn load(instruction: &Instruction, extension: Extension) -> Option<(Op, Width)> {
    let to = register(instruction, 0)?;
    let width = memory_width(instruction, 1)?;
    (to.width >= width).then_some((Op::Load { to, extension }, width))
}

fn store(instruction: &Instruction) -> Option<(Op, Width)> {
    let width = memory_width(instruction, 0)?;
    Some((Op::Store(source(instruction, 1, width)?), width))
}

fn exchange(instruction: &Instruction) -> Option<(Op, Width)> {
    let (memory, other) = if is_memory(instruction.op0_kind()) { (0, 1) } else { (1, 0) };
    let width = memory_width(instruction, memory)?;
    let register = register(instruction, other).filter(|register| register.width == width)?;
    Some((Op::Exchange(register), width))
}

fn arithmetic(instruction: &Instruction, operation: Operation) -> Option<(Op, Width)> {
    if is_memory(instruction.op0_kind()) {
        let width = memory_width(instruction, 0)?;
        return Some((Op::OnMemory { operation, second: source(instruction, 1, width)? }, width));
    }
    let width = memory_width(instruction, 1)?;
    let first = register(instruction, 0).filter(|register| register.width == width)?;
    Some((Op::OnRegister { operation, first }, width))
}

fn source(instruction: &Instruction, operand: u32, width: Width) -> Option<Source> {
    match instruction.try_op_kind(operand).ok()? {
        OpKind::Register => register(instruction, operand).filter(|it| it.width == width).map(Source::Register),
        _ => instruction.try_immediate(operand).ok().map(Source::Immediate),
    }
}

fn register(instruction: &Instruction, operand: u32) -> Option<RegisterPart> {
    if instruction.try_op_kind(operand).ok()? != OpKind::Register {
        return None;
    }
    RegisterPart::of(instruction.try_op_register(operand).ok()?)
}

fn is_memory(kind: OpKind) -> bool {
    kind == OpKind::Memory || index(kind).is_some()
}

/// Width of the operand, which must be the one in memory.
fn memory_width(instruction: &Instruction, operand: u32) -> Option<Width> {
    if !is_memory(instruction.try_op_kind(operand).ok()?) {
        return None;
    }
    match instruction.memory_size() {
        MemorySize::UInt8 | MemorySize::Int8 => Some(Width::Byte),
        MemorySize::UInt16 | MemorySize::Int16 => Some(Width::Word),
        MemorySize::UInt32 | MemorySize::Int32 => Some(Width::Dword),
        MemorySize::UInt64 | MemorySize::Int64 => Some(Width::Qword),
        _ => None,
    }
}

/// The index register that an operand of a string instruction names without saying so.
fn index(kind: OpKind) -> Option<(Gpr, Width)> {
    match kind {
        OpKind::MemorySegSI => Some((Gpr::Rsi, Width::Word)),
        OpKind::MemorySegESI => Some((Gpr::Rsi, Width::Dword)),
        OpKind::MemorySegRSI => Some((Gpr::Rsi, Width::Qword)),
        OpKind::MemoryESDI => Some((Gpr::Rdi, Width::Word)),
        OpKind::MemoryESEDI => Some((Gpr::Rdi, Width::Dword)),
        OpKind::MemoryESRDI => Some((Gpr::Rdi, Width::Qword)),
        _ => None,
    }
}

fn string_index(instruction: &Instruction) -> Option<StringIndex> {
    let (register, width) = index(instruction.op0_kind()).or_else(|| index(instruction.op1_kind()))?;
    // Where nothing is compared, REPNE repeats as REP does.
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    Some(StringIndex { register, width, repeated })
}

fn place(instruction: &Instruction, string: Option<StringIndex>) -> Option<Place> {
    if let Some(StringIndex { register, .. }) = string {
        let segment = if register == Gpr::Rdi { SegmentName::Es } else { segment(instruction)? };
        let flat = is_flat(instruction, segment);
        return Some(Place { segment, flat, base: Some(register), index: None, scale: 0, displacement: 0 });
    }
    let segment = segment(instruction)?;
    Some(Place {
        segment,
        flat: is_flat(instruction, segment),
        base: address_register(instruction.memory_base())?,
        index: address_register(instruction.memory_index())?,
        scale: instruction.memory_index_scale().trailing_zeros() as u8,
        displacement: instruction.memory_displacement64() as u16 & 0xfff,
    })
}

fn is_flat(instruction: &Instruction, segment: SegmentName) -> bool {
    instruction.code_size() == CodeSize::Code64 && !matches!(segment, SegmentName::Fs | SegmentName::Gs)
}

fn segment(instruction: &Instruction) -> Option<SegmentName> {
    match instruction.memory_segment() {
        Register::ES => Some(SegmentName::Es),
        Register::CS => Some(SegmentName::Cs),
        Register::SS => Some(SegmentName::Ss),
        Register::DS => Some(SegmentName::Ds),
        Register::FS => Some(SegmentName::Fs),
        Register::GS => Some(SegmentName::Gs),
        _ => None,
    }
}

/// `Some(None)`: there is none, or it is the instruction pointer, which the displacement then holds already.
fn address_register(register: Register) -> Option<Option<Gpr>> {
    match register {
        Register::None | Register::RIP | Register::EIP => Some(None),
        other => RegisterPart::of(other).map(|part| Some(part.gpr)),
    }
}
