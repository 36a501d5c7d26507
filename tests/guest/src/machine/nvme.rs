//! The first namespace of an NVMe controller, by one pair of queues with interrupts. NVM Express 1.4.

use super::memory::{peek, poke};
use super::{cpu, irq, pci, time};

pub const CLASS: u16 = 0x0108;
const BAR0: u8 = 0x10;
const INTERRUPT_LINE: u8 = 0x3c;

pub const CC: u64 = 0x14;
pub const CSTS: u64 = 0x1c;
pub const AQA: u64 = 0x24;
pub const ASQ: u64 = 0x28;
pub const ACQ: u64 = 0x30;
pub const DOORBELLS: u64 = 0x1000;
/// Enabled; entries of 64 and 16 bytes.
pub const CC_ENABLED: u32 = 1 | 6 << 16 | 4 << 20;
const READY: u32 = 1;

pub const CREATE_SQ: u32 = 0x01;
pub const CREATE_CQ: u32 = 0x05;
pub const WRITE: u32 = 0x01;
pub const READ: u32 = 0x02;
pub const IDENTIFY: u32 = 0x06;
/// Of IDENTIFY: the controller; there, the power of two of pages that one command moves at most.
const CONTROLLER: u32 = 1;
const MDTS: u64 = 77;
const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// An admin command that has not ended by then does not.
const ADMIN_MS: u32 = 10_000;
/// Nor does another one by then.
const TRANSFER_MS: u32 = 10_000;
/// A hypervisor that has waited for a slow drive looks again so soon.
const RING_AGAIN_MS: u32 = 20;
/// Entries of each queue; not reached.
pub const ENTRIES: u16 = 32;

const MEMORY: u64 = 26 << 20;
/// A page each: admin queues, then the others'; a page of PRPs for each entry of a submission queue.
pub const QUEUES: [[u64; 2]; 2] = [[MEMORY, MEMORY + 0x1000], [MEMORY + 0x2000, MEMORY + 0x3000]];
const ANSWER: u64 = MEMORY + 0x4000;
const PRPS: u64 = MEMORY + 0x10000;

/// A submission queue and its completion queue.
#[derive(Default)]
struct Queue {
    tail: u16,
    head: u16,
    phase: bool,
}

/// The controller, started.
pub struct Nvme {
    /// Where they lie.
    pub registers: u64,
    pub line: u8,
    /// Of one command.
    max_bytes: usize,
    queues: [Queue; 2],
    /// A completion was taken that an interrupt may still tell of.
    ahead: bool,
}

impl Nvme {
    /// Takes it over from the BIOS. The line is to be opened by `irq::with_lines`.
    pub fn start() -> Self {
        Self::start_with(true)
    }

    /// The same, with or without interrupts of the second pair of queues.
    pub fn start_with(interrupts: bool) -> Self {
        let Some(function) = pci::Function::of_class(CLASS) else {
            crate::report::fail(format_args!("no NVMe controller on bus 0"))
        };
        function.enable_memory();
        let registers = u64::from(function.read32(BAR0) & !0xf) | u64::from(function.read32(BAR0 + 4)) << 32;
        let line = function.read8(INTERRUPT_LINE) & 15;
        let mut this = Self { registers, line, max_bytes: PAGE, queues: Default::default(), ahead: false };
        this.stop();
        QUEUES.as_flattened().iter().for_each(|&at| (0..PAGE as u64).step_by(8).for_each(|i| poke(at + i, 0u64)));
        this.queues.iter_mut().for_each(|queue| queue.phase = true);
        let size = u32::from(ENTRIES - 1);
        this.write(AQA, size | size << 16);
        for (register, at) in [(ASQ, QUEUES[0][0]), (ACQ, QUEUES[0][1])] {
            this.write(register, at as u32);
            this.write(register + 4, 0);
        }
        this.write(CC, CC_ENABLED);
        time::wait_until(|| this.read(CSTS) & READY != 0, "the controller is not ready");
        this.admin([IDENTIFY, ANSWER as u32, CONTROLLER, 0]);
        let mdts = peek::<u8>(ANSWER + MDTS);
        check!((1..10).contains(&mdts), "MDTS {mdts}");
        this.max_bytes = PAGE << mdts;
        let [sq, cq] = QUEUES[1];
        this.admin([CREATE_CQ, cq as u32, 1 | size << 16, 1 | u32::from(interrupts) << 1]);
        this.admin([CREATE_SQ, sq as u32, 1 | size << 16, 1 | 1 << 16]);
        irq::set_edge(line);
        this
    }

    /// Lets go of memory.
    pub fn stop(&self) {
        self.write(CC, 0);
        time::wait_until(|| self.read(CSTS) & READY == 0, "the controller stays ready");
    }

    /// Code, first PRP, CDW10 and 11 of an admin command; polled.
    fn admin(&mut self, [code, prp, cdw10, cdw11]: [u32; 4]) {
        self.submit(0, [code, 0, 0, prp, 0, 0, 0, cdw10, cdw11, 0]);
        self.ring(0);
        check_eq!(self.take(0, ADMIN_MS), Some(0), "status of an admin command");
    }

