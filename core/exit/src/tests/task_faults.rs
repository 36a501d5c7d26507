//! Task switches that fail: which exception, with which error code, and in which of the two tasks.

use super::mock::*;
use super::random::Random;
use super::task_rig::*;
use crate::Exception::{DoubleFault, GeneralProtection, InvalidTss, PageFault, SegmentNotPresent, StackFault};
use crate::*;
use TaskSwitchSource::{Call, Iret, Jump};

const INTERRUPT: TaskSwitchSource =
    TaskSwitchSource::Gate(Event { vector: 32, kind: EventKind::ExternalInterrupt, error: None });
const SOFTWARE: TaskSwitchSource = TaskSwitchSource::Gate(Event { vector: 32, kind: EventKind::Software, error: None });

/// What the switch raises after `spoil`, from each source; the task at which it does.
fn before_the_commit(sources: &[TaskSwitchSource], spoil: fn(&mut Rig), expected: Exception) {
    for &source in sources {
        let mut rig = Rig::new(source);
        spoil(&mut rig);
        assert_eq!((rig.switch(), rig.outcome), (Some(expected), Some(Outcome::Resume)), "{source:?}");
        rig.assert_in_a();
    }
}

#[test]
fn a_wrong_selector_of_the_new_tss() {
    type Spoil = fn(&mut Rig);
    let spoils: [(Spoil, u32); 3] = [
        (|rig| rig.task().request.selector = 3, 0),
        (|rig| rig.task().request.selector = B | 4, B as u32 | 4),
        (|rig| rig.task().gdtr.1 = B + 6, B as u32),
    ];
    for (spoil, error) in spoils {
        before_the_commit(&[Jump, Call, SOFTWARE], spoil, GeneralProtection(error));
        before_the_commit(&[INTERRUPT], spoil, GeneralProtection(error | 1));
        before_the_commit(&[Iret], spoil, InvalidTss(error));
    }
}

#[test]
fn a_wrong_descriptor_of_the_new_tss() {
    let access = |source| if source == Iret { 0x8b } else { 0x89 };
    for source in [Jump, Call, SOFTWARE, Iret] {
        let wrong = |error| if source == Iret { InvalidTss(error) } else { GeneralProtection(error) };
        // Of all types only one kind of TSS is accepted, busy only for IRET; then the presence is looked at.
        for kind in 0..32 {
            for present in [0, 0x80] {
                let mut rig = Rig::new(source);
                rig.set_descriptor(B, descriptor(TSS_B, 0x67, kind | present, 0));
                let raised = rig.switch();
                if kind & !8 == access(source) & 0x17 {
                    let expected = if present == 0 { Some(SegmentNotPresent(B.into())) } else { None };
                    assert_eq!(raised.filter(|_| present == 0), expected, "{source:?} {kind}");
                } else {
                    assert_eq!(raised, Some(wrong(B.into())), "{source:?} {kind}");
                    rig.assert_in_a();
                }
            }
        }
    }
}

#[test]
fn a_limit_that_is_too_small() {
    let all = [Jump, Call, SOFTWARE, Iret];
    before_the_commit(
        &all,
        |rig| {
            let access = rig.access(B);
            rig.set_descriptor(B, descriptor(TSS_B, 0x66, access, 0));
        },
        InvalidTss(B.into()),
    );
    before_the_commit(
        &all,
        |rig| {
            let access = rig.access(B16);
            rig.set_descriptor(B16, descriptor(TSS16_B, 0x2a, access, 0));
            rig.task().request.selector = B16;
        },
        InvalidTss(B16.into()),
    );
    before_the_commit(&all, |rig| rig.task().tr.limit = 0x66, InvalidTss(A.into()));
}

/// Identity with 4 KiB pages for the first 4 MiB; the page at `at` as `entry` says.
fn paged(rig: &mut Rig, at: u64, entry: u32) {
    rig.machine.memory.put(0x10_0000, &0x10_1003_u32.to_le_bytes());
    for page in 0..1024_u32 {
        rig.machine.memory.put(0x10_1000 + u64::from(page) * 4, &(page << 12 | 3).to_le_bytes());
    }
    rig.machine.memory.put(0x10_1000 + (at >> 12) * 4, &entry.to_le_bytes());
    rig.vcpu.control = ControlRegisters { cr0: 0x8001_0001, cr3: 0x10_0000, cr4: 0, efer: 0 };
    rig.set_b(0x1c, 0x10_0000);
}

