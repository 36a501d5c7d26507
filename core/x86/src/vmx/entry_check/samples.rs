//! VMCSs for tests: valid ones of several modes, and random changes to them. The same samples go to the checker on the
//! host and, with a real CPU beside it, in a program on the bare machine.

use super::Cpu;
use crate::MemoryType;
use crate::vmx::{
    AccessRights, EntryControls, EptPointer, ExitControls, Field, NO_VMCS_LINK, PinControls, ProcessorControls,
    SecondaryControls, Width,
};
use alloc::collections::BTreeMap;

/// The fields of a VMCS that are not zero, cut to their widths.
#[derive(Clone, Debug, Default)]
pub struct Sample(BTreeMap<Field, u64>);

impl Sample {
    pub fn get(&self, field: Field) -> u64 {
        self.0.get(&field).copied().unwrap_or(0)
    }

    pub fn set(&mut self, field: Field, value: u64) {
        let value = match field.width() {
            Width::Bits16 => value & 0xFFFF,
            Width::Bits32 => value & 0xFFFF_FFFF,
            Width::Bits64 | Width::Natural => value,
        };
        self.0.insert(field, value);
    }

    fn set_all(&mut self, fields: &[(Field, u64)]) {
        for (field, value) in fields {
            self.set(*field, *value);
        }
    }
}

/// What the guest is entered into.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Needs a CPU with unrestricted guest.
    Real,
    Protected32,
    Pae,
    Virtual8086,
    Compatibility,
    Long,
    /// 64-bit, in HLT.
    Halted,
}

impl Mode {
    pub const ALL: [Self; 7] =
        [Self::Real, Self::Protected32, Self::Pae, Self::Virtual8086, Self::Compatibility, Self::Long, Self::Halted];

    const fn is_long(self) -> bool {
        matches!(self, Self::Compatibility | Self::Long | Self::Halted)
    }
}

const CR0_PE: u64 = 1 << 0;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;

/// A VMCS that a CPU takes. Host state is that of a 64-bit host that does not exist: who enters for real sets its own.
/// `page` is a zeroed page for all tables and bitmaps, so that each memory access of the guest exits. `None`: the CPU
/// lacks something.
pub fn valid(cpu: &Cpu, mode: Mode, unrestricted: bool, page: u64) -> Option<Sample> {
    let mut sample = Sample::default();
    controls(&mut sample, cpu, mode, unrestricted, page)?;
    host(&mut sample, cpu);
    registers(&mut sample, cpu, mode, page)?;
    segments(&mut sample, mode);
    Some(sample)
}

fn controls(sample: &mut Sample, cpu: &Cpu, mode: Mode, unrestricted: bool, page: u64) -> Option<()> {
    let capabilities = &cpu.capabilities;
    // The timer ends each visit to the guest before its first instruction.
    let pin = PinControls::ACTIVATE_PREEMPTION_TIMER | PinControls::NMI_EXITING | PinControls::VIRTUAL_NMIS;
    let processor = ProcessorControls::ACTIVATE_SECONDARY_CONTROLS
        | ProcessorControls::USE_IO_BITMAPS
        | ProcessorControls::USE_MSR_BITMAPS;
    let mut secondary = SecondaryControls::ENABLE_EPT | SecondaryControls::ENABLE_VPID;
    if unrestricted || mode == Mode::Real {
        secondary |= SecondaryControls::UNRESTRICTED_GUEST;
    }
    let exit = ExitControls::HOST_ADDRESS_SPACE_SIZE | ExitControls::LOAD_EFER | ExitControls::LOAD_PAT;
    let mut entry = EntryControls::LOAD_EFER | EntryControls::LOAD_PAT | EntryControls::LOAD_DEBUG_CONTROLS;
    entry.set(EntryControls::IA32E_MODE_GUEST, mode.is_long());
    sample.set_all(&[
        (Field::PIN_CONTROLS, capabilities.pin.adjust(pin.bits()).ok()?.into()),
        (Field::PROCESSOR_CONTROLS, capabilities.processor.adjust(processor.bits()).ok()?.into()),
        (Field::SECONDARY_PROCESSOR_CONTROLS, capabilities.secondary.adjust(secondary.bits()).ok()?.into()),
        (Field::VM_EXIT_CONTROLS, capabilities.exit.adjust(exit.bits()).ok()?.into()),
        (Field::VM_ENTRY_CONTROLS, capabilities.entry.adjust(entry.bits()).ok()?.into()),
        (Field::EXCEPTION_BITMAP, u64::from(u32::MAX)),
        (Field::EPT_POINTER, EptPointer::new(page, MemoryType::WriteBack).0),
        (Field::VIRTUAL_PROCESSOR_ID, 1),
        (Field::VMCS_LINK_POINTER, NO_VMCS_LINK),
        (Field::TSC_MULTIPLIER, 1 << 48),
    ]);
    for address in super::mutations::ADDRESSES {
        sample.set(*address, page);
    }
    Some(())
}