    /// Moves sectors to or from one stretch of memory, by as few commands as there can be, one doorbell and their interrupts.
    pub fn transfer(&mut self, write: bool, lba: u64, address: u64, sectors: usize) {
        let (mut open, bytes) = (0, sectors * SECTOR);
        for offset in (0..bytes).step_by(self.max_bytes) {
            let len = self.max_bytes.min(bytes - offset);
            let [low, high] = self.prps(address + offset as u64, len);
            let lba = lba + (offset / SECTOR) as u64;
            let code = if write { WRITE } else { READ };
            let blocks = (len / SECTOR - 1) as u32;
            self.submit(1, [code, 1, 0, low, 0, high, 0, lba as u32, (lba >> 32) as u32, blocks]);
            open += 1;
        }
        self.ring(1);
        let commands = open;
        while open > 0 {
            self.wait(open < commands);
            let (mut ended, was_ahead) = (0, core::mem::take(&mut self.ahead));
            loop {
                while self.is_new(1) {
                    self.complete_one(1);
                    ended += 1;
                }
                self.acknowledge(1);
                if !self.is_new(1) {
                    break;
                }
                self.ahead = true;
            }
            check!(ended > 0 || was_ahead, "an interrupt without a completion");
            open -= ended;
        }
    }

    /// Waits for the interrupt of a completion. One that has come before the acknowledgement of an earlier one (`others`)
    /// keeps the line where it is, and no edge tells of it; a hypervisor may have it, and looks again when it is asked.
    fn wait(&mut self, others: bool) {
        let (mut since, mut rung) = (time::Since::now(), 0);
        cpu::idle(|| {
            while !irq::is_requested(self.line) {
                let now = since.ms();
                check!(now < TRANSFER_MS, "no interrupt comes");
                if others && now > rung + RING_AGAIN_MS {
                    rung = now;
                    self.acknowledge(1);
                    if self.is_new(1) {
                        break;
                    }
                }
            }
        });
        if irq::is_requested(self.line) {
            irq::take_requested(self.line);
        } else {
            self.ahead = true;
        }
    }

    /// The two PRPs of a command: the first page, and the second, or the list of the others (s. 4.3).
    fn prps(&self, address: u64, len: usize) -> [u32; 2] {
        let list = PRPS + PAGE as u64 * u64::from(self.queues[1].tail);
        let pages = (1..len.div_ceil(PAGE) as u64).map(|page| address + page * PAGE as u64);
        let second = if len > 2 * PAGE { list } else { address + PAGE as u64 };
        pages.zip((list..).step_by(8)).for_each(|(page, at)| poke(at, page));
        [address as u32, if len > PAGE { second as u32 } else { 0 }]
    }

    /// Code, namespace, CDW4 (unused), both PRPs, and CDW10 to 12.
    fn submit(&mut self, queue: usize, [code, namespace, _, p0, p1, q0, q1, cdw10, cdw11, cdw12]: [u32; 10]) {
        let at = QUEUES[queue][0] + 64 * u64::from(self.queues[queue].tail);
        let id = u32::from(self.queues[queue].tail) << 16;
        let words = [code | id, namespace, 0, 0, 0, 0, p0, p1, q0, q1, cdw10, cdw11, cdw12, 0, 0, 0u32];
        poke(at, words);
        self.queues[queue].tail = (self.queues[queue].tail + 1) % ENTRIES;
    }

    /// Puts a command as it is into a queue. Gives its entry.
    pub fn put(&mut self, queue: usize, words: [u32; 16]) -> u64 {
        let at = QUEUES[queue][0] + 64 * u64::from(self.queues[queue].tail);
        poke(at, words);
        self.queues[queue].tail = (self.queues[queue].tail + 1) % ENTRIES;
        at
    }

    /// Waits for the next completion, and takes it: its status. `None`: none has come in so many milliseconds.
    pub fn take(&mut self, queue: usize, ms: u32) -> Option<u32> {
        let (mut since, mut rung) = (time::Since::now(), 0);
        while !self.is_new(queue) {
            let now = since.ms();
            if now > ms {
                return None;
            }
            // Nobody takes interrupts here.
            if now > rung + RING_AGAIN_MS {
                rung = now;
                self.ring(queue);
            }
        }
        let status = self.entry(queue) >> 17;
        self.advance(queue);
        self.acknowledge(queue);
        Some(status)
    }

    pub fn ring(&self, queue: usize) {
        self.write(DOORBELLS + 8 * queue as u64, self.queues[queue].tail.into());
    }

    /// Command, status and phase of the entry at the head.
    fn entry(&self, queue: usize) -> u32 {
        peek(QUEUES[queue][1] + 16 * u64::from(self.queues[queue].head) + 12)
    }

    fn is_new(&self, queue: usize) -> bool {
        (self.entry(queue) >> 16 & 1 != 0) == self.queues[queue].phase
    }

    fn complete_one(&mut self, queue: usize) {
        let status = self.entry(queue) >> 17;
        check_eq!(status, 0, "status of a command");
        self.advance(queue);
    }

    fn advance(&mut self, queue: usize) {
        let it = &mut self.queues[queue];
        it.head = (it.head + 1) % ENTRIES;
        it.phase ^= it.head == 0;
    }

    fn acknowledge(&self, queue: usize) {
        self.write(DOORBELLS + 8 * queue as u64 + 4, self.queues[queue].head.into());
    }

    pub fn read(&self, register: u64) -> u32 {
        peek(self.registers + register)
    }

    pub fn write(&self, register: u64, value: u32) {
        poke(self.registers + register, value);
    }
}
