//! Registers in memory that the guest finds elsewhere than the device has them.

use super::mock::*;
use crate::*;
use MmioEvent::{Read, Write};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use mediator::Width::Dword;
use mediator::pci::{Place, Region, Window};
use mediator::{ConfigAccess, Ctx, Gpa, HookConflict, Op, RegionId, Verdict, Width};
use std::sync::Mutex;

/// Three pages, in the second and third of which are registers, and beside them something that is not guarded.
const HOME: u64 = 0xfebf_0000;
const LEN: u32 = 0x4000;
const REGISTERS: u64 = HOME + 0x1000;
const REGISTERS_LEN: u32 = 0x1800;
/// Half a page, all of it registers.
const SMALL: u64 = 0xfea0_0800;
const SMALL_LEN: u32 = 0x800;
/// Anywhere.
const PLACE: u64 = 0xe000_0000;
const HIGH: u64 = 0x12_0000_4000;
/// MOV EAX, [RDI] and MOV [RDI], EAX.
const LOAD: &[u8] = &[0x8b, 0x07];
const STORE: &[u8] = &[0x89, 0x07];

type Moves = Arc<Mutex<Vec<(usize, Option<u64>)>>>;
type Results = Arc<Mutex<Vec<Result<(), HookConflict>>>>;

struct Rig {
    machine: MockMachine,
    cpu: Cpu<'static>,
    moves: Moves,
    results: Results,
}

impl Rig {
    fn new(code: &[u8], change: impl FnOnce(&mut Guest)) -> Self {
        Self::with(code, LEN, change)
    }

    fn with(code: &[u8], len: u32, change: impl FnOnce(&mut Guest)) -> Self {
        let (moves, results) = (Moves::default(), Results::default());
        let (wanted, told) = (Arc::clone(&moves), Arc::clone(&results));
        let on_config = Box::new(move |cx: &mut Ctx<'_>, access: ConfigAccess| {
            for (window, place) in wanted.lock().unwrap().drain(..) {
                told.lock().unwrap().push(cx.hooks.move_window(window, place.map(Gpa)));
            }
            Ok(if access.op == Op::Read { Verdict::Value(0) } else { Verdict::Done })
        });
        let on_access = Box::new(|_: &mut Ctx<'_>, _| Ok(Verdict::Passthrough));
        let region = |number, at, len| {
            let place = Some(Place::Memory(Gpa(at)));
            Region { region: RegionId(number), place, len, polled: None }
        };
        let regions = Some([region(0, REGISTERS, REGISTERS_LEN), region(1, SMALL, SMALL_LEN)].into());
        let windows = [Window { home: Gpa(HOME), len }, Window { home: Gpa(SMALL), len: SMALL_LEN }].into();
        let mut machine = MockMachine::with_code(code);
        let mut guest =
            guest_with(&mut machine, Script { on_config, on_access, regions, windows, ..Script::default() });
        change(&mut guest);
        machine.device_memory.events.clear();
        Self { machine, cpu: cpu_of(guest), moves, results }
    }

    /// A write to configuration space, in which the mediator moves windows.
    fn moving(&mut self, moves: &[(usize, Option<u64>)]) -> Vec<Result<(), HookConflict>> {
        self.moves.lock().unwrap().extend_from_slice(moves);
        write_port(&mut self.cpu, &mut self.machine, 0xcf8, Width::Dword, 0x8000_0910);
        write_port(&mut self.cpu, &mut self.machine, 0xcfc, Width::Dword, 0);
        core::mem::take(&mut self.results.lock().unwrap())
    }

    /// The instruction touches an address; gives what it has read, and what reached the bus.
    fn touch(&mut self, at: u64, write: bool) -> (u64, Vec<MmioEvent>) {
        let mut vcpu = MockVcpu::long();
        vcpu.set(Gpr::Rdi, at);
        vcpu.set(Gpr::Rax, 0x1234);
        vcpu.fault = Some(NestedFault { gpa: Gpa(at), write, fetch: false, page_walk: false, delivering: None });
        assert_eq!(self.cpu.on_exit(&mut vcpu, &mut self.machine, Exit::NestedFault), Outcome::Resume);
        (vcpu.get(Gpr::Rax), core::mem::take(&mut self.machine.device_memory.events))
    }

    fn hooked(&self) -> Vec<u64> {
        self.machine.hooked.iter().copied().collect()
    }
}

#[test]
fn all_pages_of_a_window_are_hooked_at_home() {
    let rig = Rig::new(LOAD, |_| {});
    let mut pages: Vec<_> = rig.cpu.guest.hooked_pages().collect();
    pages.sort_unstable_by_key(|(page, _)| page.0);
    let expected = [SMALL & !0xfff, HOME, HOME + 0x1000, HOME + 0x2000, HOME + 0x3000];
    assert_eq!(pages, expected.map(|page| (Gpa(page), Hook::All)));
    assert_eq!(rig.hooked(), []);
}

