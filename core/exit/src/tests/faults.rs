//! Accesses that nested paging refused.

use super::mock::*;
use crate::*;
use mediator::Gpa;

const GP: Exception = Exception::GeneralProtection(0);
const READ: NestedFault =
    NestedFault { gpa: Gpa(VMM.start), write: false, fetch: false, page_walk: false, delivering: None };
const WRITE: NestedFault = NestedFault { write: true, ..READ };

fn fault_at(code: &[u8], vcpu: &mut MockVcpu, fault: NestedFault) -> Outcome {
    let mut machine = MockMachine::with_code(code);
    let before = machine.memory.bytes.clone();
    vcpu.fault = Some(fault);
    let outcome = cpu_of(Guest::new(&mut machine, policy(), false)).on_exit(vcpu, &mut machine, Exit::NestedFault);
    assert!(machine.memory.bytes == before && machine.ports.events.is_empty());
    outcome
}

const PATTERN: u64 = 0x1122_3344_5566_7788;

/// The value of `register` after a load.
fn load(code: &[u8], register: Gpr) -> u64 {
    let mut vcpu = MockVcpu::long();
    vcpu.gprs = [PATTERN; 16];
    // Where [rax] lies, or moffs.
    let offset = if code[0] == 0xa1 { 0 } else { PATTERN & 0xfff };
    assert_eq!(fault_at(code, &mut vcpu, NestedFault { gpa: Gpa(VMM.start + offset), ..READ }), Outcome::Resume);
    assert_eq!((vcpu.injected.len(), vcpu.rip), (0, 0x1000 + code.len() as u64));
    let touched = vcpu.gprs.iter().filter(|&&value| value != PATTERN).count();
    assert_eq!(touched, 1, "{code:x?}");
    vcpu.get(register)
}

#[test]
fn plain_loads_give_all_ones_in_every_size() {
    assert_eq!(load(&[0x8a, 0x00], Gpr::Rax), 0x1122_3344_5566_77ff); // mov al, [rax]
    assert_eq!(load(&[0x8a, 0x20], Gpr::Rax), 0x1122_3344_5566_ff88); // mov ah, [rax]
    assert_eq!(load(&[0x8a, 0x38], Gpr::Rbx), 0x1122_3344_5566_ff88); // mov bh, [rax]
    assert_eq!(load(&[0x40, 0x8a, 0x20], Gpr::Rsp), 0x1122_3344_5566_77ff); // mov spl, [rax]
    assert_eq!(load(&[0x40, 0x8a, 0x38], Gpr::Rdi), 0x1122_3344_5566_77ff); // mov dil, [rax]
    assert_eq!(load(&[0x44, 0x8a, 0x38], Gpr::R15), 0x1122_3344_5566_77ff); // mov r15b, [rax]
    assert_eq!(load(&[0x66, 0x8b, 0x08], Gpr::Rcx), 0x1122_3344_5566_ffff); // mov cx, [rax]
    assert_eq!(load(&[0x8b, 0x30], Gpr::Rsi), 0xffff_ffff); // mov esi, [rax]
    assert_eq!(load(&[0x4c, 0x8b, 0x20], Gpr::R12), u64::MAX); // mov r12, [rax]
    assert_eq!(load(&[0xa1, 0, 0, 0x60, 0, 0, 0, 0, 0], Gpr::Rax), 0xffff_ffff); // mov eax, [moffs]
}

#[test]
fn extending_loads_extend_all_ones() {
    assert_eq!(load(&[0x0f, 0xb6, 0x10], Gpr::Rdx), 0xff); // movzx edx, byte [rax]
    assert_eq!(load(&[0x48, 0x0f, 0xb7, 0x10], Gpr::Rdx), 0xffff); // movzx rdx, word [rax]
    assert_eq!(load(&[0x66, 0x0f, 0xb6, 0x10], Gpr::Rdx), 0x1122_3344_5566_00ff); // movzx dx, byte [rax]
    assert_eq!(load(&[0x0f, 0xbe, 0x10], Gpr::Rdx), 0xffff_ffff); // movsx edx, byte [rax]
    assert_eq!(load(&[0x48, 0x63, 0x10], Gpr::Rdx), u64::MAX); // movsxd rdx, dword [rax]
}

