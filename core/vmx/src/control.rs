//! What the VMCS is set up with (SDM chapter 25).

use crate::features::Features;
use crate::instructions::{read, write};
use crate::switch;
use hw::{Hpa, descriptors, frames, msr};
use sleep::WakingVector;
use x86::msr as number;
use x86::vmx::{
    AccessRights, Capabilities, EntryControls, EptPointer, ExitControls, Field, NO_VMCS_LINK, PinControls,
    ProcessorControls, SecondaryControls,
};
use x86_64::registers::control::{Cr0, Cr3, Cr4};

/// The control fields.
#[derive(Clone, Copy, Debug)]
pub struct Controls {
    pub pin: PinControls,
    pub processor: ProcessorControls,
    pub secondary: SecondaryControls,
    pub exit: ExitControls,
    pub entry: EntryControls,
}

// Why each: `exit-nothing-needless`. External interrupts exit, and the preemption timer runs, on demand only (`recall`).
const PIN: PinControls = PinControls::NMI_EXITING // an NMI must wait until the guest can take it, also one that came in the host
    .union(PinControls::VIRTUAL_NMIS); // only so the CPU tells when that is
const PROCESSOR: ProcessorControls = ProcessorControls::USE_IO_BITMAPS // mediated devices, A20, COM1, PCI data
    .union(ProcessorControls::USE_MSR_BITMAPS) // all that are not known to be harmless (`policy`)
    .union(ProcessorControls::USE_TSC_OFFSETTING) // the guest sets its TSC
    .union(ProcessorControls::ACTIVATE_SECONDARY_CONTROLS);
const SECONDARY: SecondaryControls = SecondaryControls::ENABLE_EPT.union(SecondaryControls::UNRESTRICTED_GUEST);
/// Used where the CPU has them; a feature of the guest's that needs a missing one is hidden (`policy`).
const OPTIONAL: SecondaryControls = SecondaryControls::ENABLE_VPID // exits leave the TLB alone
    .union(SecondaryControls::ENABLE_RDTSCP)
    .union(SecondaryControls::ENABLE_INVPCID)
    .union(SecondaryControls::ENABLE_XSAVES_XRSTORS)
    .union(SecondaryControls::ENABLE_USER_WAIT_AND_PAUSE);
const EXIT: ExitControls = ExitControls::SAVE_DEBUG_CONTROLS
    .union(ExitControls::HOST_ADDRESS_SPACE_SIZE)
    .union(ExitControls::SAVE_PAT)
    .union(ExitControls::LOAD_PAT)
    .union(ExitControls::SAVE_EFER)
    .union(ExitControls::LOAD_EFER);
const ENTRY: EntryControls =
    EntryControls::LOAD_DEBUG_CONTROLS.union(EntryControls::LOAD_PAT).union(EntryControls::LOAD_EFER);
/// Used where the CPU has both: performance counters stand still in the host. Else the guest has none (`policy`).
const EXIT_COUNTERS: ExitControls = ExitControls::LOAD_PERF_GLOBAL_CTRL;
const ENTRY_COUNTERS: EntryControls = EntryControls::LOAD_PERF_GLOBAL_CTRL;
/// Used where the CPU has it: without, interrupts do not exit at all.
const EXIT_INTERRUPTS: ExitControls = ExitControls::ACKNOWLEDGE_INTERRUPT_ON_EXIT;
/// One by default on CPUs without TRUE controls (s. 25.6.2).
const UNWANTED: ProcessorControls = ProcessorControls::CR3_LOAD_EXITING.union(ProcessorControls::CR3_STORE_EXITING);

/// #DB and #AC: delivered to a stack that raises them again they keep the CPU busy for good, and no interrupt ends it
/// (CVE-2015-8104, CVE-2015-5307).
pub const EXCEPTIONS: u32 = 1 << 1 | 1 << 17;

/// One virtual CPU, and so one VPID (s. 29.1).
pub const VPID: u16 = 1;

const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
/// CD, NW, ET.
const CR0_AFTER_INIT: u64 = 0x6000_0010;
const CR0_PG: u64 = 1 << 31;
const CR4_SMXE: u64 = 1 << 14;
const CR4_FRED: u64 = 1 << 32;