const fn page_fault(error: u32, address: u64) -> Exception {
    PageFault { error, address }
}

#[test]
fn tables_that_are_not_mapped() {
    before_the_commit(&[Jump, Call, SOFTWARE, INTERRUPT], |rig| paged(rig, GDT, 0), page_fault(2, GDT + 0x30));
    before_the_commit(&[Iret], |rig| paged(rig, GDT, 0), page_fault(0, GDT + 0x30));
    before_the_commit(&[Jump, Iret], |rig| paged(rig, TSS_B, 0), page_fault(0, TSS_B));
    before_the_commit(&[Call, INTERRUPT], |rig| paged(rig, TSS_B, TSS_B as u32 | 1), page_fault(3, TSS_B));
    before_the_commit(&[Jump, Iret, Call], |rig| paged(rig, TSS_A, TSS_A as u32 | 1), page_fault(3, TSS_A));
    // A read-only TSS may be jumped to.
    let mut rig = Rig::jump();
    paged(&mut rig, TSS_B, TSS_B as u32 | 1);
    assert_eq!(rig.switch(), None);
}

#[test]
fn a_tss_over_two_pages_is_looked_at_in_both() {
    let mut rig = Rig::jump();
    paged(&mut rig, 0x2_1000, 0);
    rig.set_descriptor(B, descriptor(0x2_0fa0, 0x67, 0x89, 0));
    assert_eq!(rig.switch(), Some(page_fault(0, 0x2_1000)));
    rig.assert_in_a();
    let mut rig = Rig::jump();
    paged(&mut rig, 0x2_1000, 0x3_0003);
    let tss = rig.machine.memory.bytes[TSS_B as usize..TSS_B as usize + 0x68].to_vec();
    rig.machine.memory.put(0x2_0fb0, &tss[..0x50]);
    rig.machine.memory.put(0x3_0000, &tss[0x50..]);
    rig.set_descriptor(B, descriptor(0x2_0fb0, 0x67, 0x89, 0));
    assert_eq!(rig.switch(), None);
    rig.assert_in_b();
}

#[test]
fn the_tables_are_a_supervisors_at_any_cpl() {
    let mut rig = Rig::new(Call);
    paged(&mut rig, 0, 3);
    rig.vcpu.cpl = 3;
    assert_eq!(rig.switch(), None);
}

/// What B's wrong field raises once B runs.
fn after_the_commit(spoil: impl Fn(&mut Rig), expected: Exception) {
    for (source, external) in [(Jump, 0), (Call, 0), (Iret, 0), (SOFTWARE, 0), (INTERRUPT, 1)] {
        let mut rig = Rig::new(source);
        spoil(&mut rig);
        let expected = match expected {
            InvalidTss(error) => InvalidTss(error | external),
            SegmentNotPresent(error) => SegmentNotPresent(error | external),
            StackFault(error) => StackFault(error | external),
            GeneralProtection(error) => GeneralProtection(error | external),
            other => other,
        };
        assert_eq!(rig.switch(), Some(expected), "{source:?}");
        assert_eq!((rig.vcpu.task.unwrap().tr.selector, rig.vcpu.control.cr0 & 8), (B, 8), "{source:?}");
        assert_eq!((rig.access(B), rig.vcpu.gprs[0]), (0x8b, 0xb000_0000));
    }
}

/// B's selector at `at`, and the descriptor that SPARE names.
fn selects(at: u64, selector: u16, value: u64, expected: Exception) {
    after_the_commit(
        |rig| {
            rig.set_descriptor(SPARE, value);
            rig.set_b(at, selector.into());
        },
        expected,
    );
}

const ES: u64 = 0x48;
const CS: u64 = 0x4c;
const SS: u64 = 0x50;
const DS: u64 = 0x54;
const FS: u64 = 0x58;
const GS: u64 = 0x5c;
const LDT_SLOT: u64 = 0x60;

fn flat(access: u8) -> u64 {
    descriptor(0, 0xf_ffff, access, 0xc)
}

