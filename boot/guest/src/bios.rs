//! Shoji's own lines in the guest's memory, and the answers of INT 15h.

use crate::memory_map::{self, CONVENTIONAL_KIB, E820_BYTES, SIGNATURE};
use crate::stub;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use exit::{FirmwareCall, Gpr, SegmentName, Vcpu};
use mediator::{Gpa, GuestMemory, NotRam};
use multiboot::Entry;

/// Interrupt vector 15h, as offset and segment.
pub(crate) const VECTOR_15: Gpa = Gpa(0x15 * 4);
const CARRY: u16 = 1 << 0;
/// Status in AH: function not supported.
const UNSUPPORTED: u8 = 0x86;

/// Why the guest's memory could not be prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BiosError {
    NoConventionalMemory,
    NotRam(NotRam),
}

impl fmt::Display for BiosError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConventionalMemory => f.write_str(
                "the firmware leaves too little conventional memory for the 4 KiB that Shoji needs below 640 KiB; \
                 switch off option ROMs that are not needed",
            ),
            Self::NotRam(at) => write!(f, "the firmware's data area at {:#x} is no RAM; Shoji needs a BIOS", at.0.0),
        }
    }
}

impl From<NotRam> for BiosError {
    fn from(e: NotRam) -> Self {
        Self::NotRam(e)
    }
}

/// How the guest starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start {
    /// BIOS drive of the boot sector.
    pub drive: u8,
    /// By the BIOS, which sets the text mode that PCs start in: the screen shows something else than the BIOS believes.
    pub clear_screen: bool,
}

/// The guest is ready to start.
pub struct Prepared {
    /// It starts in real mode at this segment, offset 0.
    pub segment: u16,
    /// Linear address of the one hypercall that is the firmware's.
    pub call_at: u64,
    pub handler: Box<dyn FirmwareCall>,
}

/// Puts the stub and the second-pass mark into the guest's memory and hooks INT 15h. `hypercall` is the instruction by
/// which the stub calls.
///
/// # Errors
/// See [`BiosError`].
pub fn prepare(
    memory: &mut dyn GuestMemory,
    memory_map: &[Entry],
    vmm: &Range<u64>,
    start: Start,
    hypercall: [u8; 3],
) -> Result<Prepared, BiosError> {
    let kib = memory_map::conventional_kib(memory)?;
    let stub_kib = (stub::STUB_BYTES >> 10) as u16;
    let conventional =
        memory_map::take_conventional(memory_map, kib, stub_kib).ok_or(BiosError::NoConventionalMemory)?;
    let map = memory_map::hide(&conventional.map, vmm);
    let at = conventional.taken.start;
    let segment = (at >> 4) as u16;

    let mut old_int15 = [0; 4];
    memory.read(VECTOR_15, &mut old_int15)?;
    memory.write(Gpa(at), stub::code())?;
    memory.write(Gpa(at + stub::DRIVE), &[start.drive])?;
    memory.write(Gpa(at + stub::SET_MODE), &[start.clear_screen.into()])?;
    memory.write(Gpa(at + stub::call()), &hypercall)?;
    memory.write(Gpa(at + stub::OLD_INT15), &old_int15)?;
    let vector = stub::int15() as u32 | u32::from(segment) << 16;
    memory.write(VECTOR_15, &vector.to_le_bytes())?;
    memory.write(CONVENTIONAL_KIB, &conventional.kib.to_le_bytes())?;
    memory.write(Gpa(abi::SECOND_PASS_ADDRESS.into()), &[abi::SECOND_PASS_MARK])?;
    Ok(Prepared { segment, call_at: at + stub::call(), handler: Box::new(Firmware { map }) })
}

struct Firmware {
    /// The guest's map: without the VMM and the stub.
    map: Vec<Entry>,
}

impl FirmwareCall for Firmware {
    fn on_call(&mut self, vcpu: &mut dyn Vcpu, memory: &mut dyn GuestMemory) {
        let ax = vcpu.gpr(Gpr::Rax) as u16;
        let supported = match (ax, ax >> 8) {
            (0xe820, _) => self.e820(vcpu, memory).is_some(),
            (0xe801, _) => self.e801(vcpu),
            (_, 0x88) => {
                set_word(vcpu, Gpr::Rax, memory_map::answer_88h(&self.map));
                true
            }
            (stub::FAILED, _) => return log_failed_start(vcpu.gpr(Gpr::Rbx) as u16),
            _ => false,
        };
        if !supported {
            set_word(vcpu, Gpr::Rax, u16::from(UNSUPPORTED) << 8 | ax & 0xff);
        }
        set_carry(vcpu, memory, !supported);
    }
}

impl Firmware {
    fn e820(&self, vcpu: &mut dyn Vcpu, memory: &mut dyn GuestMemory) -> Option<()> {
        if vcpu.gpr(Gpr::Rdx) as u32 != SIGNATURE {
            return None;
        }
        let (continuation, size) = (vcpu.gpr(Gpr::Rbx) as u32, vcpu.gpr(Gpr::Rcx) as u32);
        let answer = memory_map::answer_e820(&self.map, continuation, size)?;
        let buffer = vcpu.segment(SegmentName::Es).base + (vcpu.gpr(Gpr::Rdi) & 0xffff);
        memory.write(Gpa(buffer), &answer.bytes).ok()?;
        vcpu.set_gpr(Gpr::Rax, SIGNATURE.into());
        vcpu.set_gpr(Gpr::Rbx, answer.continuation.into());
        vcpu.set_gpr(Gpr::Rcx, E820_BYTES as u64);
        Some(())
    }

    fn e801(&self, vcpu: &mut dyn Vcpu) -> bool {
        let answer = memory_map::answer_e801(&self.map);
        for register in [Gpr::Rax, Gpr::Rcx] {
            set_word(vcpu, register, answer.below_16_mib_kib);
        }
        for register in [Gpr::Rbx, Gpr::Rdx] {
            set_word(vcpu, register, answer.above_16_mib_blocks);
        }
        true
    }
}

fn log_failed_start(bx: u16) {
    match bx as u8 {
        1 => log::error!(
            "the BIOS cannot read the boot sector (INT 13h status {:#04x}); check `drive` in [boot]",
            bx >> 8
        ),
        _ => log::error!("the boot drive has no boot sector; check `drive` in [boot]"),
    }
}

fn set_word(vcpu: &mut dyn Vcpu, register: Gpr, value: u16) {
    vcpu.set_gpr(register, vcpu.gpr(register) & !0xffff | u64::from(value));
}

/// In the flags that INT pushed: they lie above IP and CS. Without paging (a BIOS call from virtual-8086 mode under
/// paging is answered as if its first MiB were mapped one to one, as monitors do it) linear is physical.
fn set_carry(vcpu: &mut dyn Vcpu, memory: &mut dyn GuestMemory, carry: bool) {
    let sp = vcpu.gpr(Gpr::Rsp) as u16;
    let at = Gpa(vcpu.segment(SegmentName::Ss).base + u64::from(sp.wrapping_add(4)));
    let mut flags = [0; 2];
    if memory.read(at, &mut flags).is_ok() {
        let value = u16::from_le_bytes(flags) & !CARRY | if carry { CARRY } else { 0 };
        // The read has shown that it is RAM.
        let _ = memory.write(at, &value.to_le_bytes());
    }
}
