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

/// MTRRs of a CPU with two variable ranges, all of its memory write-back.
fn give_mtrrs(machine: &mut MockMachine) {
    let fixed = [0x250, 0x258, 0x259].into_iter().chain(0x268..=0x26f);
    machine.msrs.extend(fixed.chain(0x200..=0x203).map(|msr| (msr, 0)));
    machine.msrs.extend([(0xfe, 0x502), (0x2ff, 0x806)]);
}

#[test]
fn mtrrs_are_the_guests_and_the_cpus_stay() {
    let (mut machine, mut vcpu) = (MockMachine::with_code(WRMSR), MockVcpu::long());
    give_mtrrs(&mut machine);
    let before = machine.msrs.clone();
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    let mut write = |vcpu: &mut MockVcpu, machine: &mut MockMachine, msr: u32, value: u64| {
        vcpu.rip = 0x1000;
        vcpu.instruction_len = Some(2);
        vcpu.set(Gpr::Rcx, u64::from(msr));
        vcpu.set(Gpr::Rax, value & 0xffff_ffff);
        vcpu.set(Gpr::Rdx, value >> 32);
        cpu.on_exit(vcpu, machine, Exit::WriteMsr);
        let refused = vcpu.injected.pop();
        vcpu.set(Gpr::Rax, 0);
        vcpu.set(Gpr::Rdx, 0);
        cpu.on_exit(vcpu, machine, Exit::ReadMsr);
        vcpu.injected.clear();
        (refused, vcpu.get(Gpr::Rdx) << 32 | vcpu.get(Gpr::Rax))
    };
    // 1 MiB of the VMM's memory, uncacheable; told while MTRRs are on.
    for (msr, value, told) in [
        (0x2ff, 0x6, 0),
        (0x202, 6 << 20, 0),
        (0x203, 0xf_fff0_0800, 0),
        (0x2ff, 0x806, 1),
        (0x2ff, 0x806, 1),
        (0x203, 0xf_ffe0_0800, 2),
    ] {
        assert_eq!(write(&mut vcpu, &mut machine, msr, value), (None, value), "{msr:#x}");
        assert_eq!(vcpu.memory_types.len(), told, "after {msr:#x} = {value:#x}");
    }
    assert_eq!(vcpu.memory_types[0].type_of(6 << 20, 1 << 20), Some(x86::MemoryType::Uncacheable));
    assert_eq!(vcpu.memory_types[0].type_of(7 << 20, 1 << 20), Some(x86::MemoryType::WriteBack));
    // A type that is none, an address that the CPU has not, a register that it has not.
    for (msr, value) in [(0x2ff, 0x802), (0x202, 1 << 60), (0x204, 0), (0x2fe, 0)] {
        assert_eq!(write(&mut vcpu, &mut machine, msr, value).0, Some(GP), "{msr:#x}");
    }
    assert_eq!((vcpu.memory_types.len(), &machine.msrs), (2, &before));
}

#[test]
fn mtrrs_of_a_cpu_without_raise_gp() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    assert_eq!(rdmsr(&mut machine, &mut vcpu, 0x2ff), Err(GP));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x200, 0), Err(GP));
}

#[test]
fn local_apic_changes_its_mode_but_not_its_place() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(0x1b, 0xfee0_0900);
    for value in [0xfed0_0900, VMM.start | 0x900, 0x900, 0x8_fee0_0900] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x1b, value), Err(GP), "{value:#x}");
    }
    assert_eq!(machine.msrs[&0x1b], 0xfee0_0900);
    for value in [0xfee0_0d00, 0xfee0_0100, 0xfee0_0900] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x1b, value), Ok(()));
        assert_eq!(machine.msrs[&0x1b], value);
    }
}

#[test]
fn tsc_moves_by_an_offset_that_tsc_adjust_tells_of() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    // The firmware has moved it already.
    machine.msrs.insert(TSC_ADJUST, 0x50);
    machine.tsc = 1000;
    assert_eq!(rdmsr(&mut machine, &mut vcpu, TSC_ADJUST), Ok(0x50));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x10, 5000), Ok(()));
    assert_eq!(vcpu.tsc_offset, 4000);
    assert_eq!(rdmsr(&mut machine, &mut vcpu, TSC_ADJUST), Ok(0x50 + 4000));
    // Back by 4100: the guest's TSC is behind the CPU's.
    assert_eq!(wrmsr(&mut machine, &mut vcpu, TSC_ADJUST, 0x50_u64.wrapping_sub(100)), Ok(()));
    assert_eq!(vcpu.tsc_offset, 100_u64.wrapping_neg());
    assert_eq!(rdmsr(&mut machine, &mut vcpu, TSC_ADJUST), Ok(0x50_u64.wrapping_sub(100)));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, TSC_ADJUST, 0x50), Ok(()));
    assert_eq!((vcpu.tsc_offset, machine.msrs[&TSC_ADJUST]), (0, 0x50), "the CPU's never moves");
}

#[test]
fn tsc_adjust_of_a_cpu_without_raises_gp_and_the_tsc_can_still_be_set() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    assert_eq!(rdmsr(&mut machine, &mut vcpu, TSC_ADJUST), Err(GP));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, TSC_ADJUST, 0), Err(GP));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x10, 7), Ok(()));
    assert_eq!(vcpu.tsc_offset, 7);
}