#[test]
fn plain_stores_vanish() {
    for code in [
        &[0x88, 0x10][..],                  // mov [rax], dl
        &[0x48, 0x89, 0x10],                // mov [rax], rdx
        &[0xc6, 0x00, 0x55],                // mov byte [rax], 55h
        &[0x48, 0xc7, 0x00, 1, 0, 0, 0],    // mov qword [rax], 1
        &[0x0f, 0xc3, 0x10],                // movnti [rax], edx
        &[0xa2, 0, 0, 0x60, 0, 0, 0, 0, 0], // mov [moffs], al
    ] {
        let mut vcpu = MockVcpu::long();
        vcpu.gprs = [PATTERN; 16];
        let offset = if code[0] == 0xa2 { 0 } else { PATTERN & 0xfff };
        assert_eq!(fault_at(code, &mut vcpu, NestedFault { gpa: Gpa(VMM.start + offset), ..WRITE }), Outcome::Resume);
        assert_eq!((vcpu.injected.len(), vcpu.rip, vcpu.gprs), (0, 0x1000 + code.len() as u64, [PATTERN; 16]));
    }
}

#[test]
fn single_stos_vanishes_and_moves_its_index() {
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rdi, VMM.start);
    fault_at(&[0x48, 0xab], &mut vcpu, WRITE); // stosq
    assert_eq!((vcpu.get(Gpr::Rdi), vcpu.rip), (VMM.start + 8, 0x1002));
    let mut vcpu = MockVcpu::real();
    vcpu.set(Gpr::Rdi, 0xabcd_0001);
    vcpu.rflags |= 1 << 10;
    fault_at(&[0xab], &mut vcpu, NestedFault { gpa: Gpa(VMM.start + 1), ..WRITE }); // stosw, downwards
    assert_eq!(vcpu.get(Gpr::Rdi), 0xabcd_ffff);
}

#[test]
fn what_is_read_changed_and_written_back_finds_all_ones_and_changes_nothing() {
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rdx, 1);
    // QEMU tells of the read first, CPUs of the write.
    for fault in [READ, WRITE] {
        vcpu.rip = 0x1000;
        assert_eq!(fault_at(&[0x01, 0x10], &mut vcpu, fault), Outcome::Resume); // add [rax], edx
        let carry_parity_half_carry_zero = 0x55;
        assert_eq!((vcpu.rip, vcpu.rflags), (0x1002, 2 | carry_parity_half_carry_zero));
    }
    fault_at(&[0x03, 0x08], &mut MockVcpu::long(), READ);
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rdx, 0x1234);
    fault_at(&[0x87, 0x10], &mut vcpu, WRITE); // xchg [rax], edx
    assert_eq!((vcpu.get(Gpr::Rdx), vcpu.rip), (0xffff_ffff, 0x1002));
}

#[test]
fn instructions_that_are_not_emulated_raise_ud_and_are_not_skipped() {
    for (code, fault) in [
        (&[0xf0, 0x01, 0x10][..], WRITE),   // lock add [rax], edx
        (&[0xf0, 0x0f, 0xb1, 0x10], WRITE), // lock cmpxchg [rax], edx
        (&[0x0f, 0xb1, 0x10], WRITE),       // cmpxchg [rax], edx
        (&[0xff, 0x00], WRITE),             // inc [rax]
        (&[0xf3, 0x89, 0x10], WRITE),       // rep mov [rax], edx
        (&[0xa4], READ),                    // movsb
        (&[0xff, 0x30], READ),              // push [rax]
        (&[0x50], WRITE),                   // push rax
        (&[0x8e, 0x18], READ),              // mov ds, [rax]
        (&[0x8c, 0x18], WRITE),             // mov [rax], ds
        (&[0x66, 0x63, 0x00], READ),        // movsxd ax, [rax]
        (&[0x0f, 0x28, 0x00], READ),        // movaps xmm0, [rax]
        (&[0xff, 0x10], READ),              // call [rax]
        (&[0x0f, 0x0b], READ),              // ud2
    ] {
        let mut vcpu = MockVcpu::long();
        assert_eq!(fault_at(code, &mut vcpu, fault), Outcome::Resume);
        let raised = &vcpu.injected[..];
        assert_eq!((vcpu.rip, raised, vcpu.gprs), (0x1000, &[Exception::InvalidOpcode][..], [0; 16]), "{code:x?}");
    }
}

