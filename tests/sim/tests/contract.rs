//! The oracle sees a mediator that does not do its work, and the harness one that breaks the contract.
#![forbid(unsafe_code)]

use mediator::disk::{DiskController, DiskError, DiskInfo, RangeMap};
use mediator::pci::{AttachError, Attached, Driver, Function, Place, Region};
use mediator::{
    Access, ConfigAccess, Ctx, Device, Mediator, Op, RegionId, StringIo, Verdict, Violation, Work, WorkError,
};
use sim::guest::{Command, GuestDriver};
use sim::ide::{BUS_MASTER_BASE, Kind};
use sim::{DmaFault, Machine, SimIde, VMM};
use std::sync::Arc;

/// Passes everything, except that reads of the alternate status get its one verdict.
struct Careless(Verdict);

impl Mediator for Careless {
    fn name(&self) -> &str {
        "careless"
    }

    fn on_access(&mut self, _: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        let asked = access.region == RegionId(1) && access.op == Op::Read;
        Ok(if asked { self.0 } else { Verdict::Passthrough })
    }

    fn on_string(&mut self, _: &mut Ctx<'_>, _: RegionId, _: u32, _: StringIo<'_>) -> Result<usize, Violation> {
        Ok(0)
    }

    fn on_config(&mut self, _: &mut Ctx<'_>, _: ConfigAccess) -> Result<Verdict, Violation> {
        Ok(Verdict::Passthrough)
    }

    fn on_resume(&mut self, _: &mut Ctx<'_>) {}

    fn on_work_done(&mut self, _: &mut Ctx<'_>, _: Work, _: Result<(), WorkError>) {}

    fn as_disks(&mut self) -> Option<&mut dyn DiskController> {
        Some(self)
    }
}

impl DiskController for Careless {
    fn disks(&self) -> Vec<DiskInfo> {
        Vec::new()
    }

    fn read_before_guest(&mut self, _: &mut Ctx<'_>, _: usize, _: u64, _: &mut [u8]) -> Result<(), DiskError> {
        Err(DiskError::Request)
    }

    fn set_ranges(&mut self, _: usize, _: Arc<dyn RangeMap>) -> Result<(), DiskError> {
        Err(DiskError::Request)
    }
}

fn regions(_: &Function, _: &mut dyn Device) -> Vec<Region> {
    [(0x1f0, 8), (0x3f6, 1), (BUS_MASTER_BASE, 16)]
        .into_iter()
        .zip(0..)
        .map(|((base, len), id)| Region { region: RegionId(id), place: Some(Place::Port(base)), len, polled: None })
        .collect()
}

fn attach(function: &Function, cx: &mut Ctx<'_>, verdict: Verdict) -> Result<Attached, AttachError> {
    Ok(Attached { controller: Box::new(Careless(verdict)), regions: regions(function, cx.device), windows: Vec::new() })
}

fn machine(attach: fn(&Function, &mut Ctx<'_>) -> Result<Attached, AttachError>) -> Machine {
    let mut machine = Machine::new(SimIde::new([Kind::disk(1000), Kind::Empty, Kind::Empty, Kind::Empty]));
    machine.attach(&Driver { name: "careless", matches: |_| true, regions, attach }).unwrap();
    machine
}

#[test]
fn a_table_in_guest_memory_and_addresses_of_the_vmm_are_seen() {
    let mut machine = machine(|function, cx| attach(function, cx, Verdict::Passthrough));
    let read = Command { command: 0xc8, count: 1, ..Command::default() };
    GuestDriver::new(&mut machine, 0, 0).dma(read, false, &[(VMM.start, 512)]).unwrap();
    assert!(machine.faults.iter().any(|fault| matches!(fault, DmaFault::TableOutsideArena { .. })));
    assert!(machine.faults.contains(&DmaFault::Vmm { at: VMM.start, len_bytes: 512 }));
}

#[test]
fn protected_sectors_that_go_straight_to_guest_memory_are_seen() {
    let mut machine = machine(|function, cx| attach(function, cx, Verdict::Passthrough));
    machine.ide.disk(0, 0).bounced = 5..6;
    let read = Command { command: 0xc8, count: 5, ..Command::default() };
    GuestDriver::new(&mut machine, 0, 0).dma(read, false, &[(0x20_0000, 2560)]).unwrap();
    assert!(!machine.faults.iter().any(|fault| matches!(fault, DmaFault::ProtectedWithoutBounce { .. })));
    let read = Command { lba: 5, count: 1, ..read };
    GuestDriver::new(&mut machine, 0, 0).dma(read, false, &[(0x20_0000, 512)]).unwrap();
    assert!(machine.faults.iter().any(|fault| matches!(fault, DmaFault::ProtectedWithoutBounce { .. })));
}

#[test]
#[should_panic(expected = "again for ever")]
fn again_without_work_ends() {
    let mut machine = machine(|function, cx| attach(function, cx, Verdict::Again));
    let _ = GuestDriver::new(&mut machine, 0, 0).input(8);
}

#[test]
#[should_panic(expected = "no value was given")]
fn a_read_needs_a_value() {
    let mut machine = machine(|function, cx| attach(function, cx, Verdict::Done));
    let _ = GuestDriver::new(&mut machine, 0, 0).input(8);
}

#[test]
fn string_io_without_progress_is_a_violation_and_ends() {
    let mut machine = machine(|function, cx| attach(function, cx, Verdict::Passthrough));
    let mut data = [0; 8];
    machine.guest_rep_in(0x1f0, mediator::Width::Word, &mut data);
    assert_eq!((data, machine.violations.len()), ([0xff; 8], 1));
}
