//! Random changes to the [`super::samples`], chosen so that a CPU that takes the result does no harm to the program that
//! tries: addresses stay where they are or become invalid, host state stays or becomes invalid.

use super::Cpu;
use super::samples::Sample;
use crate::vmx::Field;

/// xorshift64*: one seed, one sequence.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A seed of 0 is taken for 1.
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    pub const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// 0 to `end` - 1; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 8).checked_rem(end).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        let at = usize::try_from(self.below(list.len() as u64)).ok()?;
        list.get(at).copied()
    }
}

/// Physical addresses of tables and bitmaps.
pub(super) const ADDRESSES: &[Field] = &[
    Field::IO_BITMAP_A,
    Field::IO_BITMAP_B,
    Field::MSR_BITMAP,
    Field::VIRTUAL_APIC_ADDRESS,
    Field::APIC_ACCESS_ADDRESS,
    Field::VMREAD_BITMAP_ADDRESS,
    Field::VMWRITE_BITMAP_ADDRESS,
    Field::VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS,
    Field::EPTP_LIST_ADDRESS,
    Field::PML_ADDRESS,
    Field::POSTED_INTERRUPT_DESCRIPTOR_ADDRESS,
];

/// Words of controls, and the bits that are not touched: the preemption timer ends each visit to the guest; a guest with
/// MSR lists, PASIDs or Intel PT is beyond the checker.
const CONTROLS: &[(Field, u64)] = &[
    (Field::PIN_CONTROLS, 1 << 6),
    (Field::PROCESSOR_CONTROLS, 1 << 17),
    (Field::SECONDARY_PROCESSOR_CONTROLS, 1 << 21 | 1 << 23 | 1 << 24),
    (Field::VM_EXIT_CONTROLS, 1 << 31),
    (Field::VM_ENTRY_CONTROLS, 1 << 18 | 1 << 21),
];

/// Guest state that may have any value.
const GUEST: &[Field] = &[
    Field::GUEST_CR0,
    Field::GUEST_CR4,
    Field::GUEST_DR7,
    Field::GUEST_DEBUGCTL,
    Field::GUEST_EFER,
    Field::GUEST_PAT,
    Field::GUEST_BNDCFGS,
    Field::GUEST_SYSENTER_ESP,
    Field::GUEST_SYSENTER_EIP,
    Field::GUEST_GDTR_BASE,
    Field::GUEST_IDTR_BASE,
    Field::GUEST_GDTR_LIMIT,
    Field::GUEST_IDTR_LIMIT,
    Field::GUEST_RIP,
    Field::GUEST_RFLAGS,
    Field::GUEST_ACTIVITY_STATE,
    Field::GUEST_INTERRUPTIBILITY_STATE,
    Field::GUEST_PENDING_DEBUG_EXCEPTIONS,
    Field::GUEST_PDPTE0,
    Field::GUEST_PDPTE3,
    Field::VIRTUAL_PROCESSOR_ID,
    Field::POSTED_INTERRUPT_NOTIFICATION_VECTOR,
    Field::TSC_MULTIPLIER,
    Field::VM_FUNCTION_CONTROLS,
    Field::CR3_TARGET_COUNT,
    Field::VM_ENTRY_EXCEPTION_ERROR_CODE,
    Field::VM_ENTRY_INSTRUCTION_LENGTH,
];

/// First fields of eight guest segment registers (ES, CS, SS, DS, FS, GS, LDTR, TR), 2 apart.
const SEGMENTS: [u32; 4] =
    [Field::GUEST_ES_SELECTOR.0, Field::GUEST_ES_BASE.0, Field::GUEST_ES_LIMIT.0, Field::GUEST_ES_ACCESS_RIGHTS.0];

