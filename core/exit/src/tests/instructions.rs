//! CPUID, MSRs, hypercalls, and how instructions are found and measured.

use super::mock::*;
use crate::*;
use abi::hypercall::{DEBUG_LOG_COUNTERS, UNKNOWN};
use alloc::boxed::Box;
use mediator::GuestMemory;

const CPUID: &[u8] = &[0x0f, 0xa2];
const RDMSR: &[u8] = &[0x0f, 0x32];
const WRMSR: &[u8] = &[0x0f, 0x30];
const VMMCALL: &[u8] = &[0x0f, 0x01, 0xd9];
const LME: u64 = 1 << 8;
const NXE: u64 = 1 << 11;
const GP: Exception = Exception::GeneralProtection(0);

fn cpuid(leaf: u32, native: CpuidLeaf, cr4: u64) -> CpuidLeaf {
    let mut machine = MockMachine::with_code(CPUID);
    machine.leaves.insert((leaf, 0), native);
    let mut vcpu = MockVcpu::long();
    vcpu.control.cr4 = cr4;
    vcpu.set(Gpr::Rax, u64::from(leaf) | 0xdead << 32);
    let mut guest = Guest::new(&mut machine, false);
    assert_eq!(guest.on_exit(&mut vcpu, &mut machine, Exit::Cpuid), Outcome::Resume);
    assert_eq!(vcpu.rip, 0x1002);
    let [eax, ebx, ecx, edx] =
        [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].map(|gpr| u32::try_from(vcpu.get(gpr)).unwrap());
    CpuidLeaf { eax, ebx, ecx, edx }
}

const ONES: CpuidLeaf = CpuidLeaf { eax: !0, ebx: !0, ecx: !0, edx: !0 };

#[test]
fn leaf_without_a_rule_is_native_for_its_subleaf() {
    let mut machine = MockMachine::with_code(CPUID);
    machine.leaves.insert((0xd, 2), CpuidLeaf { eax: 1, ebx: 2, ecx: 3, edx: 4 });
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rax, 0xd);
    vcpu.set(Gpr::Rcx, 2);
    Guest::new(&mut machine, false).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!([Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].map(|gpr| vcpu.get(gpr)), [1, 2, 3, 4]);
}

#[test]
fn cpuid_hides_svm_skinit_vmx_and_encrypted_memory() {
    assert_eq!(cpuid(0x8000_0001, ONES, 0), CpuidLeaf { ecx: !(1 << 2 | 1 << 12), ..ONES });
    assert_eq!(cpuid(0x8000_000a, ONES, 0), CpuidLeaf::default());
    assert_eq!(cpuid(0x8000_001f, ONES, 0), CpuidLeaf::default());
    assert_eq!(cpuid(1, ONES, 0).ecx & (1 << 5 | 1 << 6), 0);
}

#[test]
fn cpuid_mirrors_osxsave_and_ospke_from_the_guests_cr4() {
    let none = CpuidLeaf::default();
    assert_eq!(cpuid(1, ONES, 0).ecx & 1 << 27, 0);
    assert_eq!(cpuid(1, none, 1 << 18).ecx & 1 << 27, 1 << 27);
    assert_eq!(cpuid(7, ONES, 0).ecx, !(1 << 4));
    assert_eq!(cpuid(7, CpuidLeaf { ecx: 1 << 3, ..none }, 1 << 22).ecx, 1 << 3 | 1 << 4);
    assert_eq!(cpuid(7, none, 1 << 22).ecx, 0);
}

#[test]
fn cpuid_shows_shoji_and_nothing_of_a_hypervisor_below() {
    assert_eq!(cpuid(1, CpuidLeaf::default(), 0).ecx, 1 << 31);
    let CpuidLeaf { eax, ebx, ecx, edx } = cpuid(0x4000_0000, ONES, 0);
    assert_eq!(eax, 0x4000_0000);
    let name: alloc::vec::Vec<u8> = [ebx, ecx, edx].into_iter().flat_map(u32::to_le_bytes).collect();
    assert_eq!(&name, b"Shoji\0\0\0\0\0\0\0");
    for leaf in [0x4000_0001, 0x4000_00ff, 0x4000_0100, 0x4fff_ffff] {
        assert_eq!(cpuid(leaf, ONES, 0), CpuidLeaf::default());
    }
}

