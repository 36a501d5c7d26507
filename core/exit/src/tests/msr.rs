//! RDMSR and WRMSR: each rule, and how it is found.

use super::mock::*;
use crate::*;

const RDMSR: &[u8] = &[0x0f, 0x32];
const WRMSR: &[u8] = &[0x0f, 0x30];
const LME: u64 = 1 << 8;
const NXE: u64 = 1 << 11;
const GP: Exception = Exception::GeneralProtection(0);

fn rdmsr(machine: &mut MockMachine, vcpu: &mut MockVcpu, msr: u32) -> Result<u64, Exception> {
    machine.memory.put(0x1000, RDMSR);
    vcpu.rip = 0x1000;
    vcpu.set(Gpr::Rcx, u64::from(msr));
    cpu_of(Guest::new(machine, policy(), false)).on_exit(vcpu, machine, Exit::ReadMsr);
    match vcpu.injected.pop() {
        Some(exception) => Err(exception),
        None => Ok(vcpu.get(Gpr::Rdx) << 32 | vcpu.get(Gpr::Rax)),
    }
}

fn wrmsr(machine: &mut MockMachine, vcpu: &mut MockVcpu, msr: u32, value: u64) -> Result<(), Exception> {
    machine.memory.put(0x1000, WRMSR);
    vcpu.rip = 0x1000;
    vcpu.set(Gpr::Rcx, u64::from(msr));
    vcpu.set(Gpr::Rax, value | 0xffff_ffff << 32);
    vcpu.set(Gpr::Rdx, value >> 32);
    cpu_of(Guest::new(machine, policy(), false)).on_exit(vcpu, machine, Exit::WriteMsr);
    let done = vcpu.injected.pop().map_or(Ok(()), Err);
    assert_eq!(vcpu.rip, if done.is_ok() { 0x1002 } else { 0x1000 });
    done
}

const EFER: u32 = 0xc000_0080;

#[test]
fn efer_takes_what_the_cpu_has_and_no_bit_of_the_vmms() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::real());
    assert_eq!(wrmsr(&mut machine, &mut vcpu, EFER, 1 | LME | NXE), Ok(()));
    assert_eq!(vcpu.control.efer, 1 | LME | NXE);
    assert_eq!(rdmsr(&mut machine, &mut vcpu, EFER), Ok(1 | LME | NXE));
    for bit in [2, 9, 12, 13, 15, 16, 17, 18, 20, 21, 63] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, EFER, 1 << bit), Err(GP), "bit {bit}");
    }
    assert_eq!(vcpu.control.efer, 1 | LME | NXE);
}

#[test]
fn efer_lme_is_fixed_while_paging_is_on_and_lma_is_the_cpus() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    vcpu.control.cr0 |= 1 << 31;
    vcpu.control.efer = LME | 1 << 10;
    vcpu.control.cr0 &= !(1 << 31);
    assert_eq!(wrmsr(&mut machine, &mut vcpu, EFER, LME | NXE), Ok(()));
    assert_eq!(vcpu.control.efer, LME | 1 << 10 | NXE);
    vcpu.control.cr0 |= 1 << 31;
    vcpu.control.efer = LME | 1 << 10;
    // No translation of the code is wanted here.
    vcpu.instruction_len = Some(2);
    assert_eq!(wrmsr(&mut machine, &mut vcpu, EFER, NXE), Err(GP));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, EFER, LME | NXE), Ok(()));
}

#[test]
fn locked_register_shows_what_its_rule_names_and_ignores_or_refuses_writes() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    // Nothing of it is native, so the CPU need not have it.
    assert_eq!(rdmsr(&mut machine, &mut vcpu, DISABLED), Ok(0x18));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, DISABLED, 0), Ok(()));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, DISABLED, 0x1f), Ok(()));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, DISABLED, 0x20), Err(GP));
    machine.msrs.insert(LOCKED, 0x12_0004);
    assert_eq!(rdmsr(&mut machine, &mut vcpu, LOCKED), Ok(0x12_0001));
    for value in [0, 1, 5, 0x12_0001, 0x12_0004] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, LOCKED, value), Err(GP));
    }
    assert_eq!(machine.msrs[&LOCKED], 0x12_0004);
    machine.msrs.clear();
    assert_eq!(rdmsr(&mut machine, &mut vcpu, LOCKED), Err(GP), "the CPU has no such register");
}

#[test]
fn absent_register_raises_gp_though_the_cpu_has_it() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    for msr in ABSENT {
        machine.msrs.insert(msr, 5);
        assert_eq!(rdmsr(&mut machine, &mut vcpu, msr), Err(GP));
        assert_eq!(wrmsr(&mut machine, &mut vcpu, msr, 5), Err(GP));
        assert_eq!(machine.msrs[&msr], 5);
    }
}

#[test]
fn frozen_register_keeps_its_value_and_takes_it_again() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    for msr in [FROZEN, FROZEN + 1] {
        machine.msrs.insert(msr, 0x1_2345_6789);
        assert_eq!(rdmsr(&mut machine, &mut vcpu, msr), Ok(0x1_2345_6789));
        assert_eq!(wrmsr(&mut machine, &mut vcpu, msr, 0x1_2345_6789), Ok(()));
        assert_eq!(wrmsr(&mut machine, &mut vcpu, msr, 0), Err(GP));
        assert_eq!(machine.msrs[&msr], 0x1_2345_6789);
    }
}

