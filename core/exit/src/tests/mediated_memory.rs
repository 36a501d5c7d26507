//! Registers of a controller in device memory.

use super::mock::*;
use crate::*;
use MmioEvent::{Read, Write};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::{Byte, Dword, Qword, Word};
use mediator::pci::{AttachError, Place, Region};
use mediator::{Access, Ctx, Gpa, HookConflict, Op, RegionId, Verdict, Violation, Width};
use std::sync::Mutex;

const REGISTERS: u64 = 0xfebf_1000;
/// In the page of the end of the registers, and beside them.
const BESIDE: u64 = REGISTERS + 0x1800;
const LEN: u32 = 0x1800;

type Asked = Arc<Mutex<Vec<Access>>>;
type Answer = Result<Verdict, Violation>;

fn region(at: u64, len: u32) -> Region {
    Region { region: RegionId(0), place: Some(Place::Memory(Gpa(at))), len, polled: None }
}

/// A guest whose controller is asked for `answer`.
fn guest(
    code: &[u8],
    mut answer: impl FnMut(&mut Ctx<'_>, Access) -> Answer + Send + 'static,
) -> (MockMachine, Cpu<'static>, Asked) {
    let asked = Asked::default();
    let record = Arc::clone(&asked);
    let on_access = Box::new(move |cx: &mut Ctx<'_>, access| {
        record.lock().unwrap().push(access);
        answer(cx, access)
    });
    let mut machine = MockMachine::with_code(code);
    let script = Script { on_access, regions: Some([region(REGISTERS, LEN)].into()), ..Script::default() };
    let cpu = cpu_with(&mut machine, script);
    machine.device_memory.events.clear();
    (machine, cpu, asked)
}

/// The instruction at 1000h, with RDI and RAX, touches the address.
fn touch(machine: &mut MockMachine, cpu: &mut Cpu<'_>, at: u64, write: bool, rax: u64) -> MockVcpu {
    let mut vcpu = MockVcpu::long();
    vcpu.set(Gpr::Rdi, at);
    vcpu.set(Gpr::Rax, rax);
    vcpu.fault = Some(NestedFault { gpa: Gpa(at), write, fetch: false, page_walk: false, delivering: None });
    assert_eq!(cpu.on_exit(&mut vcpu, machine, Exit::NestedFault), Outcome::Resume);
    vcpu
}

const LOADS: [(&[u8], Width); 4] =
    [(&[0x8a, 0x07], Byte), (&[0x66, 0x8b, 0x07], Word), (&[0x8b, 0x07], Dword), (&[0x48, 0x8b, 0x07], Qword)];
const STORES: [(&[u8], Width); 4] =
    [(&[0x88, 0x07], Byte), (&[0x66, 0x89, 0x07], Word), (&[0x89, 0x07], Dword), (&[0x48, 0x89, 0x07], Qword)];

#[test]
fn every_page_with_registers_is_hooked() {
    let (_, cpu, _) = guest(&[], |_, _| Ok(Verdict::Done));
    let pages: Vec<_> = cpu.guest.hooked_pages().collect();
    assert_eq!(pages, [(Gpa(REGISTERS), Hook::All), (Gpa(REGISTERS + 0x1000), Hook::All)]);
}

#[test]
fn an_access_reaches_the_mediator_in_its_width() {
    for (code, width) in LOADS {
        let (mut machine, mut cpu, asked) = guest(code, |_, _| Ok(Verdict::Value(0x1122_3344_5566_7788)));
        let vcpu = touch(&mut machine, &mut cpu, REGISTERS + 0x1008, false, 0);
        assert_eq!(vcpu.get(Gpr::Rax), 0x1122_3344_5566_7788 & width.ones());
        assert_eq!(vcpu.rip, 0x1000 + code.len() as u64);
        let access = Access { region: RegionId(0), offset: 0x1008, width, op: Op::Read };
        assert_eq!(*asked.lock().unwrap(), [access]);
        assert_eq!(machine.device_memory.events, []);
    }
    for (code, width) in STORES {
        let (mut machine, mut cpu, asked) = guest(code, |_, _| Ok(Verdict::Done));
        touch(&mut machine, &mut cpu, REGISTERS, true, 0x1122_3344_5566_7788);
        let op = Op::Write(0x1122_3344_5566_7788 & width.ones());
        assert_eq!(*asked.lock().unwrap(), [Access { region: RegionId(0), offset: 0, width, op }]);
        assert_eq!(machine.device_memory.events, []);
    }
}

#[test]
fn an_access_that_passes_is_made_as_it_is() {
    for (code, width) in LOADS {
        let (mut machine, mut cpu, _) = guest(code, |_, _| Ok(Verdict::Passthrough));
        machine.device_memory.values.insert(REGISTERS, 0x8877_6655_4433_2211);
        let vcpu = touch(&mut machine, &mut cpu, REGISTERS, false, 0);
        assert_eq!(vcpu.get(Gpr::Rax), 0x8877_6655_4433_2211 & width.ones());
        assert_eq!(machine.device_memory.events, [Read(REGISTERS, width)]);
    }
    for (code, width) in STORES {
        let (mut machine, mut cpu, _) = guest(code, |_, _| Ok(Verdict::Passthrough));
        touch(&mut machine, &mut cpu, REGISTERS, true, 0x11);
        assert_eq!(machine.device_memory.events, [Write(REGISTERS, width, 0x11)]);
    }
}