#[test]
fn access_that_is_not_that_of_the_instruction_raises_gp() {
    for (code, fault) in [
        (&[0x8b, 0x00][..], WRITE), // a load that is said to write
        (&[0x89, 0x00], READ),      // a store that is said to read
        (&[0x8b, 0x40, 4], READ),   // another operand than the one that faulted
        (&[0x8b, 0x00], NestedFault { fetch: true, ..READ }),
        (&[0x8b, 0x00], NestedFault { page_walk: true, ..READ }),
    ] {
        let mut vcpu = MockVcpu::long();
        assert_eq!(fault_at(code, &mut vcpu, fault), Outcome::Resume);
        assert_eq!((vcpu.rip, &vcpu.injected[..], vcpu.gprs), (0x1000, &[GP][..], [0; 16]), "{code:x?}");
    }
}

#[test]
fn operands_across_a_page_raise_gp_whichever_page_it_is() {
    for (address, gpa, refused) in [
        (0xffd, VMM.start + 0xffd, true), // the first page is the VMM's
        (0xffd, VMM.start, true),         // the second
        (0xffc, VMM.start + 0xffc, false),
    ] {
        for (code, fault) in [(&[0x8b, 0x00], READ), (&[0x89, 0x00], WRITE)] {
            let mut vcpu = MockVcpu::long();
            vcpu.set(Gpr::Rax, address);
            fault_at(code, &mut vcpu, NestedFault { gpa: Gpa(gpa), ..fault });
            assert_eq!(vcpu.injected == [GP], refused, "{address:x} {gpa:x}");
        }
    }
}

#[test]
fn faults_of_a_delivery_end_in_a_double_fault_and_then_a_reset() {
    let delivering_as = |vector, kind| NestedFault { delivering: Some(Event { vector, kind, error: None }), ..WRITE };
    let delivering = |vector| delivering_as(vector, EventKind::HardwareException);
    let mut vcpu = MockVcpu::long();
    assert_eq!(fault_at(&[], &mut vcpu, delivering(0x30)), Outcome::Resume);
    for contributory in [0, 10, 11, 12, 13, 14] {
        assert_eq!(fault_at(&[], &mut vcpu, delivering(contributory)), Outcome::Resume);
    }
    let mut expected = [Exception::DoubleFault; 7];
    expected[0] = GP;
    assert_eq!(vcpu.injected, expected);
    assert_eq!(fault_at(&[], &mut vcpu, delivering(8)), Outcome::Reset);
    let timer_in_real_mode = delivering_as(8, EventKind::ExternalInterrupt);
    assert_eq!(fault_at(&[], &mut vcpu, timer_in_real_mode), Outcome::Resume);
    assert_eq!(vcpu.injected.last(), Some(&GP));
}

#[test]
fn each_place_is_logged_once() {
    let mut machine = MockMachine::with_code(&[0x8b, 0x00]);
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    log_lines();
    for gpa in [VMM.start, VMM.end - 0x1000, 0x4000_0000, 0x5000_0000] {
        let mut vcpu = MockVcpu::long();
        vcpu.fault = Some(NestedFault { gpa: Gpa(gpa), ..READ });
        cpu.on_exit(&mut vcpu, &mut machine, Exit::NestedFault);
        assert_eq!(vcpu.get(Gpr::Rax), 0xffff_ffff);
    }
    let lines = log_lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("VMM memory") && lines[1].contains("without memory"));
}
