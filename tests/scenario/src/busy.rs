//! IDE machines for the VMM's own requests: slow ones, and some that never rest.

use crate::own::{OwnRig, Random, flush, read, write};
use crate::{Rig, payload};
use mediator::disk::{OwnOp, OwnRequest};
use sim::{Machine, SECTOR_BYTES};
use std::cell::RefCell;
use std::rc::Rc;

/// A device that takes a step for each sector, and ends nothing because it is looked at.
pub fn slow() -> Rig {
    let mut rig = Rig::new();
    slow_down(&mut rig.machine);
    rig
}

/// Makes the first channel such a one.
pub fn slow_down(machine: &mut Machine) {
    machine.ide.channels[0].patience = None;
    machine.ide.channels[0].sectors_per_tick = 1;
}

/// The commands that have reached its units.
pub fn received(machine: &Machine) -> Vec<u8> {
    machine.ide.channels[0].received.iter().map(|received| received.command).collect()
}

/// Requests of the VMM's own of all kinds on both disks, asked for whenever this is called.
pub struct Busy {
    random: Random,
    under_way: [Option<OwnRequest>; 2],
    pub ended: usize,
}

impl Busy {
    /// Ours lie elsewhere than the guest's: what comes of two writes at once is nobody's promise.
    const FIRST: u64 = 20_000;

    fn new(seed: u64) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { random: Random(seed), under_way: [None, None], ended: 0 }))
    }

    /// Asks for what is under way, and submits what is not.
    ///
    /// # Panics
    /// When one fails or reads something else.
    pub fn turn(&mut self, machine: &mut Machine) {
        for disk in [0, 1] {
            let Some(asked) = self.under_way[disk].take() else {
                let lba = Self::FIRST + self.random.below(24);
                let request = match self.random.below(4) {
                    0 => flush(),
                    1 => write(lba, &Self::content(lba, 1 + self.random.below(12))),
                    _ => read(lba, 1 + self.random.below(12) as usize),
                };
                let copy = OwnRequest { op: request.op, lba: request.lba, data: request.data.clone() };
                machine.submit_own(disk, request).unwrap();
                self.under_way[disk] = Some(copy);
                continue;
            };
            match machine.poll_own(disk) {
                None => self.under_way[disk] = Some(asked),
                Some(Ok(data)) if asked.op == OwnOp::Read => {
                    let expected = Self::content(asked.lba, (asked.data.len() / SECTOR_BYTES) as u64);
                    assert!(data == expected, "ours from {} is wrong", asked.lba);
                    self.ended += 1;
                }
                Some(end) => {
                    end.unwrap();
                    self.ended += 1;
                }
            }
        }
    }

    /// What is in these sectors, always.
    fn content(lba: u64, sectors: u64) -> Vec<u8> {
        payload(77, lba, sectors)
    }
}

/// A machine whose disks hold what [`Busy`] reads.
///
/// # Panics
/// When they cannot be written.
pub fn busy_rig(seed: u64) -> (Rig, Rc<RefCell<Busy>>) {
    let mut rig = Rig::new();
    rig.own_write(Busy::FIRST, &Busy::content(Busy::FIRST, 64)).unwrap();
    rig.machine.submit_own(1, write(Busy::FIRST, &Busy::content(Busy::FIRST, 64))).unwrap();
    while rig.machine.poll_own(1).is_none() {
        rig.machine.tick();
    }
    (rig, Busy::new(seed))
}
