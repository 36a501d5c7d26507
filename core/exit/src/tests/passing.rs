//! Reads that a mediator lets pass unseen.

use super::mock::*;
use crate::*;
use PortEvent::{Read, Write};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::{Byte, Dword, Word};
use mediator::pci::Place;
use mediator::{Access, ConfigAccess, Ctx, Op, Verdict, Violation};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

const STATUS: u16 = 0x1f7;
const ALT_STATUS: u16 = 0x3f6;

struct Rig {
    machine: MockMachine,
    cpu: Cpu<'static>,
    /// What the mediator will say of its polled registers.
    passing: Arc<AtomicU8>,
    asked: Arc<Mutex<Vec<Access>>>,
}

impl Rig {
    fn new(mut answer: impl FnMut(&mut Ctx<'_>, Access) -> Result<Verdict, Violation> + Send + 'static) -> Self {
        let (passing, asked) = (Arc::<AtomicU8>::default(), Arc::<Mutex<Vec<Access>>>::default());
        let record = Arc::clone(&asked);
        let on_access = Box::new(move |cx: &mut Ctx<'_>, access: Access| {
            record.lock().unwrap().push(access);
            answer(cx, access)
        });
        let mut machine = MockMachine::new();
        let on_config = Box::new(|cx: &mut Ctx<'_>, _: ConfigAccess| {
            cx.hooks.move_region(COMMAND, Some(Place::Port(0xd000))).unwrap();
            Ok(Verdict::Done)
        });
        let passing_too = Arc::clone(&passing);
        let script = Script { on_access, on_config, passing: passing_too, ..Script::default() };
        let cpu = cpu_with(&mut machine, script);
        Self { machine, cpu, passing, asked }
    }

    /// The mediator lets these pass from its next call on, which this is.
    fn let_pass(&mut self, passing: u8) {
        self.passing.store(passing, Ordering::Relaxed);
        write_port(&mut self.cpu, &mut self.machine, 0x1f6, Byte, 0);
        self.asked.lock().unwrap().clear();
        self.machine.events();
    }

    fn read(&mut self, port: u16) -> u64 {
        read_port(&mut self.cpu, &mut self.machine, port, Byte)
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[test]
fn what_passes_is_performed_without_asking_until_the_mediator_takes_it_back() {
    let mut rig = Rig::new(|_, access| Ok(if access.op == Op::Read { Verdict::Value(0x80) } else { Verdict::Done }));
    rig.machine.ports.values.insert(STATUS, 0x50);
    rig.let_pass(0b01);
    assert_eq!((rig.read(STATUS), rig.read(STATUS), rig.asked()), (0x50, 0x50, 0));
    assert_eq!(rig.machine.events(), [Read(STATUS, Byte), Read(STATUS, Byte)]);
    rig.let_pass(0);
    assert_eq!((rig.read(STATUS), rig.asked()), (0x80, 1));
}

#[test]
fn nothing_else_passes() {
    let mut rig = Rig::new(|_, access| Ok(if access.op == Op::Read { Verdict::Value(0x80) } else { Verdict::Done }));
    rig.let_pass(0b01);
    assert_eq!((rig.read(ALT_STATUS), rig.read(0x1f6), rig.asked()), (0x80, 0x80, 2));
    write_port(&mut rig.cpu, &mut rig.machine, STATUS, Byte, 0x20);
    assert_eq!(rig.asked(), 3);
    // A word that begins at the register, and one that ends there.
    read_port(&mut rig.cpu, &mut rig.machine, 0x1f6, Word);
    assert_eq!((rig.asked(), rig.machine.events()), (4, Vec::new()));
    write_port(&mut rig.cpu, &mut rig.machine, STATUS, Word, 0x20);
    assert_eq!((rig.asked(), rig.machine.events()), (5, [Write(0x1f8, Byte, 0)].into()));
    // A word of one region.
    rig.let_pass(0b100);
    assert_eq!((rig.read(0xc002), rig.read(0xc003), rig.asked()), (0, 0x80, 1));
    assert_eq!(read_port(&mut rig.cpu, &mut rig.machine, 0xc002, Word), 0x80);
    assert_eq!((rig.asked(), rig.machine.events()), (2, [Read(0xc002, Byte)].into()));
}

#[test]
fn register_that_moves_takes_its_state_along() {
    let mut rig = Rig::new(|_, access| Ok(if access.op == Op::Read { Verdict::Value(0x80) } else { Verdict::Done }));
    rig.let_pass(0b01);
    // Any write to configuration space moves it.
    write_port(&mut rig.cpu, &mut rig.machine, 0xcf8, Dword, 0x8000_0910);
    write_port(&mut rig.cpu, &mut rig.machine, 0xcfc, Dword, 0xd000);
    rig.machine.ports.values.insert(0xd007, 0x50);
    assert_eq!((rig.read(0xd007), rig.asked()), (0x50, 0));
    // The old place is the guest's, whatever the mediator says.
    write_port(&mut rig.cpu, &mut rig.machine, STATUS, Byte, 0);
    assert_eq!((rig.read(STATUS), rig.asked()), (0, 0));
}

#[test]
fn a_read_during_a_call_of_the_mediator_is_asked_again() {
    // The gate is closed and opened again while the device is read, as by another CPU.
    let mut rig = Rig::new(|_, access| Ok(if access.op == Op::Read { Verdict::Value(0x80) } else { Verdict::Done }));
    rig.let_pass(0b01);
    let guest = rig.cpu.guest;
    rig.machine.ports.before_read = Some(Box::new(move || {
        let mut other = MockMachine::new();
        write_port(&mut Cpu::new(guest, 1), &mut other, 0x1f6, Byte, 0);
    }));
    assert_eq!((rig.read(STATUS), rig.asked()), (0x80, 2));
    assert_eq!((rig.read(STATUS), rig.asked()), (0, 2));
}

#[test]
fn controller_in_quarantine_lets_nothing_pass() {
    let mut n = 0;
    let mut rig = Rig::new(move |_, access| {
        n += 1;
        if access.offset == 6 { Ok(Verdict::Done) } else { Err(Violation { what: "bad", detail: n }) }
    });
    rig.let_pass(0b11);
    assert_eq!((rig.read(STATUS), rig.asked()), (0, 0));
    for _ in 0..10_000 {
        rig.read(0x1f1);
    }
    rig.machine.events();
    assert_eq!((rig.read(STATUS), rig.read(ALT_STATUS)), (0xff, 0xff));
    assert_eq!(rig.machine.events(), []);
}