/// Host fields and what is laid over them by exclusive or: each breaks a rule whatever the host is.
const HOST: &[(Field, u64)] = &[
    (Field::HOST_CR0, 1 << 5),
    (Field::HOST_CR0, 1 << 31),
    (Field::HOST_CR4, 1 << 13),
    (Field::HOST_CR4, 1 << 5),
    (Field::HOST_CR4, 1 << 40),
    (Field::HOST_CR3, 1 << 52),
    (Field::HOST_CR3, 1 << 63),
    (Field::HOST_PAT, 2 << 24),
    (Field::HOST_EFER, 1 << 10),
    (Field::HOST_EFER, 1 << 8),
    (Field::HOST_EFER, 1 << 20),
    (Field::HOST_SYSENTER_ESP, 1 << 62),
    (Field::HOST_SYSENTER_EIP, 1 << 62),
    (Field::HOST_CS_SELECTOR, 1 << 0),
    (Field::HOST_SS_SELECTOR, 1 << 2),
    (Field::HOST_DS_SELECTOR, 1 << 1),
    (Field::HOST_ES_SELECTOR, 1 << 2),
    (Field::HOST_FS_SELECTOR, 1 << 0),
    (Field::HOST_GS_SELECTOR, 1 << 2),
    (Field::HOST_TR_SELECTOR, 1 << 2),
    (Field::HOST_FS_BASE, 1 << 62),
    (Field::HOST_GS_BASE, 1 << 62),
    (Field::HOST_TR_BASE, 1 << 62),
    (Field::HOST_GDTR_BASE, 1 << 62),
    (Field::HOST_IDTR_BASE, 1 << 62),
    (Field::HOST_RIP, 1 << 62),
];

/// One to three changes.
pub fn mutate(sample: &mut Sample, cpu: &Cpu, random: &mut Random) {
    for _ in 0..=random.below(3) {
        match random.below(17) {
            0 => host(sample, random),
            16 => shadow(sample, random),
            1 => address(sample, cpu, random),
            2 => ept_pointer(sample, cpu, random),
            3 | 4 => control(sample, cpu, random),
            5 | 6 => inject(sample, random),
            7..=10 => segment(sample, random),
            _ => {
                if let Some(field) = random.one_of(GUEST) {
                    any_value(sample, field, random);
                }
            }
        }
    }
}

fn host(sample: &mut Sample, random: &mut Random) {
    match random.below(16) {
        0 => sample.set(Field::HOST_CS_SELECTOR, 0),
        1 => sample.set(Field::HOST_TR_SELECTOR, 0),
        _ => {
            if let Some((field, bits)) = random.one_of(HOST) {
                sample.set(field, sample.get(field) ^ bits);
            }
        }
    }
}

/// Misaligned or beyond the physical-address width.
fn address(sample: &mut Sample, cpu: &Cpu, random: &mut Random) {
    let beyond = u64::from(cpu.physical_bits);
    let high = 1_u64.wrapping_shl(beyond.wrapping_add(random.below(64_u64.saturating_sub(beyond))) as u32);
    let lists = [
        (Field::VM_EXIT_MSR_STORE_COUNT, Field::VM_EXIT_MSR_STORE_ADDRESS),
        (Field::VM_EXIT_MSR_LOAD_COUNT, Field::VM_EXIT_MSR_LOAD_ADDRESS),
        (Field::VM_ENTRY_MSR_LOAD_COUNT, Field::VM_ENTRY_MSR_LOAD_ADDRESS),
    ];
    let low = 1_u64.wrapping_shl(random.below(4) as u32);
    let bit = if random.below(2) == 0 { high } else { low };
    match random.below(4) {
        0 => sample.set(Field::GUEST_CR3, sample.get(Field::GUEST_CR3) | high),
        1 => {
            if let Some((count, address)) = random.one_of(&lists) {
                sample.set(count, 1);
                sample.set(address, bit);
            }
        }
        2 => sample.set(Field::VMCS_LINK_POINTER, bit),
        _ => {
            if let Some(field) = random.one_of(ADDRESSES) {
                sample.set(field, sample.get(field) | bit);
            }
        }
    }
}

