//! Task switches that succeed.

use super::task_rig::*;
use crate::*;
use TaskSwitchSource::{Call, Iret, Jump};

const NT: u64 = 1 << 14;

#[test]
fn jump_saves_all_of_one_task_and_loads_all_of_the_other() {
    let mut rig = Rig::jump();
    rig.set_b(0x58, 0x10); // FS
    assert_eq!((rig.switch(), rig.outcome), (None, Some(Outcome::Resume)));
    rig.assert_in_b();
    let saved = |at| rig.dword(TSS_A + at);
    assert_eq!((saved(0x20), saved(0x24)), (0xaaaa + 7, 0x4002));
    for register in 0..8 {
        assert_eq!(saved(0x28 + 4 * register), 0xa000_0000 + register as u32);
    }
    let selectors = [0x48, 0x4c, 0x50, 0x54, 0x58, 0x5c].map(|at| rig.word(TSS_A + at));
    assert_eq!(selectors, [0, CODE, DATA, DATA, 0, 0x13]);
    assert_eq!((rig.word(TSS_A), saved(0x1c), saved(0x60)), (0, 0, 0));

    assert_eq!(rig.vcpu.gprs[..4], [0xb000_0000, 0xb000_0001, 0xb000_0002, 0xb000_0003]);
    assert_eq!(rig.vcpu.gprs[4..8], [STACK_B.into(), 0xb000_0004, 0xb000_0005, 0xb000_0006]);
    assert_eq!(rig.vcpu.rflags, 0x202);
    let flat = |selector, access| Segment { selector, base: 0, limit: u32::MAX, long: false, default_32: true, access };
    let [es, cs, ss, ds, fs, gs] = rig.vcpu.segments;
    assert_eq!((cs, ss, ds), (flat(CODE, 0x9b), flat(DATA, 0x93), flat(DATA, 0x93)));
    assert_eq!((es, fs), (flat(DATA, 0x93), flat(DATA, 0x93)));
    assert_eq!((gs.selector, gs.access & 0x80), (0, 0), "null is unusable");
    assert_eq!(rig.task().ldtr.access & 0x80, 0);
    assert_eq!(rig.task().tr, Segment { selector: B, base: TSS_B, limit: 0x67, access: 0x8b, ..Segment::default() });
    assert_eq!(rig.task().dr7, 0x7ff & !0x155);
    assert_eq!(rig.task().nmi_blocked, None);
    assert_eq!(rig.cpu.counters.get(ExitKind::TaskSwitch), 1);
}

#[test]
fn busy_marks_links_and_nested_flags_follow_the_source() {
    let gate = TaskSwitchSource::Gate(Event { vector: 32, kind: EventKind::ExternalInterrupt, error: None });
    // The old task's busy mark, its saved NT (it was set), the back link, the new task's NT.
    for (source, old_access, saved, link, nested) in
        [(Jump, 0x89, NT, 0, 0), (Call, 0x8b, NT, A, NT), (gate, 0x8b, NT, A, NT), (Iret, 0x89, 0, 0, 0)]
    {
        let mut rig = Rig::new(source);
        assert_eq!(rig.switch(), None, "{source:?}");
        assert_eq!((rig.access(A), rig.access(B)), (old_access, 0x8b), "{source:?}");
        assert_eq!(u64::from(rig.dword(TSS_A + 0x24)) & NT, saved, "{source:?}");
        assert_eq!((rig.word(TSS_B), rig.vcpu.rflags & NT), (link, nested), "{source:?}");
    }
}

#[test]
fn a_returned_task_may_have_been_nested_itself() {
    let mut rig = Rig::new(Iret);
    rig.set_b(0x24, 0x4002);
    rig.set_b(0, 0x77);
    assert_eq!((rig.switch(), rig.vcpu.rflags & NT, rig.word(TSS_B)), (None, NT, 0x77));
}

#[test]
fn events_return_to_where_they_came_unless_an_instruction_caused_them() {
    for (kind, saved) in
        [(EventKind::ExternalInterrupt, 0xaaaa), (EventKind::HardwareException, 0xaaaa), (EventKind::Software, 0xaaac)]
    {
        let mut rig = Rig::gate(kind, 3, None);
        rig.vcpu.rflags |= 1 << 16;
        assert_eq!((rig.switch(), rig.dword(TSS_A + 0x20)), (None, saved));
        // RF is over with an instruction, but holds for one that is to be executed again.
        assert_eq!(rig.dword(TSS_A + 0x24) >> 16, u32::from(kind != EventKind::Software));
        assert_eq!(rig.vcpu.gprs[4], STACK_B.into(), "no error code");
    }
}