#[test]
fn what_the_guest_finds_elsewhere_reaches_the_device_at_home() {
    for place in [PLACE, HIGH, 0x8000_0000] {
        let mut rig = Rig::new(LOAD, |_| {});
        assert_eq!(rig.moving(&[(0, Some(place))]), [Ok(())]);
        assert_eq!(rig.hooked(), [place, place + 0x1000, place + 0x2000, place + 0x3000]);
        // Registers, and what lies beside them.
        for offset in [0x1000, 0x27fc, 0x2800, 0, 0x3ffc] {
            rig.machine.device_memory.values.insert(HOME + offset, 0x77);
            assert_eq!(rig.touch(place + offset, false), (0x77, [Read(HOME + offset, Dword)].into()), "{offset:#x}");
        }
        let mut rig = Rig::new(STORE, |_| {});
        rig.moving(&[(0, Some(place))]);
        assert_eq!(rig.touch(place + 0x1008, true).1, [Write(HOME + 0x1008, Dword, 0x1234)]);
    }
}

#[test]
fn home_answers_all_ones_while_the_guest_has_the_window_elsewhere_or_nowhere() {
    for place in [Some(PLACE), None] {
        let mut rig = Rig::new(LOAD, |_| {});
        rig.moving(&[(0, place)]);
        for offset in [0, 0x1000, 0x2800, 0x3ffc] {
            assert_eq!(rig.touch(HOME + offset, false), (0xffff_ffff, Vec::new()), "{offset:#x}");
        }
        let mut rig = Rig::new(STORE, |_| {});
        rig.moving(&[(0, place)]);
        assert_eq!(rig.touch(REGISTERS, true).1, []);
        // And back.
        rig.moving(&[(0, Some(HOME))]);
        assert_eq!((rig.touch(REGISTERS, true).1.len(), rig.hooked()), (1, Vec::new()));
    }
}

#[test]
fn a_place_that_was_left_is_the_guests_again() {
    let mut rig = Rig::new(LOAD, |_| {});
    rig.moving(&[(0, Some(PLACE))]);
    rig.moving(&[(0, Some(HIGH))]);
    assert_eq!(rig.hooked(), [HIGH, HIGH + 0x1000, HIGH + 0x2000, HIGH + 0x3000]);
    rig.moving(&[(0, None)]);
    assert_eq!(rig.hooked(), []);
    // The way of a sizing write, with the same place before and after.
    rig.moving(&[(0, Some(PLACE))]);
    rig.moving(&[(0, None), (0, Some(PLACE))]);
    assert_eq!(rig.hooked().len(), 4);
}

#[test]
fn a_place_above_4_gib_that_a_cpu_has_seen_leads_nowhere_once_it_is_left() {
    for code in [LOAD, STORE] {
        let mut rig = Rig::new(code, |_| {});
        rig.moving(&[(0, Some(HIGH))]);
        assert_eq!(rig.touch(HIGH + 0x1000, code == STORE).1.len(), 1);
        rig.moving(&[(0, None)]);
        // The fault of an access that was on its way.
        assert_eq!(rig.touch(HIGH + 0x1000, code == STORE).1, []);
    }
}

#[test]
fn nothing_is_placed_where_the_vmm_or_the_guest_has_something() {
    let mut rig = Rig::new(LOAD, |guest| {
        guest.close_to_registers(0..0x4000_0000);
        guest.close_to_registers(0x1_0000_0000..0x2_0000_0000);
        guest.set_local_apic_page(Gpa(0xd000_0000));
        guest.guard_config_window(&ConfigWindow { base: Gpa(0xb000_0000), buses: 0..=0 }).unwrap();
    });
    for place in [
        0x3fff_f000,
        0x1000_0000,
        0,
        0xa_0000,
        0xf_c000,
        0x1_ffff_c000,
        0xffff_c000,
        0x1_0000_0000,
        0xfec0_0000,
        0xfebf_d000,
        0xfee0_0000,
        0xffff_0000,
        0xd000_0000,
        0xd01f_c000,
        0xb000_0000,
        0xb00f_c000,
        u64::MAX - 0x3fff,
        PLACE + 4,
    ] {
        assert_eq!(rig.moving(&[(0, Some(place))]), [Err(HookConflict)], "{place:#x}");
        assert_eq!(rig.hooked(), [], "{place:#x}");
        assert_eq!(rig.touch(REGISTERS, false).1.len(), 1, "{place:#x}: it is still at home");
    }
}