#[test]
fn a_wrong_ldt() {
    selects(LDT_SLOT, SPARE | 4, descriptor(LDT, 0xff, 0x82, 0), InvalidTss((SPARE | 4).into()));
    selects(LDT_SLOT, 0x58, 0, InvalidTss(0x58));
    selects(LDT_SLOT, SPARE, descriptor(LDT, 0xff, 0x02, 0), InvalidTss(SPARE.into()));
    selects(LDT_SLOT, SPARE, flat(0x93), InvalidTss(SPARE.into()));
}

#[test]
fn a_wrong_code_segment() {
    selects(CS, 0, 0, InvalidTss(0));
    selects(CS, 0x58, 0, InvalidTss(0x58));
    selects(CS, 0x0c, 0, InvalidTss(0x0c)); // of an LDT that there is not
    selects(CS, SPARE, flat(0x93), InvalidTss(SPARE.into()));
    selects(CS, SPARE, flat(0xfb), InvalidTss(SPARE.into())); // DPL 3, RPL 0
    selects(CS, SPARE, flat(0xff), InvalidTss(SPARE.into())); // conforming, of DPL 3
    selects(CS, SPARE | 3, flat(0x9b), InvalidTss(SPARE.into()));
    selects(CS, SPARE, flat(0x1b), SegmentNotPresent(SPARE.into()));
}

#[test]
fn a_wrong_stack_segment() {
    selects(SS, 0, 0, InvalidTss(0));
    selects(SS, 0x58, 0, InvalidTss(0x58));
    selects(SS, SPARE, flat(0x91), InvalidTss(SPARE.into())); // read-only
    selects(SS, SPARE, flat(0x9b), InvalidTss(SPARE.into()));
    selects(SS, SPARE, flat(0xf3), InvalidTss(SPARE.into()));
    selects(SS, SPARE | 3, flat(0x93), InvalidTss(SPARE.into()));
    selects(SS, SPARE, flat(0x13), StackFault(SPARE.into()));
}

#[test]
fn a_wrong_data_segment() {
    for at in [ES, DS, FS, GS] {
        selects(at, 0x58, 0, InvalidTss(0x58));
        selects(at, SPARE, flat(0x99), InvalidTss(SPARE.into())); // execute only
        selects(at, SPARE, descriptor(TSS_A, 0x67, 0x89, 0), InvalidTss(SPARE.into()));
        selects(at, SPARE | 3, flat(0x93), InvalidTss(SPARE.into()));
        selects(at, SPARE, flat(0x13), SegmentNotPresent(SPARE.into()));
    }
    // Conforming code may be read at any level.
    let mut rig = Rig::jump();
    rig.set_descriptor(SPARE, flat(0x9f));
    rig.set_b(GS, (SPARE | 3).into());
    assert_eq!((rig.switch(), rig.vcpu.segment(SegmentName::Gs).selector), (None, SPARE | 3));
}

#[test]
fn what_a_fault_left_unread_is_unusable_but_named() {
    let mut rig = Rig::jump();
    rig.set_b(SS, 0x58);
    assert_eq!(rig.switch(), Some(InvalidTss(0x58)));
    rig.assert_in_b();
    let [es, cs, ss, ds, ..] = rig.vcpu.segments;
    assert_eq!((cs.selector, cs.access), (CODE, 0x9b));
    assert_eq!([es, ss, ds].map(|segment| segment.access & 0x80), [0; 3]);
    assert_eq!([es, ss, ds].map(|segment| segment.selector), [DATA, 0x58, DATA]);
}

#[test]
fn an_instruction_pointer_beyond_the_code() {
    after_the_commit(
        |rig| {
            rig.set_descriptor(SPARE, descriptor(0, 0xbbba, 0x9b, 4));
            rig.set_b(CS, SPARE.into());
        },
        GeneralProtection(0),
    );
    after_the_commit(
        |rig| {
            rig.set_b(0x24, 0x2_0202);
            rig.set_b(0x20, 0x1_0000);
        },
        GeneralProtection(0),
    );
}

