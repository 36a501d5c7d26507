//! INS and OUTS, alone and repeated.
//!
//! The IO intercept comes before the CPU has looked at the memory operand (APM Vol. 2 (24593) rev. 3.41, 15.10.1), so
//! its segment, page and rights are checked here; INS checks them before the device is read.

use crate::counters::Notice;
use crate::sleep::Written;
use crate::walk::{self, PageAccess};
use crate::{
    Cpu, Exception, ExitKind, Gpr, Guest, IoExit, Machine, Outcome, Segment, SegmentName, Vcpu, gpr, instruction,
};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use mediator::{Gpa, GuestMemory, Width};

pub(crate) const PAGE_BYTES: usize = 4096;
const PAGE_MASK: u64 = 0xfff;
/// Bytes moved in one exit; then the guest resumes at the same instruction, so that interrupts come through.
const EXIT_BYTES: usize = 64 << 10;
/// Elements moved one by one (downwards, or across a page boundary) in one exit.
const EXIT_STEPS: usize = 512;

const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_DF: u64 = 1 << 10;
const RFLAGS_VM: u64 = 1 << 17;
pub(crate) const RFLAGS_AC: u64 = 1 << 18;
const CR0_PE: u64 = 1 << 0;
const CR4_LA57: u64 = 1 << 12;

const GENERAL_PROTECTION: Exception = Exception::GeneralProtection(0);

/// One INS or OUTS, decoded.
struct StringMove {
    io: IoExit,
    /// Of the address: SI/DI, ESI/EDI or RSI/RDI, and the count with it.
    address_width: Width,
    index: Gpr,
    segment: Segment,
    segment_name: SegmentName,
    /// DF: towards lower addresses.
    down: bool,
    instruction_len: u8,
}

/// A run of elements at consecutive, ascending addresses within a page, or one element across two pages.
struct Run {
    first: Gpa,
    /// What of it lies in the page at `first`; the rest is at `second`.
    first_bytes: usize,
    second: Gpa,
    elements: u64,
}

pub(crate) fn on_string<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &mut V,
    machine: &mut M,
) -> Result<Outcome, Exception> {
    let io = vcpu.io();
    cpu.counters.count(ExitKind::StringPort);
    let string = decode(cpu, vcpu, machine, io)?;
    let element_bytes = io.width.bytes();
    let single_step = vcpu.rflags() & RFLAGS_TF != 0;
    let (mut moved_bytes, mut steps) = (0_usize, 0_usize);
    loop {
        let count = if io.rep { vcpu.gpr(Gpr::Rcx) & string.address_width.ones() } else { 1 };
        if count == 0 {
            break;
        }
        if moved_bytes >= EXIT_BYTES || steps >= EXIT_STEPS {
            return Ok(Outcome::Resume);
        }
        let run = string.next_run(cpu.guest, vcpu, machine, if single_step { 1 } else { count })?;
        let run_bytes = (run.elements as usize).wrapping_mul(element_bytes);
        if io.input {
            string.input(cpu, machine, &run, run_bytes)
        } else if string.output(cpu, machine, &run, run_bytes) == Written::Reset {
            return Ok(Outcome::Reset);
        }
        string.advance(vcpu, run.elements);
        moved_bytes = moved_bytes.wrapping_add(run_bytes);
        steps = steps.wrapping_add(usize::from(run.elements == 1));
        if !io.rep {
            break;
        }
        if single_step && count > 1 {
            // The trap comes after each repetition, with RIP still at the instruction (APM Vol. 2 13.1.4).
            vcpu.skip_instruction(0);
            return Ok(Outcome::Resume);
        }
    }
    vcpu.skip_instruction(string.instruction_len);
    Ok(Outcome::Resume)
}

