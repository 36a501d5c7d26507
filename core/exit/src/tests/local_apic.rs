//! Writes to the guarded local APICs: what reaches the hardware, what other CPUs get, and what vanishes.

use super::mock::*;
use crate::*;
use ::policy::{MsrRow, Rule};
use alloc::vec::Vec;
use mediator::{Gpa, Width};

const PAGE: u64 = 0xfee0_0000;
const BASE: u32 = 0x1b;
const COMMAND: u32 = 0x830;
const XAPIC: u64 = PAGE | 0x800;
const X2APIC: u64 = PAGE | 0xc00;

/// Of the mock's policy.
fn with_command() -> Policy {
    let row = |msr, rule| MsrRow::new(msr..=msr, "TEST", rule, "test");
    Policy { msrs: alloc::vec![row(BASE, Rule::ApicBase), row(COMMAND, Rule::InterruptCommand)], ..policy() }
}

/// A guest with CPUs of these APIC IDs, each with a machine of its own.
struct Rig {
    machines: Vec<MockMachine>,
    cpus: Vec<Cpu<'static>>,
}

impl Rig {
    fn new(ids: &[u32], base: u64) -> Self {
        let code = [0x89, 0x07, 0x0f, 0x30]; // mov [rdi], eax; wrmsr
        let mut machines: Vec<MockMachine> = ids.iter().map(|_| MockMachine::with_code(&code)).collect();
        let mut guest = Guest::new(&mut machines[0], with_command(), false);
        guest.guard_local_apic(Gpa(PAGE), ids.len());
        for (number, machine) in machines.iter_mut().enumerate() {
            (machine.cpu_number, machine.apic_ids) = (number, ids.to_vec());
            machine.msrs.insert(BASE, base | if number == 0 { 0x100 } else { 0 });
            machine.msrs.insert(COMMAND, 0);
            machine.device_memory.values.insert(PAGE + 0xe0, 0xffff_ffff);
            guest.adopt_local_apic(machine);
            machine.device_memory.events.clear();
        }
        let guest: &'static Guest = alloc::boxed::Box::leak(alloc::boxed::Box::new(guest));
        Self { cpus: (0..ids.len()).map(|number| Cpu::new(guest, number)).collect(), machines }
    }

    /// CPU `by` writes a register; what reached its hardware.
    fn write(&mut self, by: usize, register: u64, value: u32) -> Vec<MmioEvent> {
        self.machines[by].device_memory.events.clear();
        let mut vcpu = MockVcpu::long();
        vcpu.set(Gpr::Rdi, PAGE + register);
        vcpu.set(Gpr::Rax, value.into());
        vcpu.fault = Some(NestedFault {
            gpa: Gpa(PAGE + register),
            write: true,
            fetch: false,
            page_walk: false,
            delivering: None,
        });
        self.cpus[by].on_exit(&mut vcpu, &mut self.machines[by], Exit::NestedFault);
        assert_eq!((vcpu.rip, vcpu.injected.len()), (0x1002, 0));
        core::mem::take(&mut self.machines[by].device_memory.events)
    }

    /// CPU `by` writes an MSR; whether that raised #GP.
    fn write_msr(&mut self, by: usize, msr: u32, value: u64) -> bool {
        let mut vcpu = MockVcpu { rip: 0x1002, ..MockVcpu::long() };
        vcpu.set(Gpr::Rcx, msr.into());
        vcpu.set(Gpr::Rax, value & 0xffff_ffff);
        vcpu.set(Gpr::Rdx, value >> 32);
        self.cpus[by].on_exit(&mut vcpu, &mut self.machines[by], Exit::WriteMsr);
        let refused = vcpu.injected == [Exception::GeneralProtection(0)];
        assert_eq!(vcpu.rip == 0x1002, refused);
        refused
    }

    /// CPUs that got an INIT from CPU `by` since the last call.
    fn inits(&mut self, by: usize) -> Vec<usize> {
        core::mem::take(&mut self.machines[by].inits)
    }

    fn starts(&mut self, by: usize) -> Vec<(usize, u8)> {
        core::mem::take(&mut self.machines[by].starts)
    }

    /// An INIT or the like by the xAPIC's two halves.
    fn command(&mut self, by: usize, low: u32, target: u8) -> Vec<MmioEvent> {
        self.write(by, 0x310, u32::from(target) << 24);
        self.write(by, 0x300, low)
    }
}