#[test]
fn two_windows_are_never_at_one_place_and_may_change_places() {
    let mut rig = Rig::new(LOAD, |_| {});
    for place in [HOME, HOME + 0x800, HOME + 0x3800] {
        assert_eq!(rig.moving(&[(1, Some(place))]), [Err(HookConflict)], "{place:#x}");
    }
    assert_eq!(rig.moving(&[(0, Some(SMALL & !0xfff))]), [Err(HookConflict)]);
    let moves = [(0, None), (1, Some(HOME + 0x800)), (0, Some(HOME))];
    assert_eq!(rig.moving(&moves), [Ok(()), Ok(()), Err(HookConflict)]);
    assert_eq!(rig.touch(HOME + 0x808, false).1, [Read(SMALL + 8, Dword)]);
    assert_eq!(rig.touch(HOME + 0x1008, false).1, []);
    assert_eq!(rig.touch(SMALL, false).1, []);
    assert_eq!(rig.moving(&[(0, Some(SMALL & !0x3fff))]), [Ok(())]);
    assert_eq!(rig.touch((SMALL & !0x3fff) + 0x1004, false).1, [Read(HOME + 0x1004, Dword)]);
}

#[test]
fn what_lies_beside_a_small_window_passes_where_it_is() {
    let mut rig = Rig::new(LOAD, |_| {});
    rig.moving(&[(1, Some(PLACE + 0x800))]);
    assert_eq!(rig.hooked(), [PLACE]);
    assert_eq!(rig.touch(PLACE + 0x7fc, false).1, [Read(PLACE + 0x7fc, Dword)]);
    assert_eq!(rig.touch(PLACE + 0x800, false).1, [Read(SMALL, Dword)]);
    assert_eq!(rig.touch(SMALL - 4, false).1, [Read(SMALL - 4, Dword)]);
    // In one page with it, and alone.
    assert_eq!(rig.moving(&[(0, Some(PLACE - 0x4000))]), [Ok(())]);
    assert_eq!(rig.moving(&[(1, None)]), [Ok(())]);
    assert!(!rig.machine.hooked.contains(&PLACE));
}

#[test]
fn pages_that_are_hooked_for_good_or_for_another_window_stay_so() {
    let mut rig = Rig::new(LOAD, |_| {});
    rig.moving(&[(0, None), (1, Some(HOME + 0x800)), (1, Some(PLACE + 0x800))]);
    // Asked for or not: what counts is that nobody asked for the opposite.
    assert!(rig.cpu.guest.hooked_pages().any(|(page, _)| page.0 == HOME));
    rig.moving(&[(1, Some(HOME + 0x800))]);
    rig.moving(&[(1, Some(SMALL))]);
    assert_eq!(rig.touch(HOME + 0x800, false), (0xffff_ffff, Vec::new()));
}

#[test]
fn without_memory_for_hooks_the_registers_are_nowhere() {
    let mut rig = Rig::new(LOAD, |_| {});
    rig.machine.most_hooked = 3;
    rig.moving(&[(0, Some(PLACE))]);
    assert_eq!(rig.hooked(), []);
    assert_eq!(rig.touch(REGISTERS, false).1, []);
    rig.machine.most_hooked = 4;
    rig.moving(&[(0, Some(PLACE))]);
    assert_eq!(rig.touch(PLACE + 0x1000, false).1, [Read(REGISTERS, Dword)]);
}

#[test]
fn a_window_of_more_than_a_mib_stays_at_home() {
    let mut rig = Rig::with(LOAD, 2 << 20, |_| {});
    assert_eq!(rig.moving(&[(0, Some(PLACE))]), [Err(HookConflict)]);
    assert_eq!(rig.cpu.guest.hooked_pages().count(), 3, "of its pages, those with registers");
    assert_eq!(rig.moving(&[(0, None), (0, Some(HOME))]), [Ok(()), Ok(())]);
}

#[test]
fn nothing_moves_but_in_a_write_to_configuration_space() {
    let mut rig = Rig::new(LOAD, |_| {});
    rig.moves.lock().unwrap().push((0, Some(PLACE)));
    write_port(&mut rig.cpu, &mut rig.machine, 0xcf8, Width::Dword, 0x8000_0910);
    let before = rig.machine.stops;
    read_port(&mut rig.cpu, &mut rig.machine, 0xcfc, Width::Dword);
    assert_eq!((rig.results.lock().unwrap().as_slice(), rig.machine.stops), (&[Err(HookConflict)][..], before));
    rig.moving(&[(0, Some(PLACE))]);
    assert!(rig.machine.stops > before, "the others stand meanwhile");
}