/// Address size and segment stand in the prefixes only.
fn decode<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
    io: IoExit,
) -> Result<StringMove, Exception> {
    let instruction = instruction::current(cpu.guest, vcpu, machine)?;
    let expected = match (io.input, io.width) {
        (true, Width::Byte) => Mnemonic::Insb,
        (true, Width::Word) => Mnemonic::Insw,
        (true, _) => Mnemonic::Insd,
        (false, Width::Byte) => Mnemonic::Outsb,
        (false, Width::Word) => Mnemonic::Outsw,
        (false, _) => Mnemonic::Outsd,
    };
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if instruction.mnemonic() != expected || repeated != io.rep {
        return Err(Exception::InvalidOpcode);
    }
    let (address_width, segment_name) = operand(&instruction, io.input).ok_or(Exception::InvalidOpcode)?;
    Ok(StringMove {
        io,
        address_width,
        index: if io.input { Gpr::Rdi } else { Gpr::Rsi },
        segment: vcpu.segment(segment_name),
        segment_name,
        down: vcpu.rflags() & RFLAGS_DF != 0,
        instruction_len: instruction.len() as u8,
    })
}

/// Width of the address, and the segment: always ES for INS, DS or the one that a prefix names for OUTS.
fn operand(instruction: &Instruction, input: bool) -> Option<(Width, SegmentName)> {
    let kind = if input { instruction.op0_kind() } else { instruction.op1_kind() };
    let address_width = match kind {
        OpKind::MemoryESDI | OpKind::MemorySegSI => Width::Word,
        OpKind::MemoryESEDI | OpKind::MemorySegESI => Width::Dword,
        OpKind::MemoryESRDI | OpKind::MemorySegRSI => Width::Qword,
        _ => return None,
    };
    let segment_name = match instruction.memory_segment() {
        _ if input => SegmentName::Es,
        Register::ES => SegmentName::Es,
        Register::CS => SegmentName::Cs,
        Register::SS => SegmentName::Ss,
        Register::FS => SegmentName::Fs,
        Register::GS => SegmentName::Gs,
        _ => SegmentName::Ds,
    };
    Some((address_width, segment_name))
}

impl StringMove {
    /// The longest run that can be moved at once. Downwards that is one element: such moves are rare.
    fn next_run<V: Vcpu, M: Machine>(
        &self,
        guest: &Guest,
        vcpu: &V,
        machine: &mut M,
        count: u64,
    ) -> Result<Run, Exception> {
        let element_bytes = self.io.width.bytes() as u64;
        let index = vcpu.gpr(self.index) & self.address_width.ones();
        let (linear, room_bytes) = self.linear(vcpu, index)?;
        let page_left = (PAGE_BYTES as u64).wrapping_sub(linear & PAGE_MASK);
        let fitting = page_left.min(room_bytes).checked_div(element_bytes).unwrap_or(0);
        let elements = if self.down { 1 } else { fitting.clamp(1, count) };
        let first = self.translate(guest, vcpu, machine, linear)?;
        let crosses = page_left < element_bytes;
        let second = if crosses {
            let next = linear.wrapping_add(page_left) & self.linear_mask(vcpu);
            self.translate(guest, vcpu, machine, next)?
        } else {
            first
        };
        Ok(Run { first, first_bytes: if crosses { page_left as usize } else { PAGE_BYTES }, second, elements })
    }

    fn linear_mask<V: Vcpu>(&self, vcpu: &V) -> u64 {
        if instruction::is_64_bit(vcpu) { u64::MAX } else { 0xffff_ffff }
    }

    /// Linear address of the element at `index`, and the bytes from there on before limit or index end (at least one
    /// element).
    fn linear<V: Vcpu>(&self, vcpu: &V, index: u64) -> Result<(u64, u64), Exception> {
        // In 64-bit mode the end of all addresses is followed by address 0; an index of fewer bits does not reach it.
        let last = index.wrapping_add((self.io.width.bytes() as u64).wrapping_sub(1));
        if instruction::is_64_bit(vcpu) {
            let base = match self.segment_name {
                SegmentName::Fs | SegmentName::Gs => self.segment.base,
                _ => 0,
            };
            let linear = base.wrapping_add(index);
            if !is_canonical(vcpu, linear) || !is_canonical(vcpu, base.wrapping_add(last)) {
                return Err(GENERAL_PROTECTION);
            }
            return Ok((linear, self.address_width.ones().wrapping_sub(index).saturating_add(1)));
        }
        let limit = u64::from(self.segment.limit);
        let expands_down = is_protected(vcpu) && self.segment.access & 0x1c == 0x14;
        let top = match (expands_down, self.segment.default_32) {
            (false, _) => limit,
            (true, true) => 0xffff_ffff,
            (true, false) => 0xffff,
        };
        if last > top || (expands_down && index <= limit) || !self.is_accessible(vcpu) {
            return Err(GENERAL_PROTECTION);
        }
        let room_bytes = top.min(self.address_width.ones()).wrapping_sub(index).wrapping_add(1);
        Ok((self.segment.base.wrapping_add(index) & 0xffff_ffff, room_bytes))
    }