#[test]
fn error_codes_go_to_the_new_stack_in_the_size_of_the_tss() {
    let mut rig = Rig::gate(EventKind::HardwareException, 13, Some(0x1234_5678));
    assert_eq!(rig.switch(), None);
    assert_eq!((rig.vcpu.gprs[4], rig.dword(u64::from(STACK_B) - 4)), (u64::from(STACK_B) - 4, 0x1234_5678));
    let mut rig = Rig::gate(EventKind::HardwareException, 13, Some(0x1234_5678));
    rig.task().request.selector = B16;
    assert_eq!(rig.switch(), None);
    assert_eq!((rig.vcpu.gprs[4], rig.dword(0x7ffc)), (0x7ffe, 0x5678_0000));
}

#[test]
fn a_stack_of_16_bits_wraps_within_its_64_kib() {
    let mut rig = Rig::gate(EventKind::HardwareException, 13, Some(0x55));
    rig.set_descriptor(SPARE, descriptor(0x3_0000, 0xffff, 0x93, 0));
    rig.set_b(0x50, SPARE.into());
    rig.set_b(0x38, 0xabcd_0000); // ESP; only SP counts
    assert_eq!((rig.switch(), rig.vcpu.gprs[4], rig.dword(0x3_fffc)), (None, 0xabcd_fffc, 0x55));
}

#[test]
fn nmis_are_blocked_by_their_task_and_unblocked_by_its_end() {
    let mut rig = Rig::gate(EventKind::Nmi, 2, None);
    assert_eq!((rig.switch(), rig.task().nmi_blocked), (None, Some(true)));
    let mut rig = Rig::new(Iret);
    assert_eq!((rig.switch(), rig.task().nmi_blocked), (None, Some(false)));
}

#[test]
fn tasks_of_16_bits_are_saved_and_loaded_in_their_layout() {
    let mut rig = Rig::jump();
    rig.task().request.selector = B16;
    rig.task().tr = Segment { selector: A16, base: TSS16_A, limit: 0x2b, access: 0x83, ..Segment::default() };
    rig.machine.memory.put(TSS16_A + 0x2a, &[0x77; 4]);
    assert_eq!(rig.switch(), None);
    let saved = |at| rig.word(TSS16_A + at);
    assert_eq!((saved(0x0e), saved(0x10), saved(0x12), saved(0x20)), (0xaab1, 0x4002, 0, 7));
    assert_eq!([0x22, 0x24, 0x26, 0x28].map(saved), [0, CODE, DATA, DATA]);
    assert_eq!(rig.dword(TSS16_A + 0x2a), 0x7777_7777, "the static part and what follows stay");
    assert_eq!((rig.access(A16), rig.access(B16)), (0x81, 0x83));
    assert_eq!((rig.vcpu.rip, rig.vcpu.rflags), (0xbbb, 0x246));
    assert_eq!((rig.vcpu.gprs[0], rig.vcpu.gprs[3], rig.vcpu.gprs[4]), (0xb012, 0xb018, 0x8000));
    assert_eq!(rig.vcpu.segments[SegmentName::Es as usize].selector, DATA);
    for name in [SegmentName::Fs, SegmentName::Gs] {
        assert_eq!(rig.vcpu.segment(name).access & 0x80, 0);
    }
}

#[test]
fn a_task_may_run_at_cpl_3_with_a_table_of_its_own() {
    let mut rig = Rig::jump();
    rig.machine.memory.put(LDT + 0x10, &descriptor(0x4_0000, 0xfff, 0xf2, 0x4).to_le_bytes());
    for (at, value) in [(0x4c, USER_CODE), (0x50, USER_DATA), (0x48, 0x17), (0x54, USER_DATA), (0x60, LOCAL)] {
        rig.set_b(at, value.into());
    }
    assert_eq!((rig.switch(), rig.vcpu.cpl), (None, 3));
    let es = rig.vcpu.segment(SegmentName::Es);
    assert_eq!((es.selector, es.base, es.limit, es.access), (0x17, 0x4_0000, 0xfff, 0xf3));
    assert_eq!(rig.machine.memory.bytes[LDT as usize + 0x15], 0xf3, "marked as accessed in the LDT");
    assert_eq!((rig.access(USER_CODE), rig.access(USER_DATA)), (0xfb, 0xf3), "and in the GDT");
    assert_eq!((rig.task().ldtr.selector, rig.task().ldtr.base, rig.task().ldtr.access), (LOCAL, LDT, 0x82));
}

#[test]
fn a_task_may_run_in_virtual_8086_mode() {
    let mut rig = Rig::jump();
    for (at, value) in [(0x24, 0x2_0202), (0x20, 0xbbbb), (0x4c, 0x1234), (0x50, 0xffff), (0x54, 0)] {
        rig.set_b(at, value);
    }
    assert_eq!((rig.switch(), rig.vcpu.cpl, rig.vcpu.rflags), (None, 3, 0x2_0202));
    let real = |selector: u16| Segment {
        selector,
        base: u64::from(selector) << 4,
        limit: 0xffff,
        long: false,
        default_32: false,
        access: 0xf3,
    };
    assert_eq!(rig.vcpu.segment(SegmentName::Cs), real(0x1234));
    assert_eq!(rig.vcpu.segment(SegmentName::Ss), real(0xffff));
    assert_eq!(rig.vcpu.segment(SegmentName::Ds), real(0));
    // A TSS of 16 bits has no place for VM.
    let mut rig = Rig::jump();
    rig.task().request.selector = B16;
    rig.machine.memory.put(TSS16_B + 0x10, &0xffff_u16.to_le_bytes());
    assert_eq!((rig.switch(), rig.vcpu.rflags), (None, 0x7fd7));
}

