//! CPUID, hypercalls, and how instructions are found and measured.

use super::mock::*;
use crate::*;
use abi::hypercall::{DEBUG_LOG_COUNTERS, DEBUG_PROVOKE_DEFECT, DEBUG_QUEUE_INTERRUPT, UNKNOWN};
use alloc::boxed::Box;
use mediator::GuestMemory;

const CPUID: &[u8] = &[0x0f, 0xa2];
const RDMSR: &[u8] = &[0x0f, 0x32];

fn cpuid(leaf: u32, native: CpuidLeaf, cr4: u64) -> CpuidLeaf {
    let mut machine = MockMachine::with_code(CPUID);
    machine.leaves.insert((leaf, 0), native);
    let mut vcpu = MockVcpu::long();
    vcpu.control.cr4 = cr4;
    vcpu.set(Gpr::Rax, u64::from(leaf) | 0xdead << 32);
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    assert_eq!(cpu.on_exit(&mut vcpu, &mut machine, Exit::Cpuid), Outcome::Resume);
    assert_eq!(vcpu.rip, 0x1002);
    let [eax, ebx, ecx, edx] =
        [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].map(|gpr| u32::try_from(vcpu.get(gpr)).unwrap());
    CpuidLeaf { eax, ebx, ecx, edx }
}

const ONES: CpuidLeaf = CpuidLeaf::ONES;

#[test]
fn leaf_without_a_rule_is_native_for_its_subleaf() {
    let mut machine = MockMachine::with_code(CPUID);
    machine.leaves.insert((0xd, 2), CpuidLeaf { eax: 1, ebx: 2, ecx: 3, edx: 4 });
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rax, 0xd);
    vcpu.set(Gpr::Rcx, 2);
    cpu_of(Guest::new(&mut machine, policy(), false)).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!([Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx].map(|gpr| vcpu.get(gpr)), [1, 2, 3, 4]);
}

#[test]
fn cpuid_hides_what_the_vendors_policy_names_and_no_other_bit() {
    // Leaf 1 and leaf 8000_0001h of [`policy`], and leaves that lie beside them.
    let shown = cpuid(0x8000_0001, ONES, 0);
    assert_eq!(shown, CpuidLeaf { ecx: !(1 << 2 | 1 << 12), edx: !(1 << 27), ..ONES });
    assert_eq!(cpuid(0x8000_000a, ONES, 0), CpuidLeaf::ZEROS);
    assert_eq!(cpuid(0xa, ONES, 0), ONES);
    assert_eq!(cpuid(0x21, ONES, 0), ONES);
    assert_eq!(cpuid(0x8000_0021, ONES, 0), ONES);
}

#[test]
fn cpuid_hides_a_bit_in_its_subleaf_only_and_in_any_where_the_leaf_has_none() {
    for (leaf, subleaf, hidden) in [(0xd, 0, 0_u32), (0xd, 1, 1 << 3), (0xd, 2, 0), (0x8000_000a, 5, !0)] {
        let mut machine = MockMachine::with_code(CPUID);
        machine.leaves.insert((leaf, subleaf), ONES);
        let mut vcpu = MockVcpu::long();
        vcpu.set(Gpr::Rax, u64::from(leaf));
        vcpu.set(Gpr::Rcx, u64::from(subleaf));
        cpu_of(Guest::new(&mut machine, policy(), false)).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
        assert_eq!(vcpu.get(Gpr::Rax), u64::from(!hidden), "{leaf:x} {subleaf}");
    }
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
    cpu_of(Guest::new(&mut machine, policy(), false)).on_exit(vcpu, &mut machine, exit)
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
    cpu_of(Guest::new(&mut machine, policy(), false)).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!(vcpu.injected, [Exception::PageFault { error: 1 << 4, address: 0x40_1000 }]);
}

#[test]
fn instruction_across_a_page_boundary_faults_at_the_page_that_is_missing() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0fff, CPUID);
    let mut vcpu = paged(0x40_0fff);
    cpu_of(Guest::new(&mut machine, policy(), false)).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!(vcpu.injected, [Exception::PageFault { error: 1 << 4, address: 0x40_1000 }]);
}