/// Type, walk length and flags; or the address becomes invalid.
fn ept_pointer(sample: &mut Sample, cpu: &Cpu, random: &mut Random) {
    let bit = match random.below(4) {
        0 => u64::from(cpu.physical_bits),
        _ => random.below(12),
    };
    sample.set(Field::EPT_POINTER, sample.get(Field::EPT_POINTER) ^ 1_u64.wrapping_shl(bit as u32));
}

/// One control, mostly one that the CPU has.
fn control(sample: &mut Sample, cpu: &Cpu, random: &mut Random) {
    let Some((field, kept)) = random.one_of(CONTROLS) else { return };
    let capabilities = &cpu.capabilities;
    let capability = match field {
        Field::PIN_CONTROLS => capabilities.pin,
        Field::PROCESSOR_CONTROLS => capabilities.processor,
        Field::SECONDARY_PROCESSOR_CONTROLS => capabilities.secondary,
        Field::VM_EXIT_CONTROLS => capabilities.exit,
        _ => capabilities.entry,
    };
    let free = u64::from(capability.allowed_1 & !capability.allowed_0);
    for _ in 0..32 {
        let bit = 1_u64.wrapping_shl(random.below(32) as u32);
        if bit & kept == 0 && (bit & free != 0 || random.below(8) == 0) {
            sample.set(field, sample.get(field) ^ bit);
            return;
        }
    }
}

fn inject(sample: &mut Sample, random: &mut Random) {
    let kind = random.below(8);
    let vector = match (kind, random.below(8)) {
        (2, 1..) => 2,
        (3, 1..) => random.below(32),
        (7, 1..) => 0,
        _ => random.below(256),
    };
    let error_code = random.below(2) << 11;
    let reserved = if random.below(8) == 0 { 1_u64.wrapping_shl(random.below(19) as u32) << 12 } else { 0 };
    sample.set(Field::VM_ENTRY_INTERRUPTION_INFORMATION, 1 << 31 | kind << 8 | vector | error_code | reserved);
    sample.set(Field::VM_ENTRY_INSTRUCTION_LENGTH, random.below(18));
    if random.below(2) == 0 {
        sample.set(Field::GUEST_RFLAGS, sample.get(Field::GUEST_RFLAGS) ^ 1 << 9);
    }
}

/// Blocking by STI or MOV SS, with or without a single step.
fn shadow(sample: &mut Sample, random: &mut Random) {
    sample.set(Field::GUEST_INTERRUPTIBILITY_STATE, random.below(16));
    sample.set(Field::GUEST_RFLAGS, 2 | random.below(4) << 8);
    sample.set(Field::GUEST_PENDING_DEBUG_EXCEPTIONS, random.below(2) << 14);
    sample.set(Field::GUEST_DEBUGCTL, random.below(2) << 1);
}

fn segment(sample: &mut Sample, random: &mut Random) {
    let Some(first) = random.one_of(&SEGMENTS) else { return };
    let field = Field(first.wrapping_add(random.below(8).wrapping_mul(2) as u32));
    match random.below(4) {
        0 if first == Field::GUEST_ES_ACCESS_RIGHTS.0 => sample.set(field, sample.get(field) | 1 << 16),
        1 if first == Field::GUEST_ES_ACCESS_RIGHTS.0 => sample.set(field, sample.get(field) & !0xF | random.below(16)),
        _ => any_value(sample, field, random),
    }
}

fn any_value(sample: &mut Sample, field: Field, random: &mut Random) {
    let old = sample.get(field);
    let value = match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => random.next(),
        3 => random.below(8),
        4 => 1_u64 << 47,
        5 => 0xFFFF_8000_0000_0000 | random.below(1 << 32),
        6 => old ^ 1_u64.wrapping_shl(random.below(64) as u32),
        _ => old ^ 1_u64.wrapping_shl(random.below(20) as u32),
    };
    sample.set(field, value);
}
