//! The words that the script is written in: from commands to queues, doorbells and memory.

use crate::steps::Steps;
use crate::{MEMORY, Place, Step, Until};
use alloc::vec::Vec;

pub const CAP: u32 = 0x00;
pub const VS: u32 = 0x08;
pub const INTMS: u32 = 0x0c;
pub const INTMC: u32 = 0x10;
pub const CC: u32 = 0x14;
pub const CSTS: u32 = 0x1c;
pub const NSSR: u32 = 0x20;
pub const AQA: u32 = 0x24;
pub const ASQ: u32 = 0x28;
pub const ACQ: u32 = 0x30;
pub const CMBLOC: u32 = 0x38;
pub const CMBSZ: u32 = 0x3c;

/// Enabled; entries of 64 and 16 bytes, pages of 4 KiB.
pub const ENABLED: u32 = 1 | 6 << 16 | 4 << 20;
pub const PAGE: u64 = 4096;
/// PRP lists.
pub const LISTS: u64 = MEMORY + 0x8_0000;
/// Entries of the admin queues.
pub const ADMIN_ENTRIES: u32 = 8;

const DOORBELLS: u32 = 0x1000;

/// Where the queues of a number lie: submission, then completion.
pub fn queues(id: u16) -> (u64, u64) {
    let at = MEMORY + 2 * PAGE * u64::from(id);
    (at, at + PAGE)
}

/// The doorbells of a number: tail of the submission queue, head of the completion queue (NVMe s. 3.1.24, 3.1.25).
pub fn doorbells(id: u16) -> (u32, u32) {
    let at = DOORBELLS + 8 * u32::from(id);
    (at, at + 4)
}

/// A command, without its identifier (NVMe s. 4.2).
#[derive(Clone, Copy)]
pub struct Command(pub [u32; 16]);

pub fn command(opcode: u32, nsid: u32) -> Command {
    let mut dwords = [0; 16];
    (dwords[0], dwords[1]) = (opcode, nsid);
    Command(dwords)
}

impl Command {
    pub fn dword(mut self, n: usize, value: u32) -> Self {
        self.0[n] = value;
        self
    }

    pub fn prps(self, first: u64, second: u64) -> Self {
        let halves = |at: u64| (at as u32, (at >> 32) as u32);
        let ((first, first_high), (second, second_high)) = (halves(first), halves(second));
        self.dword(6, first).dword(7, first_high).dword(8, second).dword(9, second_high)
    }

    /// Blocks, from `lba` on.
    pub fn blocks(self, lba: u64, count: u32) -> Self {
        self.dword(10, lba as u32).dword(11, (lba >> 32) as u32).dword(12, count - 1)
    }
}

/// A pair of queues as the driver has it.
#[derive(Default)]
struct Pair {
    entries: u32,
    tail: u32,
    head: u32,
    phase: u32,
}

/// The script, with the driver's state.
#[derive(Default)]
pub struct Driver {
    pub steps: Steps,
    pairs: [Pair; 3],
    next: u32,
}

impl Driver {
    pub fn about(&mut self, what: &'static str) -> &mut Self {
        self.steps.about(what);
        self
    }

    /// Begins with empty queues of these numbers of entries.
    pub fn queue(&mut self, id: u16, entries: u32) -> &mut Self {
        let (sq, cq) = queues(id);
        self.steps.fill(sq, PAGE as usize, 0).fill(cq, PAGE as usize, 0);
        self.pairs[usize::from(id)] = Pair { entries, phase: 1, ..Pair::default() };
        self
    }

    /// Admin queues, and CC.EN (NVMe s. 7.6.1).
    pub fn enable(&mut self) -> &mut Self {
        self.queue(0, ADMIN_ENTRIES);
        let (sq, cq) = queues(0);
        self.steps.write(AQA, (ADMIN_ENTRIES - 1) * 0x1_0001);
        for (register, at) in [(ASQ, sq), (ACQ, cq)] {
            self.steps.write(register, at as u32).write(register + 4, 0);
        }
        self.steps.write(CC, ENABLED).wait("CSTS.RDY is 1", CSTS, 1, 1);
        self
    }

    pub fn disable(&mut self) -> &mut Self {
        self.steps.write(CC, ENABLED & !1).wait("CSTS.RDY is 0", CSTS, 1, 0);
        self
    }

    /// Puts a command into a queue.
    pub fn put(&mut self, queue: u16, command: Command) -> &mut Self {
        let pair = &mut self.pairs[usize::from(queue)];
        let Command(mut dwords) = command;
        dwords[0] |= self.next << 16;
        self.next += 1;
        let at = queues(queue).0 + 64 * u64::from(pair.tail);
        pair.tail = (pair.tail + 1) % pair.entries;
        self.steps.put(at, dwords.iter().flat_map(|dword| dword.to_le_bytes()).collect());
        self
    }

    pub fn ring(&mut self, queue: u16) -> &mut Self {
        self.steps.write(doorbells(queue).0, self.pairs[usize::from(queue)].tail);
        self
    }

    /// The next completion: its 16 bytes (NVMe s. 4.6), without telling the controller.
    pub fn completion(&mut self, queue: u16) -> &mut Self {
        let pair = &mut self.pairs[usize::from(queue)];
        let at = queues(queue).1 + 16 * u64::from(pair.head);
        let until = Until::Is { mask: 1 << 16, value: pair.phase << 16 };
        pair.head = (pair.head + 1) % pair.entries;
        pair.phase ^= u32::from(pair.head == 0);
        self.steps.add(Step::Wait { name: "completion", place: Place::Memory(at + 12), until });
        self.steps.show("completion", at, 16);
        self
    }

    /// Tells the controller how far the driver is.
    pub fn seen(&mut self, queue: u16) -> &mut Self {
        self.steps.write(doorbells(queue).1, self.pairs[usize::from(queue)].head);
        self
    }

    /// A command from beginning to end.
    pub fn run(&mut self, queue: u16, command: Command) -> &mut Self {
        self.put(queue, command).ring(queue).completion(queue).seen(queue)
    }

    /// The same, all about it.
    pub fn try_one(&mut self, what: &'static str, queue: u16, command: Command) -> &mut Self {
        self.about(what).run(queue, command)
    }

    pub fn into_steps(self) -> Vec<Step> {
        self.steps.0
    }
}