fn passed(register: u64, value: u64) -> [MmioEvent; 1] {
    [MmioEvent::Write(PAGE + register, Width::Dword, value)]
}

#[test]
fn ordinary_registers_and_interrupts_pass_unchanged() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    for register in [0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x280, 0x2f0, 0x310, 0x320, 0x370, 0x380, 0x3e0, 0x400, 0x530] {
        assert_eq!(rig.write(0, register, 0x1ff), passed(register, 0x1ff), "{register:x}");
    }
    // Fixed, lowest priority, SMI, NMI, by destination and by shorthand.
    for low in [0x00fd, 0x48fd, 0x40fd, 0x01fd, 0x0200, 0x0400, 0xc_0400, 0x8_00fd] {
        assert_eq!(rig.write(0, 0x300, low), passed(0x300, low.into()), "{low:x}");
    }
    assert_eq!((rig.inits(0), rig.starts(0)), (Vec::new(), Vec::new()));
}

#[test]
fn init_and_startup_reach_exactly_the_cpu_that_is_meant_and_never_the_hardware() {
    let mut rig = Rig::new(&[0, 2, 5], XAPIC);
    let read_of_high = [MmioEvent::Read(PAGE + 0x310, Width::Dword)];
    assert_eq!(rig.command(0, 0xc500, 2), read_of_high);
    assert_eq!(rig.inits(0), [1]);
    assert_eq!(rig.command(0, 0x8500, 2), read_of_high);
    assert_eq!(rig.inits(0), [0_usize; 0], "level de-assert");
    assert_eq!(rig.command(0, 0x0699, 5), read_of_high);
    assert_eq!((rig.starts(0), rig.inits(0).len()), (alloc::vec![(2, 0x99)], 0));
    // By CPU 1 to CPU 0 and to itself.
    rig.command(1, 0x4500, 0);
    rig.command(1, 0x4500, 2);
    assert_eq!((rig.inits(1), rig.inits(0).len()), (alloc::vec![0, 1], 0));
}

#[test]
fn broadcasts_reach_every_cpu_of_the_guest_once() {
    let mut rig = Rig::new(&[0, 2, 5], XAPIC);
    for (low, target, meant) in [
        (0xc_4500, 0, &[0, 2][..]), // all but the sender, CPU 1
        (0x8_4500, 0, &[0, 1, 2]),
        (0x4_4500, 0, &[1]),
        (0x0_4500, 0xff, &[0, 1, 2]),
    ] {
        rig.command(1, low, target);
        assert_eq!(rig.inits(1), meant, "{low:x}");
    }
    rig.command(1, 0xc_4608, 0);
    assert_eq!(rig.starts(1), [(0, 8), (2, 8)]);
}

#[test]
fn logical_destinations_follow_what_each_cpu_has_written() {
    let mut rig = Rig::new(&[0, 2, 5], XAPIC);
    rig.command(0, 0x4d00, 0xff);
    assert_eq!(rig.inits(0), [0_usize; 0], "after a reset no APIC has one");
    for (cpu, id) in [(0, 1), (1, 2), (2, 4)] {
        rig.write(cpu, 0xd0, id << 24);
    }
    rig.command(0, 0x4d00, 6);
    assert_eq!(rig.inits(0), [1, 2]);
    // CPU 2 goes over to clusters: cluster 1, its third.
    rig.write(2, 0xe0, 0x0fff_ffff);
    rig.write(2, 0xd0, 0x14 << 24);
    rig.command(0, 0x4d00, 0x14);
    assert_eq!(rig.inits(0), [2]);
    rig.command(0, 0x4d00, 0x24);
    assert_eq!(rig.inits(0), [0_usize; 0]);
}

#[test]
fn what_firmware_has_set_counts_from_the_start() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    rig.machines[1].device_memory.values.insert(PAGE + 0xd0, 0x80 << 24);
    rig.cpus[1].guest.adopt_local_apic(&mut rig.machines[1]);
    rig.command(0, 0x4d00, 0x80);
    assert_eq!(rig.inits(0), [1]);
}

#[test]
fn cpus_that_are_not_the_guests_are_left_alone_with_one_line_in_the_log() {
    let mut rig = Rig::new(&[0, 2], XAPIC);
    log_lines();
    for target in [1, 3, 0xfe] {
        rig.command(0, 0x4500, target);
    }
    assert_eq!((rig.inits(0).len(), log_lines().len()), (0, 1));
}