#[test]
fn deadline_fires_when_the_guests_tsc_reaches_it() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(TSC_DEADLINE, 0);
    machine.tsc = 1000;
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x10, 9000), Ok(()));
    assert_eq!(machine.msrs[&TSC_DEADLINE], 0, "a timer that is not armed stays so");
    assert_eq!(wrmsr(&mut machine, &mut vcpu, TSC_DEADLINE, 9500), Ok(()));
    assert_eq!(machine.msrs[&TSC_DEADLINE], 1500);
    assert_eq!(rdmsr(&mut machine, &mut vcpu, TSC_DEADLINE), Ok(9500));
    // The clock is set back: it fires later.
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x10, 100), Ok(()));
    assert_eq!(machine.msrs[&TSC_DEADLINE], 1000 + 9400);
    // The clock is set past it: it fires at once.
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0x10, u64::MAX / 2), Ok(()));
    assert_eq!(machine.msrs[&TSC_DEADLINE], 1);
    for (value, deadline) in
        [(0, 0), (1, 1), (u64::MAX / 2, 1), (u64::MAX / 2 + 3, 1003), (u64::MAX, u64::MAX / 2 + 1001)]
    {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, TSC_DEADLINE, value), Ok(()));
        assert_eq!(machine.msrs[&TSC_DEADLINE], deadline, "deadline {value:#x}");
    }
    machine.msrs.insert(TSC_DEADLINE, 0);
    assert_eq!(rdmsr(&mut machine, &mut vcpu, TSC_DEADLINE), Ok(0), "not armed");
}

#[test]
fn masked_register_takes_what_it_may_and_drops_the_rest() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(MASKED, 0x1000_0010);
    for (value, after) in [
        (0x1000_0020, 0x1000_0020), // free bits both ways
        (0xffff_ffff, 0x1000_00f2), // and the bit that may be set
        (0, 0x1000_0002),           // which stays
        (1 << 63, 0x1000_0002),
    ] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, MASKED, value), Ok(()));
        assert_eq!(machine.msrs[&MASKED], after, "{value:#x}");
    }
    machine.msrs.clear();
    assert_eq!(wrmsr(&mut machine, &mut vcpu, MASKED, 0), Err(GP), "the CPU has no such register");
}

#[test]
fn forced_bits_are_written_whatever_the_guest_says() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(FORCED, 0);
    for (value, after) in [(0, 1 << 40), (3 << 40 | 0x43_00c0, 1 << 40 | 0x43_00c0), (1 << 41, 1 << 40)] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, FORCED, value), Ok(()));
        assert_eq!(machine.msrs[&FORCED], after);
    }
}

#[test]
fn counters_are_switched_with_the_guest_and_stand_still_in_the_vmm() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(COUNTER_CONTROL, 0);
    assert_eq!(wrmsr(&mut machine, &mut vcpu, COUNTER_CONTROL, 7 << 32 | 0xf), Ok(()));
    assert_eq!((vcpu.counter_control, machine.msrs[&COUNTER_CONTROL]), (Some(7 << 32 | 0xf), 0));
    machine.msrs.clear();
    assert_eq!(wrmsr(&mut machine, &mut vcpu, COUNTER_CONTROL, 1 << 63), Err(GP), "as the CPU refuses it");
    assert_eq!(vcpu.counter_control, Some(7 << 32 | 0xf));
}

#[test]
fn register_beyond_the_permission_map_passes_by_hand() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(PASS, 5);
    assert_eq!(rdmsr(&mut machine, &mut vcpu, PASS), Ok(5));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, PASS, 6), Ok(()));
    assert_eq!(machine.msrs[&PASS], 6);
    machine.msrs.clear();
    assert_eq!((rdmsr(&mut machine, &mut vcpu, PASS), wrmsr(&mut machine, &mut vcpu, PASS, 6)), (Err(GP), Err(GP)));
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
fn each_refused_register_is_named_once_and_a_sweep_ends_the_naming() {
    let (mut machine, mut vcpu) = (MockMachine::with_code(RDMSR), MockVcpu::long());
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    log_lines();
    let mut read = |msr: u32| {
        vcpu.rip = 0x1000;
        vcpu.set(Gpr::Rcx, u64::from(msr));
        cpu.on_exit(&mut vcpu, &mut machine, Exit::ReadMsr);
        assert_eq!(vcpu.injected.pop(), Some(GP));
        log_lines()
    };
    assert_eq!(read(0x4b56_4d00), ["guest's read of MSR 0x4b564d00: #GP: in no table"]);
    assert_eq!(read(*ABSENT.start()), ["guest's read of MSR 0x480 (TEST): #GP: test"]);
    assert_eq!((read(0x4b56_4d00), read(*ABSENT.start())), (alloc::vec![], alloc::vec![]));
    let lines: usize = (0x4000_0000..0x4000_0100).map(|msr| read(msr).len()).sum();
    assert_eq!(lines, 30 + 1, "30 more, and that there is no more");
    assert_eq!(read(0x4fff_ffff).len(), 0);
}
