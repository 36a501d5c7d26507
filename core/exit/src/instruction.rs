//! Length and operands of the guest's instruction, where the CPU does not tell.
//!
//! The bytes are fetched again from guest memory, so they need not be those that the CPU executed. An instruction that
//! turns out to be another one is refused, never guessed; a length that is wrong because the guest changed the bytes
//! (or the page tables under the cached translation) in between moves the guest's own RIP and nothing else.

use crate::cpu::Answer;
use crate::walk::{self, EFER_LMA, PageAccess};
use crate::{Cpu, Exception, ExitKind, Guest, Machine, SegmentName, Vcpu};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction};
use mediator::Gpa;

const PAGE_MASK: u64 = 0xfff;
/// An instruction is at most this long (SDM Vol. 2A 2.3.11).
const MAX_BYTES: usize = 15;

/// An instruction that always exits.
pub(crate) struct Opcode {
    /// The whole instruction when it has two bytes and no prefix.
    plain: Option<[u8; 2]>,
    code: Code,
}

pub(crate) const CPUID: Opcode = Opcode { plain: Some([0x0f, 0xa2]), code: Code::Cpuid };
pub(crate) const RDMSR: Opcode = Opcode { plain: Some([0x0f, 0x32]), code: Code::Rdmsr };
pub(crate) const WRMSR: Opcode = Opcode { plain: Some([0x0f, 0x30]), code: Code::Wrmsr };
const INVD: Opcode = Opcode { plain: Some([0x0f, 0x08]), code: Code::Invd };
const HLT: Opcode = Opcode { plain: None, code: Code::Hlt };

impl Opcode {
    /// From the bytes of an instruction, which mean the same in every mode.
    pub fn of(bytes: &[u8]) -> Self {
        Self { plain: None, code: decode(bytes, 64, 0).map_or(Code::INVALID, |instruction| instruction.code()) }
    }
}

/// Where a page of code was found last. It is looked at only for the plain form of an instruction that the CPU has just
/// executed, and anything else there leads to a translation and a decode of its own; so a page that the guest has since
/// mapped elsewhere can at most hide a prefix from the guest's own RIP.
#[derive(Clone, Copy)]
pub(crate) struct CodePage {
    cr3: u64,
    linear: u64,
    physical: Gpa,
}

impl CodePage {
    /// No page: CR3 never holds all ones.
    pub const NONE: Self = Self { cr3: u64::MAX, linear: 0, physical: Gpa(0) };
}

/// Inflates the decoder's tables, once at boot, so that no exit pays for it.
pub fn init() {
    let _ = decode(&[0x90], 64, 0);
}

/// CS.base + RIP, as wide as the mode.
#[inline]
pub(crate) fn linear_rip<V: Vcpu>(vcpu: &V) -> u64 {
    if is_64_bit(vcpu) { vcpu.rip() } else { vcpu.segment(SegmentName::Cs).base.wrapping_add(vcpu.rip()) & 0xffff_ffff }
}

/// Length in bytes of the instruction that exited.
///
/// # Errors
/// #PF when its bytes are no longer mapped, #UD when they cannot be read or are another instruction.
#[inline(always)]
pub(crate) fn length<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
    expected: &Opcode,
) -> Result<u8, Exception> {
    if let Some(len_bytes) = vcpu.instruction_len() {
        return Ok(len_bytes);
    }
    match expected.plain {
        Some(plain) if is_plain_at(vcpu, machine, cpu.code, plain) => Ok(2),
        _ => decoded_length(cpu, vcpu, machine, expected),
    }
}

/// As [`length`], of the hypercall instruction. It has one form, and no prefix is of use.
pub(crate) fn hypercall_length<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
) -> Result<u8, Exception> {
    let plain = cpu.guest.policy.hypercall;
    match vcpu.instruction_len() {
        Some(len_bytes) => Ok(len_bytes),
        None if is_plain_at(vcpu, machine, cpu.code, plain) => Ok(plain.len() as u8),
        None => decoded_length(cpu, vcpu, machine, &Opcode::of(&plain)),
    }
}

#[inline(always)]
fn is_plain_at<const N: usize, V: Vcpu, M: Machine>(vcpu: &V, machine: &mut M, page: CodePage, plain: [u8; N]) -> bool {
    let offset = linear_rip(vcpu).wrapping_sub(page.linear);
    // All bytes lie in the page.
    offset < PAGE_MASK.wrapping_add(2).wrapping_sub(N as u64)
        && vcpu.control().cr3 == page.cr3
        && machine.read_code::<N>(Gpa(page.physical.0 | offset)) == Some(plain)
}

#[cold]
fn decoded_length<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
    expected: &Opcode,
) -> Result<u8, Exception> {
    let linear = linear_rip(vcpu);
    let physical = translate(cpu.guest, vcpu, machine, linear)?;
    let [linear, physical] = [linear, physical.0].map(|address| address & !PAGE_MASK);
    cpu.code = CodePage { cr3: vcpu.control().cr3, linear, physical: Gpa(physical) };
    let instruction = current(cpu.guest, vcpu, machine)?;
    if expected.code == instruction.code() { Ok(instruction.len() as u8) } else { Err(Exception::InvalidOpcode) }
}