/// The fields for this CPU, or what it lacks.
pub fn choose(capabilities: &Capabilities) -> Result<Controls, &'static str> {
    let optional = OPTIONAL.bits() & capabilities.secondary.allowed_1;
    let processor = capabilities.processor.adjust(PROCESSOR.bits()).map_err(|_| "I/O or MSR bitmaps")?;
    if processor & UNWANTED.bits() != 0 {
        return Err("TRUE controls");
    }
    let secondary = capabilities.secondary.adjust(SECONDARY.bits() | optional).map_err(|_| "EPT")?;
    let (exit, entry) = if switches_counters(capabilities) {
        (EXIT.union(EXIT_COUNTERS), ENTRY.union(ENTRY_COUNTERS))
    } else {
        (EXIT, ENTRY)
    };
    let exit = if capabilities.exit.allows(EXIT_INTERRUPTS.bits()) { exit.union(EXIT_INTERRUPTS) } else { exit };
    Ok(Controls {
        pin: PinControls::from_bits_retain(capabilities.pin.adjust(PIN.bits()).map_err(|_| "virtual NMIs")?),
        processor: ProcessorControls::from_bits_retain(processor),
        secondary: SecondaryControls::from_bits_retain(secondary),
        exit: ExitControls::from_bits_retain(
            capabilities.exit.adjust(exit.bits()).map_err(|_| "switching of PAT and EFER by VM exits")?,
        ),
        entry: EntryControls::from_bits_retain(
            capabilities.entry.adjust(entry.bits()).map_err(|_| "switching of PAT and EFER by VM entries")?,
        ),
    })
}

/// And has the register that they load: counters of version 2 (SDM Vol. 3B 20.2.2).
fn switches_counters(capabilities: &Capabilities) -> bool {
    capabilities.exit.allows(EXIT_COUNTERS.bits())
        && capabilities.entry.allows(ENTRY_COUNTERS.bits())
        && msr::read(number::PERF_GLOBAL_CTRL).is_some()
}

/// Bits of CR0 and CR4 that the guest sees but does not have.
#[derive(Clone, Copy)]
pub struct KeptBits {
    pub cr0: u64,
    pub cr4: u64,
}

impl KeptBits {
    /// What VMX operation fixes, but PE and PG, which an unrestricted guest has to itself (s. 24.8); and SMXE and FRED,
    /// because the guest is told that it has neither.
    pub fn of(features: &Features) -> Self {
        let fixed = features.capabilities;
        Self { cr0: fixed.cr0.ones & !(CR0_PE | CR0_PG), cr4: fixed.cr4.ones | CR4_SMXE | CR4_FRED }
    }
}

/// What a VMCS points to.
pub struct Places {
    /// Bitmaps A and B, one after the other.
    pub io_bitmaps: Hpa,
    pub msr_bitmap: Hpa,
    pub nested: EptPointer,
}

/// Fills the current VMCS: a guest in real mode at `segment`:0.
pub fn set_up(features: &Features, places: &Places, segment: u16) {
    set_controls(&features.controls, places);
    set_host();
    set_guest(features, segment);
}