#[test]
fn frozen_register_lets_the_guest_change_its_free_bits_only() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(PARTLY_FROZEN, 0x74_0000);
    assert_eq!(wrmsr(&mut machine, &mut vcpu, PARTLY_FROZEN, 0x7c_0000), Ok(()));
    assert_eq!(machine.msrs[&PARTLY_FROZEN], 0x7c_0000);
    for bit in [20, 21, 22, 23, 24] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, PARTLY_FROZEN, 0x7c_0000 ^ 1 << bit), Err(GP));
    }
}

#[test]
fn memory_type_goes_to_the_cpu_and_the_virtual_cpu_is_told() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    let [msr, without] = [*MEMORY_TYPES.start(), *MEMORY_TYPES.end()];
    machine.msrs.insert(msr, 6);
    assert_eq!(wrmsr(&mut machine, &mut vcpu, msr, 0x8000_0006), Ok(()));
    assert_eq!((machine.msrs[&msr], vcpu.memory_types_changed), (0x8000_0006, 1));
    assert_eq!(rdmsr(&mut machine, &mut vcpu, msr), Ok(0x8000_0006));
    assert_eq!(vcpu.memory_types_changed, 1, "reading changes nothing");
    assert_eq!(wrmsr(&mut machine, &mut vcpu, without, 0), Err(GP), "the CPU has fewer of them");
    assert_eq!(vcpu.memory_types_changed, 1);
}

#[test]
fn local_apic_moves_but_not_onto_vmm_memory() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(0x1b, 0xfee0_0900);
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x1b, 0xfed0_0900), Ok(()));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x1b, VMM.start | 0x900), Err(GP));
    assert_eq!(machine.msrs[&0x1b], 0xfed0_0900);
}

#[test]
fn microcode_updates_vanish_with_one_log_line() {
    let (mut machine, mut vcpu) = (MockMachine::with_code(WRMSR), MockVcpu::long());
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    machine.msrs.insert(MICROCODE, 0);
    log_lines();
    for _ in 0..3 {
        vcpu.rip = 0x1000;
        vcpu.set(Gpr::Rcx, u64::from(MICROCODE));
        vcpu.set(Gpr::Rax, 0x1234);
        cpu.on_exit(&mut vcpu, &mut machine, Exit::WriteMsr);
    }
    assert_eq!((vcpu.rip, vcpu.injected.len(), machine.msrs[&MICROCODE]), (0x1002, 0, 0));
    assert_eq!(log_lines().len(), 1);
}

#[test]
fn msr_outside_the_table_raises_gp() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(0x4b56_4d00, 1);
    assert_eq!(rdmsr(&mut machine, &mut vcpu, 0x4b56_4d00), Err(GP));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x4b56_4d00, 2), Err(GP));
    assert_eq!(machine.msrs[&0x4b56_4d00], 1);
}

#[test]
fn each_entry_is_found_from_its_first_to_its_last_register_and_not_beside() {
    const fn frozen(msrs: core::ops::RangeInclusive<u32>) -> MsrIntercept {
        MsrIntercept::range(msrs, Rule::FROZEN, "test")
    }
    const RUNS: &[MsrIntercept] = &[frozen(3..=5), frozen(6..=6), frozen(20..=30), frozen(u32::MAX..=u32::MAX)];
    for table in (0..=RUNS.len()).map(|len| &RUNS[..len]) {
        for msr in (0..40).chain([u32::MAX - 1, u32::MAX]) {
            let mut machine = MockMachine::with_code(RDMSR);
            machine.msrs.insert(msr, 7);
            let mut vcpu = MockVcpu::long();
            vcpu.set(Gpr::Rcx, u64::from(msr));
            let policy = Policy { msrs: table, ..Policy::default() };
            cpu_of(Guest::new(&mut machine, policy, false)).on_exit(&mut vcpu, &mut machine, Exit::ReadMsr);
            let listed = table.iter().any(|entry| entry.msrs().contains(&msr));
            assert_eq!(vcpu.get(Gpr::Rax) == 7, listed, "{msr:#x} of {} entries", table.len());
            assert_eq!(vcpu.injected.is_empty(), listed, "{msr:#x} of {} entries", table.len());
        }
    }
}

#[test]
fn table_out_of_order_or_without_a_reason_is_told() {
    const fn entry(first: u32, last: u32, reason: &'static str) -> MsrIntercept {
        MsrIntercept::range(first..=last, Rule::Absent, reason)
    }
    let good = [entry(1, 2, "a"), entry(3, 3, "b"), entry(9, 10, "c")];
    assert!(in_order(&[]) && in_order(&good));
    assert!(!in_order(&[good[1], good[0]]), "descending");
    assert!(!in_order(&[good[0], good[0]]), "twice");
    assert!(!in_order(&[good[0], entry(2, 5, "b")]), "overlapping");
    assert!(!in_order(&[entry(2, 1, "a")]), "empty");
    assert!(!in_order(&[entry(1, 1, "")]), "no reason");
}