fn host(sample: &mut Sample, cpu: &Cpu) {
    sample.set_all(&[
        (Field::HOST_CR0, cpu.capabilities.cr0.apply(CR0_PE | CR0_PG)),
        (Field::HOST_CR4, cpu.capabilities.cr4.apply(CR4_PAE)),
        (Field::HOST_CR3, 0x1000),
        (Field::HOST_EFER, 0xD00),
        (Field::HOST_PAT, crate::msr::PAT_RESET),
        (Field::HOST_CS_SELECTOR, 0x08),
        (Field::HOST_TR_SELECTOR, 0x18),
        (Field::HOST_RIP, 0xFFFF_FFFF_8000_0000),
    ]);
}

fn registers(sample: &mut Sample, cpu: &Cpu, mode: Mode, page: u64) -> Option<()> {
    let (cr0, cr4, efer, rflags) = match mode {
        Mode::Real => (0, 0, 0, 2),
        Mode::Protected32 => (CR0_PE | CR0_PG, 0, 0, 2),
        Mode::Pae => (CR0_PE | CR0_PG, CR4_PAE, 0, 2),
        Mode::Virtual8086 => (CR0_PE | CR0_PG, 0, 0, 1 << 17 | 2),
        Mode::Compatibility | Mode::Long | Mode::Halted => (CR0_PE | CR0_PG, CR4_PAE, 0x501, 0x202),
    };
    let mut fixed = cpu.capabilities.cr0;
    if mode == Mode::Real {
        fixed.ones &= !(CR0_PE | CR0_PG);
    }
    sample.set_all(&[
        (Field::GUEST_CR0, fixed.apply(cr0)),
        (Field::GUEST_CR3, page),
        (Field::GUEST_CR4, cpu.capabilities.cr4.apply(cr4)),
        (Field::GUEST_EFER, efer),
        (Field::GUEST_PAT, crate::msr::PAT_RESET),
        (Field::GUEST_DR7, 0x400),
        (Field::GUEST_RFLAGS, rflags),
        (Field::GUEST_RIP, 0x7C00),
        (Field::GUEST_RSP, 0x7000),
        (Field::GUEST_GDTR_LIMIT, 0x7F),
        (Field::GUEST_IDTR_LIMIT, 0xFFF),
        (Field::GUEST_ACTIVITY_STATE, u64::from(mode == Mode::Halted)),
    ]);
    Some(())
}

fn segments(sample: &mut Sample, mode: Mode) {
    let (code, data, limit) = match mode {
        Mode::Real => (AccessRights::REAL_MODE_CODE.bits(), AccessRights::REAL_MODE_DATA.bits(), 0xFFFF),
        Mode::Virtual8086 => (AccessRights::VIRTUAL_8086.bits(), AccessRights::VIRTUAL_8086.bits(), 0xFFFF),
        Mode::Long | Mode::Halted => (0xA09B, 0xC093, 0xFFFF_FFFF),
        Mode::Protected32 | Mode::Pae | Mode::Compatibility => (0xC09B, 0xC093, 0xFFFF_FFFF),
    };
    let selector = if matches!(mode, Mode::Real | Mode::Virtual8086) { 0 } else { 0x10 };
    sample.set_all(&[
        (Field::GUEST_CS_SELECTOR, selector),
        (Field::GUEST_CS_LIMIT, limit),
        (Field::GUEST_CS_ACCESS_RIGHTS, code.into()),
        (Field::GUEST_TR_LIMIT, 0xFFFF),
        (Field::GUEST_TR_ACCESS_RIGHTS, AccessRights::BUSY_TSS.bits().into()),
        (Field::GUEST_LDTR_LIMIT, 0xFFFF),
        (Field::GUEST_LDTR_ACCESS_RIGHTS, AccessRights::LDT.bits().into()),
    ]);
    for (register, limits, rights) in [
        (Field::GUEST_SS_SELECTOR, Field::GUEST_SS_LIMIT, Field::GUEST_SS_ACCESS_RIGHTS),
        (Field::GUEST_DS_SELECTOR, Field::GUEST_DS_LIMIT, Field::GUEST_DS_ACCESS_RIGHTS),
        (Field::GUEST_ES_SELECTOR, Field::GUEST_ES_LIMIT, Field::GUEST_ES_ACCESS_RIGHTS),
        (Field::GUEST_FS_SELECTOR, Field::GUEST_FS_LIMIT, Field::GUEST_FS_ACCESS_RIGHTS),
        (Field::GUEST_GS_SELECTOR, Field::GUEST_GS_LIMIT, Field::GUEST_GS_ACCESS_RIGHTS),
    ] {
        sample.set_all(&[(register, selector), (limits, limit), (rights, data.into())]);
    }
}