#[test]
fn ids_version_and_what_is_no_register_vanish() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    log_lines();
    // QEMU takes a write at 0 for a message: 0500h would be an INIT.
    for register in [0, 0x10, 0x20, 0x30, 0x70, 0x301, 0x304, 0x308, 0x30c, 0xb4] {
        assert_eq!(rig.write(0, register, 0x500), [], "{register:x}");
    }
    assert_eq!((rig.inits(0).len(), log_lines().len()), (0, 1));
}

#[test]
fn other_widths_than_dwords_vanish_and_so_do_cpus_own_messages() {
    for code in [&[0x88, 0x07][..], &[0x66, 0x89, 0x07], &[0x48, 0x89, 0x07], &[0x89, 0x07]] {
        for (at, passes) in
            [(PAGE + 0x300, code.len() == 2 && code[0] == 0x89), (PAGE + 0x1000, false), (PAGE + 0xf_f000, false)]
        {
            let mut rig = Rig::new(&[0], XAPIC);
            rig.machines[0].memory.put(0x1000, code);
            let mut vcpu = MockVcpu::long();
            vcpu.set(Gpr::Rdi, at);
            let fault = NestedFault { gpa: Gpa(at), write: true, fetch: false, page_walk: false, delivering: None };
            vcpu.fault = Some(fault);
            rig.cpus[0].on_exit(&mut vcpu, &mut rig.machines[0], Exit::NestedFault);
            assert_eq!((vcpu.rip, vcpu.injected.len()), (0x1000 + code.len() as u64, 0));
            assert_eq!(!rig.machines[0].device_memory.events.is_empty(), passes, "{code:x?} {at:x}");
        }
    }
}

#[test]
fn an_init_that_is_half_of_a_read_and_write_is_one_too() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    rig.machines[0].memory.put(0x1000, &[0x09, 0x07]); // or [rdi], eax
    rig.machines[0].device_memory.values.insert(PAGE + 0x300, 0x4400);
    rig.machines[0].device_memory.values.insert(PAGE + 0x310, 1 << 24);
    rig.write(0, 0x300, 0x0100);
    assert_eq!(rig.inits(0), [1]);
}

#[test]
fn hooked_are_writes_to_the_page_and_to_where_messages_go() {
    let rig = Rig::new(&[0], XAPIC);
    let pages: Vec<(Gpa, Hook)> = rig.cpus[0].guest.hooked_pages().collect();
    assert_eq!(pages.len(), 256);
    assert_eq!(pages[0], (Gpa(PAGE), Hook::Writes));
    assert_eq!(pages[255], (Gpa(0xfeef_f000), Hook::Writes));
    assert_eq!(pages.iter().filter(|(page, _)| page.0 == PAGE).count(), 1);
    let guest = Guest::new(&mut MockMachine::new(), policy(), false);
    assert_eq!(guest.hooked_pages().count(), 0, "nothing guarded, nothing hooked");
}

#[test]
fn x2apic_commands_are_taken_in_hand_like_those_of_the_page() {
    let mut rig = Rig::new(&[0, 0x101, 0x102], X2APIC);
    assert!(!rig.write_msr(0, COMMAND, 0x101_0000_4500));
    assert_eq!((rig.inits(0), rig.machines[0].msrs[&COMMAND]), (alloc::vec![1], 0));
    assert!(!rig.write_msr(0, COMMAND, 0x0010_0006_0000_4d00));
    assert_eq!(rig.inits(0), [1, 2], "cluster 10h, second and third");
    assert!(!rig.write_msr(0, COMMAND, 0x102_0000_0612));
    assert_eq!(rig.starts(0), [(2, 0x12)]);
    // Anything else is the hardware's.
    assert!(!rig.write_msr(0, COMMAND, 0x101_0000_00fd));
    assert_eq!(rig.machines[0].msrs[&COMMAND], 0x101_0000_00fd);
    assert!(rig.write_msr(0, COMMAND, 0x101_0010_4500), "a reserved bit");
    assert_eq!(rig.inits(0), [0_usize; 0]);
    // The page is no APIC's meanwhile.
    assert_eq!(rig.write(0, 0x300, 0xc_4500), []);
    assert_eq!(rig.inits(0), [0_usize; 0]);
}