fn set_controls(controls: &Controls, places: &Places) {
    for (field, value) in [
        (Field::PIN_CONTROLS, controls.pin.bits()),
        (Field::PROCESSOR_CONTROLS, controls.processor.bits()),
        (Field::SECONDARY_PROCESSOR_CONTROLS, controls.secondary.bits()),
        (Field::VM_EXIT_CONTROLS, controls.exit.bits()),
        (Field::VM_ENTRY_CONTROLS, controls.entry.bits()),
        (Field::EXCEPTION_BITMAP, EXCEPTIONS),
        (Field::PAGE_FAULT_ERROR_CODE_MASK, 0),
        (Field::PAGE_FAULT_ERROR_CODE_MATCH, 0),
        (Field::CR3_TARGET_COUNT, 0),
        (Field::VM_EXIT_MSR_STORE_COUNT, 0),
        (Field::VM_EXIT_MSR_LOAD_COUNT, 0),
        (Field::VM_ENTRY_MSR_LOAD_COUNT, 0),
        (Field::VM_ENTRY_INTERRUPTION_INFORMATION, 0),
    ] {
        write(field, value.into());
    }
    write(Field::IO_BITMAP_A, places.io_bitmaps.0);
    write(Field::IO_BITMAP_B, places.io_bitmaps.0 + frames::FRAME_BYTES);
    write(Field::MSR_BITMAP, places.msr_bitmap.0);
    write(Field::EPT_POINTER, places.nested.0);
    write(Field::TSC_OFFSET, 0);
    if controls.exit.contains(EXIT_COUNTERS) {
        write(Field::HOST_PERF_GLOBAL_CTRL, 0);
        write(Field::GUEST_PERF_GLOBAL_CTRL, msr::read(number::PERF_GLOBAL_CTRL).unwrap_or(0));
    }
    if controls.secondary.contains(SecondaryControls::ENABLE_VPID) {
        write(Field::VIRTUAL_PROCESSOR_ID, VPID.into());
    }
    if controls.secondary.contains(SecondaryControls::ENABLE_XSAVES_XRSTORS) {
        write(Field::XSS_EXITING_BITMAP, 0);
    }
}

/// The host goes on as it is now, at the exit point.
fn set_host() {
    let (level_4, cr3_flags) = Cr3::read_raw();
    let tables = descriptors::addresses();
    let msr = |number| msr::read(number).unwrap_or(0);
    for (field, value) in [
        (Field::HOST_CR0, Cr0::read_raw()),
        (Field::HOST_CR3, level_4.start_address().as_u64() | u64::from(cr3_flags)),
        (Field::HOST_CR4, Cr4::read_raw()),
        (Field::HOST_EFER, msr(number::EFER)),
        (Field::HOST_PAT, msr(number::PAT)),
        (Field::HOST_CS_SELECTOR, descriptors::CODE_SELECTOR.into()),
        (Field::HOST_SS_SELECTOR, descriptors::DATA_SELECTOR.into()),
        (Field::HOST_DS_SELECTOR, descriptors::DATA_SELECTOR.into()),
        (Field::HOST_ES_SELECTOR, descriptors::DATA_SELECTOR.into()),
        (Field::HOST_FS_SELECTOR, 0),
        (Field::HOST_GS_SELECTOR, 0),
        (Field::HOST_TR_SELECTOR, descriptors::TASK_SELECTOR.into()),
        (Field::HOST_FS_BASE, 0),
        (Field::HOST_GS_BASE, 0),
        (Field::HOST_TR_BASE, tables.tss),
        (Field::HOST_GDTR_BASE, tables.gdt),
        (Field::HOST_IDTR_BASE, tables.idt),
        (Field::HOST_SYSENTER_CS, 0),
        (Field::HOST_SYSENTER_ESP, 0),
        (Field::HOST_SYSENTER_EIP, 0),
        (Field::HOST_RIP, switch::exit_point()),
    ] {
        write(field, value);
    }
}

/// Selector, base, limit and access rights of a segment register.
pub const fn segment_fields(selector: Field) -> [Field; 4] {
    // All four lists of fields have one order (Vol. 3D appendix B).
    let index = selector.0 - Field::GUEST_ES_SELECTOR.0;
    [
        selector,
        Field(Field::GUEST_ES_BASE.0 + index),
        Field(Field::GUEST_ES_LIMIT.0 + index),
        Field(Field::GUEST_ES_ACCESS_RIGHTS.0 + index),
    ]
}

