//! A20, COM1 and PCI configuration ports.

use super::mock::*;
use crate::*;
use PortEvent::{Read, Write};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::{Byte, Dword, Word};
use mediator::{ConfigAccess, Op, Verdict};
use std::sync::Mutex;

fn platform() -> (MockMachine, Cpu<'static>) {
    let mut machine = MockMachine::new();
    let cpu = cpu_with(&mut machine, Script::default());
    (machine, cpu)
}

#[test]
fn com1_is_not_there() {
    let (mut machine, mut cpu) = platform();
    for port in 0x3f8..=0x3ff {
        assert_eq!(read_port(&mut cpu, &mut machine, port, Byte), 0xff);
        write_port(&mut cpu, &mut machine, port, Byte, 0x41);
    }
    assert_eq!(machine.events(), []);
    assert!((0x3f8..=0x3ff).all(|port| machine.intercepted.contains(&port)));
}

#[test]
fn port_92h_remembers_a20_but_never_closes_it() {
    let (mut machine, mut cpu) = platform();
    machine.ports.values.insert(0x92, 0x02);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x92, Byte), 0x02);
    write_port(&mut cpu, &mut machine, 0x92, Byte, 0x00);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x92, Byte), 0x00);
    write_port(&mut cpu, &mut machine, 0x92, Byte, 0x02);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x92, Byte), 0x02);
    let writes: Vec<_> = machine.events().into_iter().filter(|event| matches!(event, Write(..))).collect();
    assert_eq!(writes, [Write(0x92, Byte, 2), Write(0x92, Byte, 2)]);
}

#[test]
fn a20_is_not_reached_by_a_wider_access_either() {
    let (mut machine, mut cpu) = platform();
    write_port(&mut cpu, &mut machine, 0x91, Word, 0x0055);
    write_port(&mut cpu, &mut machine, 0x90, Dword, 0);
    assert_eq!(machine.events().iter().filter(|&event| *event == Write(0x92, Byte, 2)).count(), 2);
}

#[test]
fn output_port_of_the_keyboard_controller_keeps_a20_open() {
    let (mut machine, mut cpu) = platform();
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0xd1);
    write_port(&mut cpu, &mut machine, 0x60, Byte, 0xdd);
    // Only the byte after the command is the output port.
    write_port(&mut cpu, &mut machine, 0x60, Byte, 0xdd);
    assert_eq!(machine.events(), [Write(0x64, Byte, 0xd1), Write(0x60, Byte, 0xdf), Write(0x60, Byte, 0xdd)]);
    machine.ports.values.insert(0x60, 0xdf);
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0xd0);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x60, Byte), 0xdd);
    assert_eq!(read_port(&mut cpu, &mut machine, 0x60, Byte), 0xdf);
}

#[test]
fn other_command_between_takes_the_output_port_away() {
    let (mut machine, mut cpu) = platform();
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0xd1);
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0x60);
    write_port(&mut cpu, &mut machine, 0x60, Byte, 0x45);
    assert_eq!(machine.events().last(), Some(&Write(0x60, Byte, 0x45)));
}

#[test]
fn a_command_that_closes_a20_is_no_way_past_the_one_before() {
    let (mut machine, mut cpu) = platform();
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0xd1);
    write_port(&mut cpu, &mut machine, 0x64, Byte, 0xdd);
    // For the keyboard: the controller no longer waits for its output port.
    write_port(&mut cpu, &mut machine, 0x60, Byte, 0x00);
    assert_eq!(machine.events(), [Write(0x64, Byte, 0xd1), Write(0x64, Byte, 0xdf), Write(0x60, Byte, 0x00)]);
}

#[test]
fn a20_commands_and_pulses_keep_it_open() {
    let (mut machine, mut cpu) = platform();
    for command in [0xdd, 0xdf, 0xfd, 0xf1, 0xff, 0xae] {
        write_port(&mut cpu, &mut machine, 0x64, Byte, command);
    }
    let passed: Vec<_> = [0xdf, 0xdf, 0xff, 0xf3, 0xff, 0xae].map(|value| Write(0x64, Byte, value)).into();
    assert_eq!(machine.events(), passed);
}