#[test]
fn x2apic_command_outside_of_its_mode_is_the_hardwares_affair() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    rig.machines[0].msrs.remove(&COMMAND);
    assert!(rig.write_msr(0, COMMAND, 0x1_0000_4500));
    assert_eq!(rig.inits(0), [0_usize; 0]);
}

#[test]
fn the_page_does_not_move_and_the_mode_changes_as_the_cpu_lets_it() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    for moved in [0x1000, 0x100, 1 << 36] {
        assert!(rig.write_msr(1, BASE, XAPIC ^ moved), "{moved:x}");
        assert_eq!(rig.machines[1].msrs[&BASE], XAPIC);
    }
    assert!(!rig.write_msr(1, BASE, X2APIC));
    assert_eq!(rig.machines[1].msrs[&BASE], X2APIC);
    // From now on it hears x2APIC's logical destinations, and its command register is the MSR.
    rig.command(0, 0x4d00, 2);
    assert_eq!(rig.inits(0), [1]);
    assert!(!rig.write_msr(1, COMMAND, 0x0000_4500));
    assert_eq!(rig.inits(1), [0]);
    // In this mode its page is nothing.
    assert_eq!(rig.write(1, 0x300, 0xc_4500), []);
}

#[test]
fn a_local_apic_by_which_the_others_reach_their_cpu_stays_on() {
    for mode in [XAPIC, X2APIC] {
        let mut rig = Rig::new(&[0, 1], mode);
        assert!(rig.write_msr(1, BASE, PAGE));
        assert_eq!(rig.machines[1].msrs[&BASE], mode);
    }
    let mut rig = Rig::new(&[0, 0x100], X2APIC);
    assert!(rig.write_msr(1, BASE, XAPIC), "in xAPIC mode nobody could reach it by its ID");
    assert_eq!(rig.machines[1].msrs[&BASE], X2APIC);
}

#[test]
fn a_mode_that_the_cpu_refuses_stays_as_it_was() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    rig.machines[0].refused_msrs.push(BASE);
    assert!(rig.write_msr(0, BASE, PAGE | 0x100 | 0x400));
    rig.command(0, 0x4500, 1);
    assert_eq!(rig.inits(0), [1]);
}

#[test]
fn reset_leaves_an_apic_that_delivers_nothing() {
    let mut rig = Rig::new(&[0, 1], XAPIC);
    for (register, value) in [(0xd0, 2 << 24), (0x380, 1000), (0x320, 0x2_00ec), (0x80, 0x20), (0xf0, 0x1ff)] {
        rig.write(1, register, value);
    }
    // Two interrupts in service.
    rig.machines[1].device_memory.values.insert(PAGE + 0x120, 0x0001_0001);
    rig.machines[1].device_memory.events.clear();
    rig.cpus[1].guest.reset_local_apic(&mut rig.machines[1]);
    let is = |register: u64| rig.machines[1].device_memory.values[&(PAGE + register)];
    assert_eq!([0xd0, 0x80, 0x380, 0x3e0].map(is), [0; 4]);
    assert_eq!((is(0xe0), is(0xf0)), (0xffff_ffff, 0xff));
    for vector in (0x320..0x380).step_by(0x10) {
        assert_eq!(is(vector), 0x1_0000);
    }
    let eois =
        rig.machines[1].device_memory.events.iter().filter(|e| **e == MmioEvent::Write(PAGE + 0xb0, Width::Dword, 0));
    assert_eq!(eois.count(), 2);
    rig.command(0, 0x4d00, 2);
    assert_eq!(rig.inits(0), [0_usize; 0], "its logical destination is gone");
}

#[test]
fn reset_of_an_x2apic_goes_through_its_msrs() {
    let mut rig = Rig::new(&[0], X2APIC);
    for msr in 0x800..0x840 {
        rig.machines[0].msrs.insert(msr, 7);
    }
    rig.cpus[0].guest.reset_local_apic(&mut rig.machines[0]);
    let msrs = &rig.machines[0].msrs;
    assert_eq!([0x80f, 0x832, 0x837, 0x838, 0x808].map(|msr| msrs[&msr]), [0xff, 0x1_0000, 0x1_0000, 0, 0]);
    assert_eq!([0x80d, 0x80e, 0x830].map(|msr| msrs[&msr]), [7; 3], "read-only, absent, and one that sends");
    assert!(rig.machines[0].device_memory.events.is_empty());
}