fn exit_at(code: &[u8], vcpu: &mut MockVcpu, exit: Exit) -> Outcome {
    let mut machine = MockMachine::with_code(code);
    Guest::new(&mut machine, false).on_exit(vcpu, &mut machine, exit)
}

#[test]
fn length_comes_from_the_cpu_where_it_tells() {
    let mut vcpu = MockVcpu::long();
    vcpu.instruction_len = Some(7);
    exit_at(&[0xcc], &mut vcpu, Exit::Cpuid);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x1007, 0));
}

#[test]
fn prefixes_count_into_the_length() {
    let mut vcpu = MockVcpu::long();
    exit_at(&[0x66, 0x48, 0x0f, 0xa2], &mut vcpu, Exit::Cpuid);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x1004, 0));
}

#[test]
fn instruction_that_turns_out_to_be_another_one_raises_ud() {
    let mut vcpu = MockVcpu::long();
    assert_eq!(exit_at(RDMSR, &mut vcpu, Exit::Cpuid), Outcome::Resume);
    assert_eq!((vcpu.rip, &vcpu.injected[..]), (0x1000, &[Exception::InvalidOpcode][..]));
}

#[test]
fn instruction_in_vmm_memory_raises_ud() {
    let mut vcpu = MockVcpu::long();
    vcpu.rip = VMM.start;
    exit_at(CPUID, &mut vcpu, Exit::Cpuid);
    assert_eq!(vcpu.injected, [Exception::InvalidOpcode]);
}

#[test]
fn instruction_is_found_at_cs_base_plus_ip_in_real_mode() {
    let mut vcpu = MockVcpu::real();
    vcpu.segments[SegmentName::Cs as usize].base = 0x800;
    vcpu.rip = 0x800;
    exit_at(CPUID, &mut vcpu, Exit::Cpuid);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x802, 0));
}

/// 4-level tables at 10000h: linear 40_0000h is 20_0000h + `page`; the page after it is missing.
fn map(machine: &mut MockMachine, page: u64) {
    for (at, entry) in [(0x10000, 0x11003_u64), (0x11000, 0x12003), (0x12010, 0x13003), (0x13000, page | 3)] {
        machine.memory.put(at, &entry.to_le_bytes());
    }
}

fn paged(rip: u64) -> MockVcpu {
    let mut vcpu = MockVcpu::long();
    vcpu.control = ControlRegisters { cr0: 0x8000_0001, cr3: 0x10000, cr4: 0x20, efer: 0xd00 };
    vcpu.rip = rip;
    vcpu
}

#[test]
fn code_that_is_no_longer_mapped_raises_a_fetch_page_fault() {
    let mut machine = MockMachine::new();
    let mut vcpu = paged(0x40_1000);
    map(&mut machine, 0x20_0000);
    Guest::new(&mut machine, false).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!(vcpu.injected, [Exception::PageFault { error: 1 << 4, address: 0x40_1000 }]);
}

#[test]
fn instruction_across_a_page_boundary_faults_at_the_page_that_is_missing() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0fff, CPUID);
    let mut vcpu = paged(0x40_0fff);
    Guest::new(&mut machine, false).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!(vcpu.injected, [Exception::PageFault { error: 1 << 4, address: 0x40_1000 }]);
}

#[test]
fn page_found_before_does_not_hide_the_missing_one_behind_it() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0000, CPUID);
    machine.memory.put(0x20_0fff, CPUID);
    let mut guest = Guest::new(&mut machine, false);
    guest.on_exit(&mut paged(0x40_0000), &mut machine, Exit::Cpuid);
    let mut vcpu = paged(0x40_0fff);
    guest.on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!(vcpu.injected, [Exception::PageFault { error: 1 << 4, address: 0x40_1000 }]);
}

#[test]
fn instruction_at_the_end_of_a_page_does_not_need_the_next() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0ffd, &[0x66, 0x0f, 0xa2]);
    let mut vcpu = paged(0x40_0ffd);
    Guest::new(&mut machine, false).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x40_1000, 0));
}