/// The VMM makes it, when it has wiped its keys.
#[test]
fn a_reset_by_any_port_is_left_to_the_vmm() {
    // What is written to port 64h before; port, width and value.
    let resets = [
        (None, 0x92, Byte, 0x01),
        (None, 0x91, Word, 0x0300),
        (None, 0x64, Byte, 0xfe),
        (None, 0x64, Byte, 0xf0),
        (Some(0xd1), 0x60, Byte, 0xde),
        (None, 0xcf9, Byte, 0x06),
        (None, 0xcf9, Byte, 0x04),
        (None, 0xcf8, Word, 0x0600),
        (None, 0xcf9, Word, 0x000e),
        (None, 0xcf7, Dword, 0x0006_0000),
    ];
    for (before, port, width, value) in resets {
        let (mut machine, mut cpu) = platform();
        before.into_iter().for_each(|command| write_port(&mut cpu, &mut machine, 0x64, Byte, command));
        machine.events();
        let mut vcpu = MockVcpu::long();
        vcpu.set(Gpr::Rax, value);
        vcpu.io = Some(port_access(port, width, false));
        assert_eq!(cpu.on_exit(&mut vcpu, &mut machine, Exit::Io), Outcome::Reset, "{port:x} {value:x}");
        let touched = machine.events().into_iter().any(|event| matches!(event, Write(0x60 | 0x64 | 0x92 | 0xcf9, ..)));
        assert!(!touched, "{port:x} {value:x}");
    }
    let (mut machine, cpu) = platform();
    assert_eq!(cpu.guest.bus.write_string(&mut machine, 0xcf9, Byte, &[2, 6, 0]), crate::sleep::Written::Reset);
    assert_eq!(machine.events(), [Write(0xcf9, Byte, 2)]);
}

const IDE_REGISTER_4: u32 = 0x8000_0904;

/// What the mediator is asked about configuration space.
fn config_guest(verdict: Verdict) -> (MockMachine, Cpu<'static>, Arc<Mutex<Vec<ConfigAccess>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    let on_config = Box::new(move |_: &mut mediator::Ctx<'_>, access| {
        record.lock().unwrap().push(access);
        Ok(verdict)
    });
    let mut machine = MockMachine::new();
    let cpu = cpu_with(&mut machine, Script { on_config, ..Script::default() });
    (machine, cpu, asked)
}

#[test]
fn configuration_of_other_functions_passes() {
    let (mut machine, mut cpu, asked) = config_guest(Verdict::Done);
    for address in [0x8000_0804, 0x8000_1104, 0x8001_0904, IDE_REGISTER_4 & !(1 << 31)] {
        write_port(&mut cpu, &mut machine, 0xcf8, Dword, address.into());
        write_port(&mut cpu, &mut machine, 0xcfc, Dword, 5);
        read_port(&mut cpu, &mut machine, 0xcfe, Word);
        assert_eq!(machine.events(), [Write(0xcfc, Dword, 5), Read(0xcfe, Word)]);
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn configuration_of_a_guarded_function_is_the_mediators() {
    let (mut machine, mut cpu, asked) = config_guest(Verdict::Value(0x1234_5678));
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, IDE_REGISTER_4.into());
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcfe, Word), 0x5678);
    assert_eq!(machine.events(), []);
    assert_eq!(*asked.lock().unwrap(), [ConfigAccess { offset: 6, width: Word, op: Op::Read }]);
}

#[test]
fn configuration_write_passes_after_the_mediator_agreed() {
    let (mut machine, mut cpu, asked) = config_guest(Verdict::Passthrough);
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, IDE_REGISTER_4.into());
    write_port(&mut cpu, &mut machine, 0xcfc, Dword, 7);
    assert_eq!(machine.events(), [Write(0xcfc, Dword, 7)]);
    assert_eq!(*asked.lock().unwrap(), [ConfigAccess { offset: 4, width: Dword, op: Op::Write(7) }]);
}

#[test]
fn unaligned_configuration_access_is_asked_byte_by_byte() {
    let (mut machine, mut cpu, asked) = config_guest(Verdict::Passthrough);
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, IDE_REGISTER_4.into());
    write_port(&mut cpu, &mut machine, 0xcfd, Word, 0xbbaa);
    assert_eq!(machine.events(), [Write(0xcfd, Byte, 0xaa), Write(0xcfe, Byte, 0xbb)]);
    let offsets: Vec<_> = asked.lock().unwrap().iter().map(|access| (access.offset, access.width)).collect();
    assert_eq!(offsets, [(5, Byte), (6, Byte)]);
}