#[test]
fn what_is_not_aligned_comes_in_the_parts_that_the_bus_makes_of_it() {
    for (code, offset, parts, width) in [
        (STORES[3].0, 4, alloc::vec![(4, 0x5566_7788_u64), (8, 0x1122_3344)], Dword),
        (STORES[2].0, 2, [0x88_u64, 0x77, 0x66, 0x55].iter().zip(2..).map(|(&b, n)| (n, b)).collect(), Byte),
        (STORES[1].0, 7, alloc::vec![(7, 0x88), (8, 0x77)], Byte),
    ] {
        let (mut machine, mut cpu, asked) = guest(code, |_, _| Ok(Verdict::Done));
        touch(&mut machine, &mut cpu, REGISTERS + offset, true, 0x1122_3344_5566_7788);
        let expected: Vec<_> = parts
            .into_iter()
            .map(|(offset, value)| Access { region: RegionId(0), offset, width, op: Op::Write(value) })
            .collect();
        assert_eq!(*asked.lock().unwrap(), expected);
    }
    let (mut machine, mut cpu, _) = guest(LOADS[2].0, |_, access| Ok(Verdict::Value(access.offset.into())));
    assert_eq!(touch(&mut machine, &mut cpu, REGISTERS + 0x11, false, 0).get(Gpr::Rax), 0x1413_1211);
}

#[test]
fn what_reaches_into_the_next_page_raises_gp() {
    let (mut machine, mut cpu, asked) = guest(STORES[3].0, |_, _| Ok(Verdict::Done));
    let vcpu = touch(&mut machine, &mut cpu, REGISTERS + 0xffc, true, 0);
    assert_eq!(vcpu.injected, [Exception::GeneralProtection(0)]);
    assert_eq!((asked.lock().unwrap().len(), machine.device_memory.events.len()), (0, 0));
}

#[test]
fn what_lies_beside_the_registers_in_their_page_passes() {
    let (mut machine, mut cpu, asked) = guest(STORES[2].0, |_, _| Ok(Verdict::Done));
    touch(&mut machine, &mut cpu, BESIDE, true, 7);
    touch(&mut machine, &mut cpu, BESIDE - 4, true, 8);
    assert_eq!(machine.device_memory.events, [Write(BESIDE, Dword, 7)]);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn an_access_that_is_refused_reads_ones_and_writes_nothing() {
    let refuse = |_: &mut Ctx<'_>, _| Err(Violation { what: "bad", detail: 0 });
    let (mut machine, mut cpu, _) = guest(LOADS[2].0, refuse);
    assert_eq!(touch(&mut machine, &mut cpu, REGISTERS, false, 0).get(Gpr::Rax), 0xffff_ffff);
    let (mut machine, mut cpu, _) = guest(STORES[2].0, refuse);
    touch(&mut machine, &mut cpu, REGISTERS, true, 0);
    assert_eq!(machine.device_memory.events, []);
}

#[test]
fn the_mediator_reaches_its_registers_and_nothing_else() {
    let (mut machine, mut cpu, _) = guest(LOADS[2].0, |cx, _| {
        let [id, ports] = [RegionId(0), RegionId(1)];
        cx.device.write(id, 8, Qword, 0x11);
        cx.device.write(id, 4, Qword, 0x22);
        cx.device.write(id, LEN - 2, Dword, 0x33);
        cx.device.write(id, u32::MAX, Dword, 0x44);
        cx.device.write(ports, 0, Dword, 0x55);
        let mut data = [0; 4];
        cx.device.read_string(id, 0, Word, &mut data);
        assert_eq!(data, [0xff; 4]);
        let moves = [Some(Place::Memory(Gpa(REGISTERS))), Some(Place::Port(0x1f0)), None];
        assert!(moves.iter().all(|&place| cx.hooks.move_region(id, place) == Err(HookConflict)));
        Ok(Verdict::Value(cx.device.read(id, 2, Dword)))
    });
    assert_eq!(touch(&mut machine, &mut cpu, REGISTERS, false, 0).get(Gpr::Rax), 0xffff_ffff);
    assert_eq!(machine.device_memory.events, [Write(REGISTERS + 8, Qword, 0x11)]);
}

#[test]
fn registers_that_cannot_be_guarded_keep_the_guest_from_starting() {
    let attach = |regions: &[(u64, u32)]| {
        let mut machine = MockMachine::new();
        let mut guest = Guest::new(&mut machine, policy(), false);
        let regions = regions.iter().zip(0..).map(|(&(at, len), n)| Region { region: RegionId(n), ..region(at, len) });
        set_next(Script { regions: Some(regions.collect()), ..Script::default() });
        guest.bus.attach(&mut machine, &DRIVER, &IDE).err().map(|AttachError(why)| why)
    };
    assert_eq!(attach(&[(REGISTERS, LEN)]), None);
    assert_eq!(attach(&[(REGISTERS, LEN), (BESIDE, 8)]), None);
    for (regions, why) in [
        (&[(4 << 30, 0x1000)][..], "above 4 GiB"),
        (&[((4 << 30) - 0x800, 0x1000)], "above 4 GiB"),
        (&[(u64::MAX - 7, 0x1000)], "above 4 GiB"),
        (&[(REGISTERS + 4, 0x1000)], "within eight bytes"),
        (&[(REGISTERS, 0x1004)], "within eight bytes"),
        (&[(0xfee0_0000, 0x1000)], "interrupt messages"),
        (&[(REGISTERS, LEN), (BESIDE - 8, 0x10)], "another guarded controller"),
        (&[(VMM.end - 0x1000, 0x800)], "Shoji's memory"),
    ] {
        let told = attach(regions);
        assert!(told.is_some_and(|told| told.contains(why)), "{told:?} for {why}");
    }
}
