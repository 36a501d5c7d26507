//! A function that the guest does not find, and a guest that looks for it.

use crate::memory_guard_tests::{Function, Nothing, Windows};
use crate::{HIDE, header};
use alloc::vec::Vec;
use mediator::pci::{AttachError, Attached, Bdf};
use mediator::*;

const HIDDEN: mediator::pci::Function = mediator::pci::Function {
    bdf: Bdf { bus: 0, device: 3, function: 0 },
    vendor: 0x10ec,
    device: 0x8139,
    class: 2,
    subclass: 0,
    prog_if: 0,
};

fn with<R>(function: &mut Function, call: impl FnOnce(&mut Ctx<'_>) -> R) -> R {
    call(&mut Ctx {
        device: function,
        guest: &mut Nothing,
        arena: &mut Nothing,
        hooks: &mut Windows::default(),
        work: &mut Vec::new(),
        now: Instant(0),
    })
}

/// Taken over while firmware has it at work.
fn hide(function: &mut Function) -> Result<Attached<dyn Mediator>, AttachError> {
    function.config_write(header::COMMAND, Width::Word, 7);
    with(function, |cx| (HIDE.attach)(&HIDDEN, cx))
}

fn command(function: &Function) -> u32 {
    function.get(header::COMMAND) & 0xffff
}

#[test]
fn a_hidden_function_is_switched_off_and_an_empty_place_to_the_guest() {
    let mut function = Function::new();
    let Attached { mut controller, regions, windows } = hide(&mut function).unwrap();
    assert_eq!((command(&function), regions, windows), (header::COMMAND_NO_INTERRUPT, Vec::new(), Vec::new()));
    for offset in (0..256).step_by(4) {
        let before = function.get(offset);
        for (width, ones) in [(Width::Byte, 0xff), (Width::Word, 0xffff), (Width::Dword, 0xffff_ffff)] {
            let mut access =
                |op| with(&mut function, |cx| controller.on_config(cx, ConfigAccess { offset, width, op }));
            assert_eq!(access(Op::Read), Ok(Verdict::Value(ones)));
            assert_eq!(access(Op::Write(0x1234_5607 & ones)), Ok(Verdict::Done));
        }
        assert_eq!(function.get(offset), before);
    }
}

#[test]
fn a_hidden_function_that_firmware_has_switched_on_is_switched_off_after_sleep() {
    let mut function = Function::new();
    let mut controller = hide(&mut function).unwrap().controller;
    function.config_write(header::COMMAND, Width::Word, 7);
    with(&mut function, |cx| controller.on_resume(cx));
    assert_eq!(command(&function), header::COMMAND_NO_INTERRUPT);
}

#[test]
fn a_function_that_cannot_be_switched_off_cannot_be_hidden() {
    let mut function = Function::new();
    function.config_write(header::COMMAND, Width::Word, 7);
    // It keeps its bus mastering.
    function.masks.insert(header::COMMAND, !4);
    assert!(hide(&mut function).is_err());
}