/// The bytes at CS:RIP, as far as they can be read.
pub(crate) struct Fetched {
    bytes: [u8; MAX_BYTES],
    len_bytes: usize,
    /// What an instruction raises that reaches further.
    missing: Exception,
    bitness: u32,
    rip: u64,
}

impl Fetched {
    /// # Errors
    /// #PF when its bytes are not mapped, #UD when they cannot be read or are no instruction.
    pub fn decode(&self) -> Result<Instruction, Exception> {
        self.bytes.get(..self.len_bytes).and_then(|bytes| decode(bytes, self.bitness, self.rip)).ok_or(self.missing)
    }

    /// The first `len_bytes` as a number, which the first byte is the lowest of.
    pub fn code(&self, len_bytes: u8) -> u128 {
        let bytes = self.bytes.iter().take(len_bytes.into()).rev();
        bytes.fold(0, |code, &byte| code << 8 | u128::from(byte))
    }
}

/// [`linear_rip`] and [`bitness`].
#[inline]
pub(crate) fn place<V: Vcpu>(vcpu: &V) -> (u64, u32) {
    if is_64_bit(vcpu) { (vcpu.rip(), 64) } else { (linear_rip(vcpu), bitness(vcpu)) }
}

/// Size of the code segment, as decoders count it.
#[inline]
pub(crate) fn bitness<V: Vcpu>(vcpu: &V) -> u32 {
    if is_64_bit(vcpu) {
        64
    } else if vcpu.segment(SegmentName::Cs).default_32 {
        32
    } else {
        16
    }
}

/// Does the CPU execute 64-bit code?
#[inline]
pub(crate) fn is_64_bit<V: Vcpu>(vcpu: &V) -> bool {
    vcpu.segment(SegmentName::Cs).long && vcpu.control().efer & EFER_LMA != 0
}

#[cold]
pub(crate) fn fetch<V: Vcpu, M: Machine>(guest: &Guest, vcpu: &V, machine: &mut M) -> Fetched {
    let bitness = bitness(vcpu);
    let linear_mask = if bitness == 64 { u64::MAX } else { 0xffff_ffff };
    let missing = Exception::InvalidOpcode;
    let mut fetched = Fetched { bytes: [0; MAX_BYTES], len_bytes: 0, missing, bitness, rip: vcpu.rip() };
    let mut linear = linear_rip(vcpu);
    let mut page = Err(missing);
    for byte in &mut fetched.bytes {
        if fetched.len_bytes == 0 || linear & PAGE_MASK == 0 {
            page = translate(guest, vcpu, machine, linear).map(|at| at.0 & !PAGE_MASK);
        }
        match page.and_then(|page| read_byte(machine, Gpa(page | linear & PAGE_MASK))) {
            Ok(code) => *byte = code,
            Err(exception) => {
                fetched.missing = exception;
                break;
            }
        }
        fetched.len_bytes = fetched.len_bytes.wrapping_add(1);
        linear = linear.wrapping_add(1) & linear_mask;
    }
    fetched
}

/// The instruction at CS:RIP, decoded.
///
/// # Errors
/// As [`Fetched::decode`].
pub(crate) fn current<V: Vcpu, M: Machine>(guest: &Guest, vcpu: &V, machine: &mut M) -> Result<Instruction, Exception> {
    fetch(guest, vcpu, machine).decode()
}

fn read_byte<M: Machine>(machine: &mut M, at: Gpa) -> Result<u8, Exception> {
    machine.read_code::<1>(at).map(|[byte]| byte).ok_or(Exception::InvalidOpcode)
}

/// `rip` is what addresses relative to the instruction are relative to.
pub(crate) fn decode(bytes: &[u8], bitness: u32, rip: u64) -> Option<Instruction> {
    let instruction = Decoder::try_with_ip(bitness, bytes, rip, DecoderOptions::NONE).ok()?.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// INVD would drop what the VMM has written and the caches have not written back. To the guest write-back is as good: it
/// may come before INVD at any time.
#[cold]
pub(crate) fn on_invd<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::InvalidateCaches);
    let len_bytes = length(cpu, vcpu, machine, &INVD)?;
    vcpu.skip_instruction(len_bytes);
    Ok(())
}

/// It exits only while the CPU crate has to know of it.
#[cold]
pub(crate) fn on_hlt<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    cpu.counters.count(ExitKind::Halt);
    let len_bytes = length(cpu, vcpu, machine, &HLT)?;
    vcpu.halt(len_bytes);
    Ok(())
}

/// Where the code at `linear` lies.
pub(crate) fn translate<V: Vcpu, M: Machine>(
    guest: &Guest,
    vcpu: &V,
    machine: &mut M,
    linear: u64,
) -> Result<Gpa, Exception> {
    let access = PageAccess { write: false, fetch: true, user: vcpu.cpl() == 3, alignment_check: false };
    walk::translate(machine.memory(), guest.paging, vcpu.control(), access, linear)
        .map_err(|error| Exception::PageFault { error, address: linear })
}