#[test]
fn address_with_extended_or_low_bits_is_refused_for_a_guarded_function() {
    let (mut machine, mut cpu, asked) = config_guest(Verdict::Passthrough);
    for bit in [0, 1, 24, 27, 30] {
        write_port(&mut cpu, &mut machine, 0xcf8, Dword, (IDE_REGISTER_4 | 1 << bit).into());
        assert_eq!(read_port(&mut cpu, &mut machine, 0xcfc, Dword), 0xffff_ffff);
        write_port(&mut cpu, &mut machine, 0xcfc, Dword, 7);
    }
    assert_eq!(machine.events(), []);
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn mediators_own_configuration_access_leaves_cf8_alone() {
    let on_config = Box::new(|cx: &mut mediator::Ctx<'_>, _| {
        cx.device.config_write(0x40, Word, 0x8000);
        Ok(Verdict::Value(u64::from(cx.device.config_read(0x42, Word))))
    });
    let mut machine = MockMachine::new();
    machine.ports.values.insert(0xcfe, 0x99);
    let mut cpu = cpu_with(&mut machine, Script { on_config, ..Script::default() });
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, IDE_REGISTER_4.into());
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcfc, Dword), 0x99);
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcf8, Dword), IDE_REGISTER_4.into());
    assert_eq!(machine.events(), [Write(0xcfc, Word, 0x8000), Read(0xcfe, Word)]);
}

#[test]
fn the_address_port_is_kept_and_reaches_the_machine_with_the_access_to_the_data() {
    let (mut machine, mut cpu, _) = config_guest(Verdict::Done);
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, 0x8000_1104);
    assert_eq!(machine.ports.config_address, 0);
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcf8, Dword), 0x8000_1104);
    read_port(&mut cpu, &mut machine, 0xcfc, Dword);
    assert_eq!(machine.ports.config_address, 0x8000_1104);
    // What somebody else has left in the port is not what the guest's access goes to.
    machine.ports.config_address = IDE_REGISTER_4;
    write_port(&mut cpu, &mut machine, 0xcfe, Word, 7);
    assert_eq!(machine.ports.config_address, 0x8000_1104);
    assert_eq!(machine.events(), [Read(0xcfc, Dword), Write(0xcfe, Word, 7)]);
}

#[test]
fn bytes_and_words_at_the_address_port_pass_and_so_does_the_reset_control_short_of_a_reset() {
    let (mut machine, mut cpu) = platform();
    write_port(&mut cpu, &mut machine, 0xcf8, Dword, 0x8000_1104);
    machine.ports.values.insert(0xcf9, 0x02);
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcf9, Byte), 0x02);
    write_port(&mut cpu, &mut machine, 0xcf9, Byte, 0x0a);
    write_port(&mut cpu, &mut machine, 0xcfa, Word, 0xbeef);
    assert_eq!(machine.events(), [Read(0xcf9, Byte), Write(0xcf9, Byte, 0x0a), Write(0xcfa, Word, 0xbeef)]);
    // They find the address where the guest has put it, and it stays.
    assert_eq!(machine.ports.config_address, 0x8000_1104);
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcf8, Dword), 0x8000_1104);
    // Across the end of CF8-CFB: no address.
    write_port(&mut cpu, &mut machine, 0xcf6, Dword, 0xd9cc_bbaa);
    let bytes = [0xcf6_u16, 0xcf7, 0xcf8, 0xcf9].into_iter().zip([0xaa_u32, 0xbb, 0xcc, 0xd9]);
    assert_eq!(machine.events(), bytes.map(|(port, byte)| Write(port, Byte, byte)).collect::<Vec<_>>());
}

#[test]
fn the_guest_finds_the_address_port_as_the_firmware_left_it() {
    let mut machine = MockMachine::new();
    machine.ports.config_address = 0x8000_f8e0;
    let mut cpu = cpu_with(&mut machine, Script::default());
    assert_eq!(read_port(&mut cpu, &mut machine, 0xcf8, Dword), 0x8000_f8e0);
}