    /// Does the segment's type allow the access (SDM Vol. 3A 6.5)? In real and virtual-8086 mode every one does.
    fn is_accessible<V: Vcpu>(&self, vcpu: &V) -> bool {
        let access = self.segment.access;
        let (present, code, read_or_write) = (access & 0x80 != 0, access & 0x08 != 0, access & 0x02 != 0);
        let typed = if self.io.input { !code && read_or_write } else { !code || read_or_write };
        !is_protected(vcpu) || (present && typed)
    }

    fn translate<V: Vcpu, M: Machine>(
        &self,
        guest: &Guest,
        vcpu: &V,
        machine: &mut M,
        linear: u64,
    ) -> Result<Gpa, Exception> {
        let access = PageAccess {
            write: self.io.input,
            fetch: false,
            user: vcpu.cpl() == 3,
            alignment_check: vcpu.rflags() & RFLAGS_AC != 0,
        };
        walk::translate(machine.memory(), guest.paging, vcpu.control(), access, linear)
            .map_err(|error| Exception::PageFault { error, address: linear })
    }

    fn input<M: Machine>(&self, cpu: &mut Cpu<'_>, machine: &mut M, run: &Run, run_bytes: usize) {
        let Some(data) = cpu.buffer.get_mut(..run_bytes) else { return };
        cpu.guest.bus.read_string(machine, self.io.port, self.io.width, data);
        let (head, tail) = data.split_at(run.first_bytes.min(run_bytes));
        let memory = machine.memory();
        let mut written = memory.write(run.first, head);
        if !tail.is_empty() {
            written = written.and(memory.write(run.second, tail));
        }
        // What goes to no RAM is lost, as on an empty bus.
        if written.is_err() && cpu.guest.notices.first(Notice::StringIntoNoRam) {
            log::warn!("guest's INS from port {:#x} to {:x?}, which is no RAM; dropped", self.io.port, run.first);
        }
    }

    fn output<M: Machine>(&self, cpu: &mut Cpu<'_>, machine: &mut M, run: &Run, run_bytes: usize) -> Written {
        let Some(data) = cpu.buffer.get_mut(..run_bytes) else { return Written::Done };
        // What comes from no RAM is all ones, as on an empty bus.
        let memory = machine.memory();
        let (head, tail) = data.split_at_mut(run.first_bytes.min(run_bytes));
        for (at, piece) in [(run.first, head), (run.second, tail)] {
            if !piece.is_empty() && memory.read(at, piece).is_err() {
                piece.fill(0xff);
            }
        }
        cpu.guest.bus.write_string(machine, self.io.port, self.io.width, data)
    }

    /// Moves index and count past the elements moved, so that an exception or a resumption finds them right.
    fn advance<V: Vcpu>(&self, vcpu: &mut V, elements: u64) {
        let moved = elements.wrapping_mul(self.io.width.bytes() as u64);
        let index = vcpu.gpr(self.index);
        let index = if self.down { index.wrapping_sub(moved) } else { index.wrapping_add(moved) };
        gpr::set_low(vcpu, self.index, self.address_width, index);
        if self.io.rep {
            let count = vcpu.gpr(Gpr::Rcx).wrapping_sub(elements);
            gpr::set_low(vcpu, Gpr::Rcx, self.address_width, count);
        }
    }
}

fn is_protected<V: Vcpu>(vcpu: &V) -> bool {
    vcpu.control().cr0 & CR0_PE != 0 && vcpu.rflags() & RFLAGS_VM == 0
}

pub(crate) fn is_canonical<V: Vcpu>(vcpu: &V, linear: u64) -> bool {
    let spare_bits = if vcpu.control().cr4 & CR4_LA57 == 0 { 16 } else { 7 };
    (linear as i64).wrapping_shl(spare_bits).wrapping_shr(spare_bits) == linear as i64
}