#[test]
fn cached_translation_is_dropped_with_cr3_or_the_mode() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0000, CPUID);
    let mut guest = Guest::new(&mut machine, false);
    guest.on_exit(&mut paged(0x40_0000), &mut machine, Exit::Cpuid);
    let mut other = paged(0x40_0000);
    other.control.cr3 = 0x1_4000;
    guest.on_exit(&mut other, &mut machine, Exit::Cpuid);
    assert!(matches!(other.injected[..], [Exception::PageFault { .. }]));
    let mut unpaged = MockVcpu::long();
    unpaged.rip = 0x40_0000;
    guest.on_exit(&mut unpaged, &mut machine, Exit::Cpuid);
    assert_eq!(unpaged.injected, [Exception::InvalidOpcode]);
}

fn rdmsr(machine: &mut MockMachine, vcpu: &mut MockVcpu, msr: u32) -> Result<u64, Exception> {
    machine.memory.put(0x1000, RDMSR);
    vcpu.rip = 0x1000;
    vcpu.set(Gpr::Rcx, u64::from(msr));
    Guest::new(machine, false).on_exit(vcpu, machine, Exit::ReadMsr);
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
    Guest::new(machine, false).on_exit(vcpu, machine, Exit::WriteMsr);
    let done = vcpu.injected.pop().map_or(Ok(()), Err);
    assert_eq!(vcpu.rip, if done.is_ok() { 0x1002 } else { 0x1000 });
    done
}

const EFER: u32 = 0xc000_0080;

#[test]
fn efer_takes_what_the_cpu_has_and_never_svme() {
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
fn svm_looks_disabled_and_locked() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    assert_eq!(rdmsr(&mut machine, &mut vcpu, 0xc001_0114), Ok(0x18));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0xc001_0114, 0), Ok(()));
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0xc001_0114, 0x20), Err(GP));
    for msr in [0xc001_0116, 0xc001_0117, 0xc001_0118, 0xc001_0119] {
        machine.msrs.insert(msr, 5);
        assert_eq!(rdmsr(&mut machine, &mut vcpu, msr), Err(GP));
        assert_eq!(wrmsr(&mut machine, &mut vcpu, msr, 5), Err(GP));
        assert_eq!(machine.msrs[&msr], 5);
    }
}

#[test]
fn registers_that_route_vmm_memory_keep_their_value() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    for msr in [0xc001_0016, 0xc001_0019, 0xc001_001a, 0xc001_001d, 0xc001_0058, 0xc001_0111, 0xc001_0113] {
        machine.msrs.insert(msr, 0x1_2345_6789);
        assert_eq!(rdmsr(&mut machine, &mut vcpu, msr), Ok(0x1_2345_6789));
        assert_eq!(wrmsr(&mut machine, &mut vcpu, msr, 0x1_2345_6789), Ok(()));
        assert_eq!(wrmsr(&mut machine, &mut vcpu, msr, 0), Err(GP));
        assert_eq!(machine.msrs[&msr], 0x1_2345_6789);
    }
}

#[test]
fn syscfg_lets_the_guest_change_the_fixed_mtrr_bits_only() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    machine.msrs.insert(0xc001_0010, 0x74_0000);
    assert_eq!(wrmsr(&mut machine, &mut vcpu, 0xc001_0010, 0x7c_0000), Ok(()));
    assert_eq!(machine.msrs[&0xc001_0010], 0x7c_0000);
    for bit in [20, 21, 22, 23, 24] {
        assert_eq!(wrmsr(&mut machine, &mut vcpu, 0xc001_0010, 0x7c_0000 ^ 1 << bit), Err(GP));
    }
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
    let mut guest = Guest::new(&mut machine, false);
    machine.msrs.insert(0xc001_0020, 0);
    log_lines();
    for _ in 0..3 {
        vcpu.rip = 0x1000;
        vcpu.set(Gpr::Rcx, 0xc001_0020);
        vcpu.set(Gpr::Rax, 0x1234);
        guest.on_exit(&mut vcpu, &mut machine, Exit::WriteMsr);
    }
    assert_eq!((vcpu.rip, vcpu.injected.len(), machine.msrs[&0xc001_0020]), (0x1002, 0, 0));
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
fn every_intercepted_msr_has_a_reason_and_stands_there_once() {
    for (i, intercept) in MSR_INTERCEPTS.iter().enumerate() {
        assert!(!intercept.reason.is_empty() && (intercept.read || intercept.write));
        assert!(MSR_INTERCEPTS[..i].iter().all(|other| other.msr != intercept.msr));
    }
}