#[test]
fn page_found_before_does_not_hide_the_missing_one_behind_it() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0000, CPUID);
    machine.memory.put(0x20_0fff, CPUID);
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    cpu.on_exit(&mut paged(0x40_0000), &mut machine, Exit::Cpuid);
    let mut vcpu = paged(0x40_0fff);
    cpu.on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!(vcpu.injected, [Exception::PageFault { error: 1 << 4, address: 0x40_1000 }]);
}

#[test]
fn instruction_at_the_end_of_a_page_does_not_need_the_next() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0ffd, &[0x66, 0x0f, 0xa2]);
    let mut vcpu = paged(0x40_0ffd);
    cpu_of(Guest::new(&mut machine, policy(), false)).on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
    assert_eq!((vcpu.rip, vcpu.injected.len()), (0x40_1000, 0));
}

#[test]
fn cached_translation_is_dropped_with_cr3_or_the_mode() {
    let mut machine = MockMachine::new();
    map(&mut machine, 0x20_0000);
    machine.memory.put(0x20_0000, CPUID);
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    cpu.on_exit(&mut paged(0x40_0000), &mut machine, Exit::Cpuid);
    let mut other = paged(0x40_0000);
    other.control.cr3 = 0x1_4000;
    cpu.on_exit(&mut other, &mut machine, Exit::Cpuid);
    assert!(matches!(other.injected[..], [Exception::PageFault { .. }]));
    let mut unpaged = MockVcpu::long();
    unpaged.rip = 0x40_0000;
    cpu.on_exit(&mut unpaged, &mut machine, Exit::Cpuid);
    assert_eq!(unpaged.injected, [Exception::InvalidOpcode]);
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
fn the_cpu_crate_learns_of_hlt_with_its_prefixes() {
    for code in [&[0xf4][..], &[0xf3, 0x48, 0xf4]] {
        let mut vcpu = MockVcpu::long();
        assert_eq!(exit_at(code, &mut vcpu, Exit::Halt), Outcome::Resume);
        assert_eq!((vcpu.halted, vcpu.rip), (true, 0x1000 + code.len() as u64));
        assert_eq!(vcpu.injected, []);
    }
}

#[test]
fn hypercall_raises_ud_unless_configured() {
    let mut vcpu = MockVcpu::long();
    exit_at(&HYPERCALL, &mut vcpu, Exit::Hypercall);
    assert_eq!((vcpu.rip, &vcpu.injected[..]), (0x1000, &[Exception::InvalidOpcode][..]));
}

#[test]
fn hypercall_of_the_other_vendor_is_none() {
    let mut machine = MockMachine::with_code(&[0x0f, 0x01, 0xc1]);
    let mut vcpu = MockVcpu::long();
    cpu_of(Guest::new(&mut machine, policy(), true)).on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.rip, &vcpu.injected[..]), (0x1000, &[Exception::InvalidOpcode][..]));
}

#[test]
fn debug_hypercall_logs_the_counters() {
    let (mut machine, mut vcpu) = (MockMachine::with_code(&HYPERCALL), MockVcpu::long());
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), true));
    vcpu.set(Gpr::Rax, DEBUG_LOG_COUNTERS);
    log_lines();
    cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rax), vcpu.rip), (0, 0x1003));
    assert!(log_lines().iter().any(|line| line == "exits: hypercall: 1"));
    vcpu.rip = 0x1000;
    vcpu.set(Gpr::Rax, 77);
    cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rax), vcpu.rip), (UNKNOWN, 0x1003));
    assert_eq!(cpu.counters.get(ExitKind::Hypercall), 2);
}

#[test]
fn debug_hypercall_queues_external_interrupts_and_refuses_the_vectors_of_the_cpu() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), true));
    let mut vcpu = MockVcpu::long();
    for (vector, result) in [(31, UNKNOWN), (32, 0), (255, 0), (256, UNKNOWN), (0x1_0000_0020, UNKNOWN), (0, UNKNOWN)] {
        vcpu.rip = 0x1000;
        vcpu.set(Gpr::Rax, DEBUG_QUEUE_INTERRUPT);
        vcpu.set(Gpr::Rbx, vector);
        cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
        assert_eq!((vcpu.get(Gpr::Rax), vcpu.rip), (result, 0x1003), "vector {vector}");
    }
    assert_eq!(vcpu.queued, [32, 255]);
}