#[test]
fn reserved_flags_are_not_taken_from_the_tss() {
    let mut rig = Rig::jump();
    rig.set_b(0x24, !(1 << 17));
    assert_eq!((rig.switch(), rig.vcpu.rflags), (None, 0x3d_7fd7));
}

#[test]
fn the_debug_trap_flag_raises_db_in_the_new_task() {
    let mut rig = Rig::jump();
    rig.set_b(0x64, 1);
    assert_eq!(rig.switch(), Some(Exception::Debug(1 << 15)));
    rig.assert_in_b();
    assert_eq!(rig.vcpu.segment(SegmentName::Cs).access, 0x9b);
}

/// 4 MiB pages: `table` maps the first 4 MiB to themselves, and 1 GiB to `alias`.
fn page_table(rig: &mut Rig, table: u64, alias: u32) {
    rig.machine.memory.put(table, &0x83_u32.to_le_bytes());
    rig.machine.memory.put(table + 256 * 4, &(alias | 0x83).to_le_bytes());
}

#[test]
fn cr3_changes_with_paging_and_descriptors_are_read_in_the_new_space() {
    let mut rig = Rig::jump();
    page_table(&mut rig, 0x10_0000, 0);
    page_table(&mut rig, 0x10_1000, 0x40_0000);
    rig.vcpu.control = ControlRegisters { cr0: 0x8000_0001, cr3: 0x10_0000, cr4: 0x10, efer: 0 };
    rig.set_b(0x1c, 0x10_1000);
    // The old space sees the GDT at its alias, the new one another GDT there.
    rig.task().gdtr.0 = 0x4000_0000 + GDT;
    let copy = rig.machine.memory.bytes[GDT as usize..GDT as usize + 0x58].to_vec();
    rig.machine.memory.put(0x40_0000 + GDT, &copy);
    rig.machine.memory.put(0x40_0000 + GDT + 0x10, &descriptor(0x77_0000, 0xf_ffff, 0x93, 0xc).to_le_bytes());
    assert_eq!((rig.switch(), rig.vcpu.control.cr3, rig.task().pdptes), (None, 0x10_1000, None));
    assert_eq!(rig.vcpu.segment(SegmentName::Ss).base, 0x77_0000);
}

#[test]
fn without_paging_and_for_16_bits_cr3_stays() {
    let mut rig = Rig::jump();
    rig.set_b(0x1c, 0x10_1000);
    assert_eq!((rig.switch(), rig.vcpu.control.cr3), (None, 0));
    let mut rig = Rig::jump();
    page_table(&mut rig, 0x10_0000, 0);
    rig.vcpu.control = ControlRegisters { cr0: 0x8000_0001, cr3: 0x10_0000, cr4: 0x10, efer: 0 };
    rig.task().request.selector = B16;
    assert_eq!((rig.switch(), rig.vcpu.control.cr3), (None, 0x10_0000));
}

#[test]
fn pae_loads_the_pointers_with_cr3() {
    for (second, expected) in [(0x10_3001_u64, None), (0x10_3003, Some(Exception::GeneralProtection(0)))] {
        let mut rig = Rig::jump();
        for (table, directory) in [(0x10_0020, 0x10_1000_u64), (0x10_0040, 0x10_1000)] {
            rig.machine.memory.put(table, &(directory | 1).to_le_bytes());
        }
        rig.machine.memory.put(0x10_0048, &second.to_le_bytes());
        rig.machine.memory.put(0x10_1000, &0x83_u64.to_le_bytes());
        rig.vcpu.control = ControlRegisters { cr0: 0x8000_0001, cr3: 0x10_0020, cr4: 0x20, efer: 0 };
        rig.set_b(0x1c, 0x10_0040);
        assert_eq!(rig.switch(), expected);
        rig.assert_in_b();
        let loaded = expected.is_none();
        assert_eq!(rig.vcpu.control.cr3, if loaded { 0x10_0040 } else { 0x10_0020 });
        assert_eq!(rig.task().pdptes, loaded.then_some([0x10_1001, 0x10_3001, 0, 0]));
    }
}

#[test]
fn a_cpu_that_switches_by_itself_never_exits_for_it() {
    let mut rig = Rig::jump();
    rig.vcpu.task = None;
    assert_eq!((rig.switch(), rig.outcome), (None, Some(Outcome::Stop)));
}