/// The state after INIT as a BIOS would leave it for a boot sector (SDM Vol. 3A s. 10.1.1).
fn set_guest(features: &Features, segment: u16) {
    let set = |selector: Field, value: u16, rights: AccessRights| {
        let [selector, base, limit, access] = segment_fields(selector);
        write(selector, value.into());
        write(base, u64::from(value) << 4);
        write(limit, 0xffff);
        write(access, rights.bits().into());
    };
    for register in [
        Field::GUEST_ES_SELECTOR,
        Field::GUEST_SS_SELECTOR,
        Field::GUEST_DS_SELECTOR,
        Field::GUEST_FS_SELECTOR,
        Field::GUEST_GS_SELECTOR,
    ] {
        set(register, 0, AccessRights::REAL_MODE_DATA);
    }
    set(Field::GUEST_CS_SELECTOR, segment, AccessRights::REAL_MODE_CODE);
    set(Field::GUEST_LDTR_SELECTOR, 0, AccessRights::LDT);
    set(Field::GUEST_TR_SELECTOR, 0, AccessRights::BUSY_TSS);
    let kept = KeptBits::of(features);
    for (field, value) in [
        // "IA-32e mode guest" follows the guest's EFER (s. 26.2), which is given anew.
        (Field::VM_ENTRY_CONTROLS, features.controls.entry.bits().into()),
        (Field::GUEST_GDTR_BASE, 0),
        (Field::GUEST_GDTR_LIMIT, 0xffff),
        (Field::GUEST_IDTR_BASE, 0),
        // The BIOS' interrupt vectors, not the reset value's 64 KiB.
        (Field::GUEST_IDTR_LIMIT, 0x3ff),
        (Field::GUEST_CR0, CR0_ET | kept.cr0),
        (Field::CR0_GUEST_HOST_MASK, kept.cr0),
        (Field::CR0_READ_SHADOW, CR0_ET),
        (Field::GUEST_CR3, 0),
        (Field::GUEST_CR4, kept.cr4 & !(CR4_SMXE | CR4_FRED)),
        (Field::CR4_GUEST_HOST_MASK, kept.cr4),
        (Field::CR4_READ_SHADOW, 0),
        (Field::GUEST_EFER, 0),
        (Field::GUEST_PAT, number::PAT_RESET),
        (Field::GUEST_DEBUGCTL, 0),
        (Field::GUEST_DR7, 0x400),
        (Field::GUEST_RSP, 0),
        (Field::GUEST_RIP, 0),
        (Field::GUEST_RFLAGS, 2),
        (Field::GUEST_PENDING_DEBUG_EXCEPTIONS, 0),
        (Field::GUEST_INTERRUPTIBILITY_STATE, 0),
        (Field::GUEST_ACTIVITY_STATE, 0),
        (Field::GUEST_SYSENTER_CS, 0),
        (Field::GUEST_SYSENTER_ESP, 0),
        (Field::GUEST_SYSENTER_EIP, 0),
        (Field::VMCS_LINK_POINTER, NO_VMCS_LINK),
    ] {
        write(field, value);
    }
}

/// As firmware enters a waking vector after a reset.
pub fn wake(features: &Features, vector: WakingVector) {
    set_guest(features, vector.segment);
    for (field, value) in [
        (Field::GUEST_RIP, vector.ip.into()),
        (Field::EXCEPTION_BITMAP, EXCEPTIONS.into()),
        (Field::VM_ENTRY_INTERRUPTION_INFORMATION, 0),
    ] {
        write(field, value);
    }
}

/// The state after INIT, at what a startup IPI names (SDM Vol. 3A table 10-1).
pub fn start(features: &Features, page: u8) {
    let stay = [Field::GUEST_PAT, Field::GUEST_SYSENTER_CS, Field::GUEST_SYSENTER_ESP, Field::GUEST_SYSENTER_EIP];
    let stay = stay.map(|field| (field, read(field)));
    set_guest(features, u16::from(page) << 8);
    let kept = KeptBits::of(features);
    let changes = [
        (Field::GUEST_IDTR_LIMIT, 0xffff),
        (Field::GUEST_CR0, CR0_AFTER_INIT | kept.cr0),
        (Field::CR0_READ_SHADOW, CR0_AFTER_INIT),
        (Field::EXCEPTION_BITMAP, EXCEPTIONS.into()),
        // Exits have "IA-32e mode guest" follow the guest (s. 28.2).
        (Field::VM_ENTRY_CONTROLS, features.controls.entry.bits().into()),
        (Field::VM_ENTRY_INTERRUPTION_INFORMATION, 0),
    ];
    stay.into_iter().chain(changes).for_each(|(field, value)| write(field, value));
}