#[test]
fn defects_are_provoked_where_hypercalls_and_they_are_allowed_and_nowhere_else() {
    for (hypercalls, defects) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut machine, mut vcpu) = (MockMachine::with_code(&HYPERCALL), MockVcpu::long());
        let mut guest = Guest::new(&mut machine, policy(), hypercalls);
        if defects {
            guest.allow_defects();
        }
        let mut cpu = cpu_of(guest);
        vcpu.set(Gpr::Rax, DEBUG_PROVOKE_DEFECT);
        vcpu.set(Gpr::Rbx, 1);
        cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
        let provoked: &[u64] = if hypercalls && defects { &[1] } else { &[] };
        assert_eq!(machine.provoked, provoked, "{hypercalls} {defects}");
        let result = if hypercalls { UNKNOWN } else { DEBUG_PROVOKE_DEFECT };
        assert_eq!(vcpu.get(Gpr::Rax), result);
    }
}

#[test]
fn debug_hypercalls_are_the_kernels() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), true));
    let mut vcpu = MockVcpu { cpl: 3, ..MockVcpu::long() };
    vcpu.set(Gpr::Rax, DEBUG_QUEUE_INTERRUPT);
    vcpu.set(Gpr::Rbx, 32);
    cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.rip, &vcpu.injected[..]), (0x1000, &[Exception::InvalidOpcode][..]));
    assert!(vcpu.queued.is_empty());
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
    let mut machine = MockMachine::with_code(&HYPERCALL);
    machine.memory.put(0x2000, &HYPERCALL);
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.set_firmware_call(0x1000, Box::new(Firmware));
    let mut cpu = cpu_of(guest);
    let mut vcpu = MockVcpu::real();
    cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rbx), vcpu.rip, machine.memory.bytes[0x5000]), (42, 0x1003, 7));
    let mut vcpu = MockVcpu::real();
    vcpu.rip = 0x2000;
    cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    assert_eq!((vcpu.get(Gpr::Rbx), &vcpu.injected[..]), (0, &[Exception::InvalidOpcode][..]));
}

#[test]
fn user_program_that_maps_the_stubs_address_gets_no_firmware() {
    let mut machine = MockMachine::with_code(&HYPERCALL);
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.set_firmware_call(0x1000, Box::new(Firmware));
    let mut cpu = cpu_of(guest);
    for mut vcpu in [MockVcpu::long(), MockVcpu::protected()] {
        vcpu.cpl = 3;
        cpu.on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
        assert_eq!((machine.memory.bytes[0x5000], &vcpu.injected[..]), (0, &[Exception::InvalidOpcode][..]));
    }
}

/// Virtual-8086 mode: the stub at 1000h, the buffer at 3FF0h, the stack at 7FFEh, so that both reach into a second page. 32-bit paging;
/// the pages of the lowest 64 KiB are mapped one to one, but for `moved`.
fn firmware_in_virtual_8086_mode(moved: Option<u32>) -> (MockVcpu, u8) {
    const TABLES: u64 = 0x2_0000;
    let mut machine = MockMachine::with_code(&HYPERCALL);
    machine.memory.put(0x9000, &HYPERCALL);
    machine.memory.put(TABLES, &((TABLES as u32 + 0x1000) | 7).to_le_bytes());
    for page in 0..16 {
        let frame = if moved == Some(page) { 9 } else { page };
        machine.memory.put(TABLES + 0x1000 + 4 * u64::from(page), &(frame << 12 | 7).to_le_bytes());
    }
    let mut guest = Guest::new(&mut machine, policy(), false);
    guest.set_firmware_call(0x1000, Box::new(Firmware));
    let mut vcpu = MockVcpu { cpl: 3, ..MockVcpu::real() };
    vcpu.rflags |= 1 << 17;
    vcpu.control = ControlRegisters { cr0: 1 << 31 | 1, cr3: TABLES, ..ControlRegisters::default() };
    vcpu.segments[SegmentName::Es as usize].base = 0x3000;
    vcpu.set(Gpr::Rdi, 0xabcd_0ff0);
    vcpu.segments[SegmentName::Ss as usize].base = 0x7000;
    vcpu.set(Gpr::Rsp, 0xffe);
    cpu_of(guest).on_exit(&mut vcpu, &mut machine, Exit::Hypercall);
    let written = machine.memory.bytes[0x5000];
    (vcpu, written)
}

