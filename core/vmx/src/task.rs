//! Task switches, which VT-x leaves to the VMM (SDM s. 26.4.2). AMD-V does them itself.

use crate::control::segment_fields;
use crate::instructions::{read, write};
use crate::vcpu::{VmxVcpu, segment_at, selector_field};
use crate::{event, nmi};
use exit::{Segment, SegmentName, TaskState, TaskSwitch, TaskSwitchSource};
use x86::vmx::{self, AccessRights, Field, Interruptibility};

const CR0_TS: u64 = 1 << 3;

fn set_segment_at(selector: Field, segment: Segment) {
    let [selector, base, limit, access] = segment_fields(selector);
    write(selector, segment.selector.into());
    write(base, segment.base);
    write(limit, segment.limit.into());
    let mut rights = AccessRights::from_bits_retain(segment.access.into());
    rights.set(AccessRights::LONG, segment.long);
    rights.set(AccessRights::DEFAULT_32, segment.default_32);
    rights.set(AccessRights::GRANULARITY, segment.limit > 0xf_ffff);
    rights.set(AccessRights::UNUSABLE, !rights.contains(AccessRights::PRESENT));
    write(access, rights.bits().into());
}

impl TaskState for VmxVcpu {
    fn task_switch(&self) -> TaskSwitch {
        let task = vmx::TaskSwitch(read(Field::EXIT_QUALIFICATION));
        let (source, by_instruction) = match task.source() {
            vmx::TaskSwitchSource::Call => (TaskSwitchSource::Call, true),
            vmx::TaskSwitchSource::Iret => (TaskSwitchSource::Iret, true),
            vmx::TaskSwitchSource::Jmp => (TaskSwitchSource::Jump, true),
            vmx::TaskSwitchSource::IdtGate => {
                let (event, by_instruction) = event::delivered();
                (TaskSwitchSource::Gate(event), by_instruction)
            }
        };
        let instruction_len = if by_instruction { read(Field::VM_EXIT_INSTRUCTION_LENGTH) as u8 } else { 0 };
        TaskSwitch { selector: task.selector(), source, instruction_len }
    }

    fn task_register(&self) -> Segment {
        segment_at(Field::GUEST_TR_SELECTOR)
    }

    fn set_task_register(&mut self, tss: Segment) {
        set_segment_at(Field::GUEST_TR_SELECTOR, tss);
    }

    fn set_ldtr(&mut self, ldt: Segment) {
        set_segment_at(Field::GUEST_LDTR_SELECTOR, ldt);
    }

    fn set_segment(&mut self, name: SegmentName, segment: Segment) {
        set_segment_at(selector_field(name), segment);
    }

    fn gdtr(&self) -> (u64, u16) {
        (read(Field::GUEST_GDTR_BASE), read(Field::GUEST_GDTR_LIMIT) as u16)
    }

    fn set_cr3(&mut self, value: u64, pdptes: Option<[u64; 4]>) {
        write(Field::GUEST_CR3, value);
        let fields = [Field::GUEST_PDPTE0, Field::GUEST_PDPTE1, Field::GUEST_PDPTE2, Field::GUEST_PDPTE3];
        for (field, entry) in fields.into_iter().zip(pdptes.into_iter().flatten()) {
            write(field, entry);
        }
        self.flush_translations();
    }

    fn set_task_switched(&mut self) {
        write(Field::GUEST_CR0, read(Field::GUEST_CR0) | CR0_TS);
    }

    fn dr7(&self) -> u64 {
        read(Field::GUEST_DR7)
    }

    fn set_dr7(&mut self, value: u64) {
        write(Field::GUEST_DR7, value);
    }

    fn set_rip(&mut self, value: u64) {
        write(Field::GUEST_RIP, value);
        write(Field::GUEST_ACTIVITY_STATE, 0);
        write(Field::GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
        let shadow = Interruptibility::BLOCKING_BY_STI | Interruptibility::BLOCKING_BY_MOV_SS;
        let state = read(Field::GUEST_INTERRUPTIBILITY_STATE) & !u64::from(shadow.bits());
        write(Field::GUEST_INTERRUPTIBILITY_STATE, state);
    }

    fn set_nmi_blocked(&mut self, blocked: bool) {
        nmi::set_blocked(blocked);
    }
}