#[test]
fn virtualization_instruction_raises_ud() {
    let mut vcpu = MockVcpu::long();
    assert_eq!(exit_at(&[], &mut vcpu, Exit::VirtualizationInstruction), Outcome::Resume);
    assert_eq!((vcpu.rip, &vcpu.injected[..]), (0x1000, &[Exception::InvalidOpcode][..]));
}

#[test]
fn triple_fault_and_invalid_state_reset_and_an_exit_that_nobody_asked_for_stops() {
    let vcpu = &mut MockVcpu::long();
    assert_eq!(exit_at(&[], vcpu, Exit::Shutdown), Outcome::Reset);
    assert_eq!(exit_at(&[], vcpu, Exit::InvalidState), Outcome::Reset);
    assert_eq!(exit_at(&[], vcpu, Exit::Unexpected(0x99)), Outcome::Stop);
    assert_eq!(exit_at(&[], vcpu, Exit::Answered(ExitKind::Nmi)), Outcome::Resume);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x1000, 0));
}

#[test]
fn init_resets_the_machine_instead_of_leading_out_of_the_virtual_machine() {
    assert_eq!(exit_at(&[], &mut MockVcpu::long(), Exit::Init), Outcome::Reset);
}

#[test]
fn invd_is_skipped_with_its_prefixes() {
    let mut vcpu = MockVcpu::long();
    assert_eq!(exit_at(&[0x48, 0x0f, 0x08], &mut vcpu, Exit::InvalidateCaches), Outcome::Resume);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x1003, 0));
}

#[test]
fn hypercall_raises_ud_unless_configured() {
    let mut vcpu = MockVcpu::long();
    exit_at(VMMCALL, &mut vcpu, Exit::Hypercall);
    assert_eq!((vcpu.rip, &vcpu.injected[..]), (0x1000, &[Exception::InvalidOpcode][..]));
}

#[test]
fn debug_hypercall_logs_the_counters() {
    let (mut machine, mut vcpu) = (MockMachine::with_code(VMMCALL), MockVcpu::long());
    let mut guest = Guest::new(&mut machine, true);
    vcpu.set(Gpr::Rax, DEBUG_LOG_COUNTERS);
    log_lines();
    guest.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rax), vcpu.rip), (0, 0x1003));
    assert!(log_lines().iter().any(|line| line == "exits: hypercall: 1"));
    vcpu.rip = 0x1000;
    vcpu.set(Gpr::Rax, 77);
    guest.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rax), vcpu.rip), (UNKNOWN, 0x1003));
    assert_eq!(guest.counters.get(ExitKind::Hypercall), 2);
}

struct Firmware;

impl FirmwareCall for Firmware {
    fn on_call(&mut self, vcpu: &mut dyn Vcpu, memory: &mut dyn GuestMemory) {
        vcpu.set_gpr(Gpr::Rbx, 42);
        memory.write(mediator::Gpa(0x5000), &[7]).unwrap();
    }
}

#[test]
fn firmware_stub_is_honoured_at_its_address_only() {
    let mut machine = MockMachine::with_code(VMMCALL);
    machine.memory.put(0x2000, VMMCALL);
    let mut guest = Guest::new(&mut machine, false);
    guest.set_firmware_call(0x1000, Box::new(Firmware));
    let mut vcpu = MockVcpu::real();
    guest.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rbx), vcpu.rip, machine.memory.0[0x5000]), (42, 0x1003, 7));
    let mut vcpu = MockVcpu::real();
    vcpu.rip = 0x2000;
    guest.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rbx), &vcpu.injected[..]), (0, &[Exception::InvalidOpcode][..]));
}

#[test]
fn user_program_that_maps_the_stubs_address_gets_no_firmware() {
    let mut machine = MockMachine::with_code(VMMCALL);
    let mut guest = Guest::new(&mut machine, false);
    guest.set_firmware_call(0x1000, Box::new(Firmware));
    for mut vcpu in [MockVcpu::long(), MockVcpu::protected()] {
        vcpu.cpl = 3;
        guest.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
        assert_eq!((machine.memory.0[0x5000], &vcpu.injected[..]), (0, &[Exception::InvalidOpcode][..]));
    }
}