#[test]
fn virtual_8086_mode_gets_firmware_where_memory_is_mapped_one_to_one() {
    for moved in [None, Some(0), Some(2), Some(6)] {
        let (vcpu, written) = firmware_in_virtual_8086_mode(moved);
        assert_eq!((written, vcpu.rip, vcpu.injected.len()), (7, 0x1003, 0), "{moved:?}");
    }
}

#[test]
fn virtual_8086_mode_gets_no_firmware_where_stub_buffer_or_stack_are_elsewhere() {
    for moved in [1, 3, 4, 7, 8] {
        let (vcpu, written) = firmware_in_virtual_8086_mode(Some(moved));
        assert_eq!(
            (written, vcpu.rip, &vcpu.injected[..]),
            (0, 0x1000, &[Exception::InvalidOpcode][..]),
            "page {moved}"
        );
    }
}

#[test]
fn a_signal_is_the_run_loops_affair_and_leaves_the_guest_as_it_is() {
    let (mut machine, mut vcpu) = (MockMachine::new(), MockVcpu::long());
    let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
    assert_eq!(cpu.on_exit(&mut vcpu, &mut machine, Exit::Signal), Outcome::Signal);
    assert_eq!((vcpu.rip, vcpu.ended, vcpu.injected.len()), (0x1000, 0, 0));
    assert_eq!(cpu.counters.get(ExitKind::Signal), 1);
}

#[test]
fn the_log_sums_up_what_all_cpus_counted() {
    let mut machine = MockMachine::with_code(&[0x0f, 0xa2]);
    let guest = Guest::new(&mut machine, policy(), false);
    let mut cpus = [Cpu::new(&guest, 0), Cpu::new(&guest, 1)];
    for cpu in [0, 1, 1] {
        cpus[cpu].on_exit(&mut MockVcpu::long(), &mut machine, Exit::Cpuid);
    }
    log_lines();
    guest.log_counters();
    assert!(log_lines().contains(&"exits: cpuid: 3".into()));
}

#[test]
fn syscall_shows_in_64_bit_mode_only_where_the_cpu_has_it_so() {
    let mut machine = MockMachine::with_code(&[0x0f, 0xa2]);
    for only in [false, true] {
        let policy = Policy { syscall_in_64_bit_mode_only: only, ..policy() };
        let mut cpu = cpu_of(Guest::new(&mut machine, policy, false));
        for (mut vcpu, is_64_bit) in
            [(MockVcpu::long(), true), (MockVcpu::protected(), false), (MockVcpu::real(), false)]
        {
            vcpu.set(Gpr::Rax, 0x8000_0001);
            cpu.on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
            assert_eq!(vcpu.get(Gpr::Rdx) & 1 << 11 != 0, is_64_bit || !only, "{only} {is_64_bit}");
        }
    }
}

#[test]
fn key_locker_shows_as_enabled_when_the_guest_has_enabled_it() {
    let mut machine = MockMachine::with_code(&[0x0f, 0xa2]);
    for (activated, kl) in [(false, false), (false, true), (true, false), (true, true)] {
        machine.leaves.insert((0x19, 0), CpuidLeaf { ebx: 0x14 | u32::from(activated), ..CpuidLeaf::default() });
        let mut cpu = cpu_of(Guest::new(&mut machine, policy(), false));
        let mut vcpu = MockVcpu::long();
        vcpu.control.cr4 = u64::from(kl) << 19;
        vcpu.set(Gpr::Rax, 0x19);
        cpu.on_exit(&mut vcpu, &mut machine, Exit::Cpuid);
        assert_eq!(vcpu.get(Gpr::Rbx), 0x14 | u64::from(activated && kl));
    }
}