#[test]
fn an_error_code_that_finds_no_stack() {
    let gate = |spoil: fn(&mut Rig)| {
        let mut rig = Rig::gate(EventKind::HardwareException, 17, Some(0));
        spoil(&mut rig);
        let raised = rig.switch();
        rig.assert_in_b();
        assert_eq!(rig.vcpu.gprs[4], rig.dword(TSS_B + 0x38).into());
        raised
    };
    let no_room = gate(|rig| {
        rig.set_descriptor(SPARE, descriptor(0, 0x1_fffe, 0x93, 4));
        rig.set_b(SS, SPARE.into());
    });
    assert_eq!(no_room, Some(StackFault(1)));
    let below = gate(|rig| {
        rig.set_descriptor(SPARE, descriptor(0, 0x1_fffc, 0x97, 4)); // expand-down: room from 1FFFDh on
        rig.set_b(SS, SPARE.into());
    });
    assert_eq!(below, Some(StackFault(1)));
    let wrapped = gate(|rig| rig.set_b(0x38, 3));
    assert_eq!(wrapped, Some(StackFault(1)));
    let unmapped = gate(|rig| paged(rig, 0x1_f000, 0));
    assert_eq!(unmapped, Some(page_fault(2, 0x1_fffc)));
}

#[test]
fn faults_add_up_with_the_exception_that_is_delivered() {
    for (vector, expected) in [(13, DoubleFault), (14, DoubleFault), (6, SegmentNotPresent(CODE as u32 | 1))] {
        let mut rig = Rig::gate(EventKind::HardwareException, vector, None);
        rig.set_descriptor(CODE, flat(0x1b));
        assert_eq!(rig.switch(), Some(expected));
    }
    // An interrupt of that number is none of them.
    for kind in [EventKind::ExternalInterrupt, EventKind::Software] {
        let mut rig = Rig::gate(kind, 13, None);
        rig.set_descriptor(B, 0);
        let external = u32::from(kind == EventKind::ExternalInterrupt);
        assert_eq!(rig.switch(), Some(GeneralProtection(B as u32 | external)));
    }
}

#[test]
fn a_double_fault_that_has_no_task_is_a_shutdown() {
    let mut rig = Rig::gate(EventKind::HardwareException, 8, Some(0));
    rig.set_descriptor(B, 0);
    assert_eq!((rig.switch(), rig.outcome), (None, Some(Outcome::Reset)));
    assert_eq!(rig.cpu.counters.get(ExitKind::Shutdown), 1);
}

#[test]
fn tables_in_vmm_memory_read_as_all_ones_and_are_not_written() {
    let mut rig = Rig::jump();
    rig.task().gdtr = (VMM.start, 0xffff);
    let before = rig.machine.memory.bytes.clone();
    assert_eq!(rig.switch(), Some(GeneralProtection(B.into())));
    assert!(rig.machine.memory.bytes == before);
    let mut rig = Rig::jump();
    rig.set_descriptor(B, descriptor(VMM.start, 0x67, 0x89, 0));
    let before = rig.machine.memory.bytes[VMM.start as usize..VMM.end as usize].to_vec();
    // All flags set, VM with them, and an instruction pointer out of range.
    assert_eq!(rig.switch(), Some(InvalidTss(0xfffc)));
    assert!(rig.machine.memory.bytes[VMM.start as usize..VMM.end as usize] == before);
}

#[test]
fn random_tables_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut next = || random.next() >> 8;
    let sources = [Jump, Call, Iret, INTERRUPT, SOFTWARE];
    let mut done = 0;
    let mut rig = Rig::jump();
    for round in 0..50_000_usize {
        if round % 64 == 0 {
            rig = Rig::new(sources[next() as usize % 5]);
        }
        for _ in 0..next() % 4 {
            let (area, at, value) = ([GDT, TSS_B, TSS16_B, LDT][next() as usize % 4], next() % 0x68, next());
            rig.machine.memory.put(area + at, &[value as u8]);
        }
        let task = rig.task();
        task.request.selector = [A, B, A16, B16, next() as u16][next() as usize % 5];
        task.request.source = sources[next() as usize % 5];
        if next() % 16 == 0 {
            task.gdtr = (next() & 0xffff_ffff, next() as u16);
        }
        done += usize::from(rig.switch().is_none());
    }
    assert!(done > 500, "{done} of the switches succeeded");
}

#[test]
fn a_tss_that_another_cpu_takes_meanwhile() {
    let taken = |rig: &mut Rig| {
        rig.machine.memory.changed_by_others.insert(GDT + u64::from(B) + 5, 0x8b);
    };
    before_the_commit(&[Jump, Call, SOFTWARE], taken, GeneralProtection(B.into()));
    before_the_commit(&[INTERRUPT], taken, GeneralProtection(u32::from(B) | 1));
}
