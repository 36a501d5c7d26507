//! Network cards beside controllers of disks.

use super::mock::*;
use crate::Guest;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::Waker;
use mediator::pci::{Bdf, Driver, Function};
use mediator::{Instant, Op, Verdict, Violation, Width};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Wake;

const CARD: Function = Function {
    bdf: Bdf { bus: 0, device: 3, function: 0 },
    vendor: 0x8086,
    device: 0x100e,
    class: 2,
    subclass: 0,
    prog_if: 0,
};

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.swap(0, SeqCst)
    }
}

/// A guest with a disk's controller, which has number 0, and a card, which has the same ports in other places.
fn guest(machine: &mut MockMachine, script: Script) -> (Guest, CardScript) {
    let mut guest = guest_with(machine, Script::default());
    let card = CardScript::default();
    let place = Some(mediator::pci::Place::Port(0xe000));
    let region = mediator::pci::Region { region: mediator::RegionId(0), place, len: 8, polled: None };
    set_next(Script { card: Some(card.clone()), regions: Some([region].into()), ..script });
    assert_eq!(guest.bus.attach(machine, &CARD_DRIVER, &CARD), Ok(1));
    machine.events();
    (guest, card)
}

#[test]
fn cards_and_controllers_of_disks_are_told_apart() {
    let mut machine = MockMachine::new();
    let (mut guest, _) = guest(&mut machine, Script::default());
    assert!(guest.bus.has_controllers());
    assert_eq!(guest.bus.disk_controllers().map(|(number, _)| number).collect::<Vec<_>>(), [0]);
    let cards: Vec<_> = guest.bus.cards().map(|(number, card)| (number, card.card().mac)).collect();
    assert_eq!(cards, [(1, [2, 0, 0, 0, 0, 1])]);
}

#[test]
fn a_mediator_that_does_not_offer_what_its_driver_is_of_is_refused() {
    let mut machine = MockMachine::new();
    let mut guest = Guest::new(&mut machine, policy(), false);
    set_next(Script { card: Some(CardScript::default()), ..Script::default() });
    assert!(guest.bus.attach(&mut machine, &DRIVER, &IDE).is_err());
    set_next(Script::default());
    assert!(guest.bus.attach(&mut machine, &CARD_DRIVER, &CARD).is_err());
    assert!(!guest.bus.has_controllers());
    // What is neither is nobody's.
    static NEITHER: Driver<dyn mediator::Mediator> = Driver {
        name: "neither",
        matches: |_| true,
        regions: |_, _| Vec::new(),
        attach: |function, cx| (CARD_DRIVER.attach)(function, cx)?.into_mediator(),
    };
    set_next(Script { card: Some(CardScript::default()), ..Script::default() });
    assert_eq!(guest.bus.attach(&mut machine, &NEITHER, &CARD), Ok(0));
}

#[test]
fn registers_and_configuration_of_a_card_lead_to_its_mediator_also_after_the_machine_has_slept() {
    let mut machine = MockMachine::new();
    let resumed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&resumed);
    let script = Script {
        on_access: Box::new(|_, access| Ok(Verdict::Value(access.offset.into()))),
        on_config: Box::new(|_, access| match access.op {
            Op::Read => Ok(Verdict::Value(0x1234)),
            Op::Write(_) => Ok(Verdict::Done),
        }),
        on_resume: Box::new(move |_| {
            count.fetch_add(1, SeqCst);
        }),
        ..Script::default()
    };
    let (guest, _) = guest(&mut machine, script);
    let mut cpu = cpu_of(guest);
    for sleeps in 0..2 {
        assert_eq!(read_port(&mut cpu, &mut machine, 0xe004, Width::Dword), 4);
        write_port(&mut cpu, &mut machine, 0xcf8, Width::Dword, 0x8000_1800);
        assert_eq!(read_port(&mut cpu, &mut machine, 0xcfc, Width::Word), 0x1234);
        write_port(&mut cpu, &mut machine, 0xcfc, Width::Dword, 7);
        assert_eq!(resumed.load(SeqCst), sleeps);
        let frozen = cpu.guest.bus.on_suspend(&mut machine);
        cpu.guest.bus.on_resume(&mut machine, &frozen);
    }
}

#[test]
fn who_polls_a_card_is_woken_by_an_access_that_makes_it_want_that_earlier() {
    let mut machine = MockMachine::new();
    let (guest, card) = guest(&mut machine, Script::default());
    let mut cpu = cpu_of(guest);
    let guest = cpu.guest;
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut access = |at, machine: &mut MockMachine| {
        card.deadline.store(at, SeqCst);
        read_port(&mut cpu, machine, 0xe000, Width::Byte);
        bell.rung()
    };
    // Nobody polls it yet.
    assert_eq!(access(500, &mut machine), 0);
    assert_eq!(guest.bus.poll_card(&mut machine, 1, &waker), Some(Instant(500)));
    for (at, rings) in [(500, 0), (600, 0), (0, 0), (500, 0), (499, 1), (499, 0), (498, 1)] {
        assert_eq!(access(at, &mut machine), rings, "{at}");
    }
    // From never to some time.
    card.deadline.store(0, SeqCst);
    assert_eq!(guest.bus.poll_card(&mut machine, 1, &waker), None);
    for (at, rings) in [(0, 0), (900, 1), (900, 0)] {
        assert_eq!(access(at, &mut machine), rings, "{at}");
    }
    assert_eq!(card.polls.load(SeqCst), 2);
    // Not of controllers of disks, nor of such as are not there.
    assert_eq!(guest.bus.poll_card(&mut machine, 0, &waker), None);
    assert_eq!(guest.bus.poll_card(&mut machine, 2, &waker), None);
}

#[test]
fn a_card_in_quarantine_is_not_polled() {
    let mut machine = MockMachine::new();
    let mut detail = 0;
    let on_access = Box::new(move |_: &mut mediator::Ctx<'_>, _| {
        detail += 1;
        Err(Violation { what: "no", detail })
    });
    let (guest, card) = guest(&mut machine, Script { on_access, ..Script::default() });
    let mut cpu = cpu_of(guest);
    card.deadline.store(77, SeqCst);
    let polled = |cpu: &crate::Cpu<'_>, machine: &mut MockMachine| cpu.guest.bus.poll_card(machine, 1, Waker::noop());
    assert_eq!(polled(&cpu, &mut machine), Some(Instant(77)));
    for _ in 0..10_000 {
        read_port(&mut cpu, &mut machine, 0xe000, Width::Byte);
    }
    assert_eq!(polled(&cpu, &mut machine), None);
    assert_eq!(card.polls.load(SeqCst), 1);
}
