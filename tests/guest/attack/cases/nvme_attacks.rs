//! An NVMe drive, driven as no driver does it: queues, PRPs and lists of them in the hypervisor's memory or over one another, doorbells
//! out of range, commands that are rewritten behind the doorbell, two CPUs on one queue, full completion queues, resets in mid-flight,
//! interrupt messages to the hypervisor's memory.
//!
//! No interrupt is taken here; the queues are polled, but for one whose messages are looked at where they go.
//!
//! Safe: errors and nonsense for the guest. No byte of the hypervisor's memory goes to the drive, none of it is overwritten (the reads
//! cover all of it: a hypervisor that let one through would be no more), and after each attack the drive does what it is told.

use crate::frame::hypervisor_memory;
use crate::frame::random::Random;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tiny::boot;
use tiny::machine::ata::{SECTOR, fill_pattern, pattern_mismatch};
use tiny::machine::memory::{Range, buffer, buffer_address, peek, poke};
use tiny::machine::nvme::*;
use tiny::machine::time::{delay_ms, wait_until};
use tiny::machine::{pci, smp};

/// A command that has not ended by then does not.
const PATIENCE_MS: u32 = 2000;
const PAGE: u64 = 4096;
const SECTORS: usize = 8;
const BYTES: usize = SECTORS * SECTOR;
/// Buffers: what is written, what is read, what attacks use, lists.
const WRITTEN: usize = 0;
const BACK: usize = 1;
const SPARE: usize = 2;
const LISTS: usize = 6;
/// Pages of the largest command that is surely taken.
const MOST_PAGES: u64 = 64;

const ADMIN: usize = 0;
const IO: usize = 1;

/// ID of MSI-X's capability, and its enable bit.
const MSI_X: u8 = 0x11;
const MSI_X_ENABLE: u16 = 1 << 15;

struct Attack {
    drive: Nvme,
    /// The hypervisor's memory.
    vmm: Range,
    /// Sectors that the attacks may not change, in the encrypted range and beside it.
    victims: [u64; 2],
    generation: u32,
}

pub fn run() {
    smp::start();
    let Some((first, count)) = boot::encrypted_range() else { tiny::report::fail(format_args!("no encrypted range")) };
    let victims = [u64::from(first) + 512, u64::from(first) + u64::from(count) + 512];
    let vmm = hypervisor_memory();
    let mut it = Attack { drive: Nvme::start_with(false), vmm: vmm.unwrap_or_default(), victims, generation: 1 };
    it.recover("the start");
    // The bare machine has nothing to defend.
    if vmm.is_some() {
        it.prps();
        it.lists();
        it.queues();
        it.doorbells();
        it.full_queue();
        it.rewritten();
        it.one_queue();
        it.resets();
        it.messages();
        it.random();
    }
    it.drive.stop();
}

fn command(code: u32, lba: u64, sectors: usize, prps: [u64; 2]) -> [u32; 16] {
    let mut words = [0; 16];
    (words[0], words[1]) = (code, 1);
    for (n, prp) in prps.into_iter().enumerate() {
        (words[6 + 2 * n], words[7 + 2 * n]) = (prp as u32, (prp >> 32) as u32);
    }
    (words[10], words[11], words[12]) = (lba as u32, (lba >> 32) as u32, sectors as u32 - 1);
    words
}

fn admin(code: u32, prp: u64, cdw10: u32, cdw11: u32) -> [u32; 16] {
    let mut words = command(code, u64::from(cdw10) | u64::from(cdw11) << 32, 1, [prp, 0]);
    words[1] = 0;
    words
}

impl Attack {
    /// Status of a command; `None`: it does not end.
    fn execute(&mut self, queue: usize, words: [u32; 16]) -> Option<u32> {
        self.drive.put(queue, words);
        self.drive.ring(queue);
        self.drive.take(queue, PATIENCE_MS)
    }

    /// Disables and enables the controller, and uses the drive.
    fn recover(&mut self, after: &str) {
        self.drive.stop();
        self.drive = Nvme::start_with(false);
        self.use_drive(after);
        say!("{after}: the drive works");
    }

    /// What was written last is there; something else is written and read.
    fn use_drive(&mut self, after: &str) {
        for (lba, at) in self.victims.into_iter().zip([0, BYTES]) {
            if self.generation > 1 {
                let back = &mut buffer(BACK)[..BYTES];
                back.fill(0);
                let read = self.execute(IO, command(READ, lba, SECTORS, [buffer_address(BACK), 0]));
                check_eq!(read, Some(0), "status of a read after {after}");
                let wrong = pattern_mismatch(lba, self.generation - 1, back);
                check_eq!(wrong, None, "the sector from {lba} on that has changed after {after}");
            }
            // Each from memory of its own: where a doorbell makes the controller do it once more it does the same.
            fill_pattern(lba, self.generation, &mut buffer(WRITTEN)[at..at + BYTES]);
            let written = self.execute(IO, command(WRITE, lba, SECTORS, [buffer_address(WRITTEN) + at as u64, 0]));
            check_eq!(written, Some(0), "status of a write after {after}");
        }
        self.generation += 1;
    }

    /// A command that must fail, and leaves the queues as they are.
    fn refused(&mut self, what: &str, words: [u32; 16]) {
        let status = self.execute(IO, words);
        check!(status.is_some_and(|status| status != 0), "{what}: status {status:x?}");
        self.use_drive(what);
    }

    fn prps(&mut self) {
        let (vmm, ram) = (self.vmm, buffer_address(SPARE));
        for lba in self.victims {
            for code in [READ, WRITE] {
                for (what, prps) in [
                    ("a PRP at the hypervisor's first byte", [vmm.start, 0]),
                    ("a PRP at its last page", [vmm.end() - PAGE, 0]),
                    ("a second PRP in its memory", [ram + PAGE - 512, vmm.start]),
                    ("PRPs in the controller's registers", [self.drive.registers, self.drive.registers + PAGE]),
                    ("a PRP where interrupt messages go", [0xfee0_0000, 0]),
                    ("a PRP above all memory", [1 << 46 | vmm.start, 0]),
                    ("PRPs at the end of all addresses", [!0xfff, !0xfff]),
                ] {
                    self.refused(what, command(code, lba, SECTORS, prps));
                }
            }
        }
        // All of its memory, as the answer to reads.
        for pages in (vmm.start..vmm.end()).step_by((MOST_PAGES * PAGE) as usize) {
            let list = buffer_address(LISTS);
            (1..MOST_PAGES).for_each(|n| poke(list + 8 * (n - 1), pages + n * PAGE));
            for lba in self.victims {
                let words = command(READ, lba + 64, MOST_PAGES as usize * 8, [pages, list]);
                let status = self.execute(IO, words);
                check!(status.is_some_and(|status| status != 0), "a read over its memory: status {status:x?}");
            }
        }
        self.recover("lists of the hypervisor's memory");
        for (code, cdw10) in [(IDENTIFY, 1), (IDENTIFY, 2), (0x02, 0x3ff << 16 | 1)] {
            let status = self.execute(ADMIN, admin(code, vmm.start, cdw10, 0));
            check!(status.is_some_and(|status| status != 0), "an answer to the hypervisor's memory: {status:x?}");
        }
        self.recover("admin commands that answer to the hypervisor's memory");
    }

    /// Lists in the hypervisor's memory, in circles, over themselves and over queues.
    fn lists(&mut self) {
        let (list, ram) = (buffer_address(LISTS), buffer_address(SPARE));
        let all = MOST_PAGES as usize * 8;
        for lba in self.victims.map(|lba| lba + 64) {
            for code in [READ, WRITE] {
                self.refused("a list in the hypervisor's memory", command(code, lba, all, [ram, self.vmm.start]));
                poke(list + PAGE - 8, list + PAGE - 8);
                self.refused(
                    "a list whose last entry leads to itself",
                    command(code, lba, all, [ram, list + PAGE - 8]),
                );
                poke(list + PAGE - 8, self.vmm.start);
                self.refused("a list that goes on in its memory", command(code, lba, all, [ram, list + PAGE - 8]));
                // Two pages that lead to one another.
                poke(list + PAGE - 8, list + 2 * PAGE - 8);
                poke(list + 2 * PAGE - 8, list + PAGE - 8);
                self.refused("lists in a circle", command(code, lba, all, [ram, list + PAGE - 8]));
            }
            // The guest's own harm, whatever comes of it.
            (0..MOST_PAGES).for_each(|n| poke(list + 8 * n, if n % 2 == 0 { ram } else { list }));
            let _ = self.execute(IO, command(READ, lba, all, [list, list]));
            self.use_drive("a list that its own data comes over");
            (0..MOST_PAGES).for_each(|n| poke(list + 8 * n, QUEUES[n as usize & 1][n as usize >> 1 & 1]));
            let _ = self.execute(IO, command(READ, lba, all, [ram, list]));
            self.recover("data over the queues");
        }
    }

    /// Queues in the hypervisor's memory and over one another.
    fn queues(&mut self) {
        let vmm = self.vmm.start;
        let size = u32::from(ENTRIES - 1);
        for (sq, cq) in [(vmm, QUEUES[0][1]), (QUEUES[0][0], vmm), (vmm, vmm), (QUEUES[0][0], QUEUES[0][0])] {
            self.drive.stop();
            for (register, at) in [(ASQ, sq), (ACQ, cq)] {
                self.drive.write(register, at as u32);
                self.drive.write(register + 4, 0);
            }
            self.drive.write(AQA, size | size << 16);
            self.drive.write(CC, CC_ENABLED);
            delay_ms(2);
            (1..ENTRIES).for_each(|tail| self.drive.write(DOORBELLS, tail.into()));
            delay_ms(2);
            self.recover("admin queues in the hypervisor's memory or over one another");
        }
        for at in [vmm, vmm + 0x1000, 0xfee0_0000, self.drive.registers, 1 << 46] {
            for (code, last) in [(CREATE_CQ, 3), (CREATE_SQ, 1 | 1 << 16)] {
                let _ = self.execute(ADMIN, admin(code, at, 2 | size << 16, last));
            }
            (1..ENTRIES).for_each(|tail| self.drive.write(DOORBELLS + 16, tail.into()));
            delay_ms(2);
            self.recover("a pair of queues in no memory of the guest's");
        }
    }

    fn doorbells(&mut self) {
        for value in [u32::from(ENTRIES), 0xffff, !0] {
            (0..4).for_each(|n| self.drive.write(DOORBELLS + 4 * n, value));
        }
        // Of queues that do not exist.
        (4..0x400).for_each(|n| self.drive.write(DOORBELLS + 4 * n, 1));
        // In parts, and two at once.
        for offset in 0..16 {
            poke(self.drive.registers + DOORBELLS + offset, 1_u8);
        }
        poke(self.drive.registers + DOORBELLS + 8, !0_u64);
        // Completions that are not there.
        (1..4).for_each(|head| self.drive.write(DOORBELLS + 12, 5 * head));
        self.use_drive("doorbells out of range");
    }

    /// More commands than completions that anybody takes.
    fn full_queue(&mut self) {
        for round in 0..4 {
            for _ in 0..2 {
                for n in 0..usize::from(ENTRIES) - 1 {
                    let lba = self.victims[round % 2] + 64 + 8 * n as u64;
                    self.drive.put(IO, command(READ, lba, SECTORS, [buffer_address(SPARE), 0]));
                }
                self.drive.ring(IO);
                delay_ms(5);
            }
            if round == 3 {
                break;
            }
            let mut taken = 0;
            while self.drive.take(IO, PATIENCE_MS).is_some() {
                taken += 1;
            }
            check_eq!(taken, 2 * (u32::from(ENTRIES) - 1), "completions after the queue was full");
            self.use_drive("a full completion queue");
        }
        self.recover("a reset with a full completion queue");
    }

    /// Another CPU changes commands and lists while this one rings.
    fn rewritten(&mut self) {
        let stop = AtomicBool::new(false);
        let (vmm, spare, list) = (self.vmm.start, buffer_address(SPARE), buffer_address(LISTS));
        let change = || {
            let mut n = 0_u64;
            while !stop.load(Relaxed) {
                n += 1;
                let evil = n & 1 != 0;
                let at = QUEUES[IO][0] + 64 * (n >> 1 & 31);
                poke(at + 24, if evil { vmm + (n << 12 & 0xf_f000) } else { spare });
                poke(at + 32, if n & 6 == 6 { vmm } else { list });
                poke(list + 8 * (n & 63), if evil { vmm } else { spare });
                poke::<u8>(at, [READ, WRITE][n as usize >> 3 & 1] as u8);
            }
        };
        let free = self.victims[0] + 64;
        for _ in 0..4 {
            stop.store(false, Relaxed);
            smp::on_others(&change, || {
                for n in 0..60 {
                    let sectors = [SECTORS, 16, MOST_PAGES as usize * 8][n % 3];
                    let _ = self.execute(IO, command([READ, WRITE][n % 2], free, sectors, [spare, list]));
                }
                stop.store(true, Relaxed);
            });
            self.recover("commands that another CPU rewrites");
        }
    }

    /// All CPUs use one queue without asking one another.
    fn one_queue(&mut self) {
        for _ in 0..2 {
            let free = self.victims[0] + 64;
            let drive = &self.drive;
            smp::on_all(&|| {
                let own = buffer_address(SPARE + smp::number());
                for n in 0..24_u32 {
                    let entry = QUEUES[IO][0] + 64 * u64::from(n % u32::from(ENTRIES));
                    poke(entry, command([READ, WRITE][n as usize % 2], free, SECTORS, [own, 0]));
                    drive.write(DOORBELLS + 8, (n + 1) % u32::from(ENTRIES));
                    if n % 4 == 3 {
                        drive.write(DOORBELLS + 12, n % u32::from(ENTRIES));
                    }
                }
            });
            self.recover("two CPUs on one queue");
        }
    }

    /// The controller is disabled, shut down, and its queues are deleted with commands in them.
    fn resets(&mut self) {
        for round in 0..12 {
            for n in 0..usize::from(ENTRIES) - 1 {
                let lba = self.victims[0] + 64 + 8 * n as u64;
                self.drive.put(IO, command([READ, WRITE][n % 2], lba, SECTORS, [buffer_address(SPARE), 0]));
            }
            self.drive.ring(IO);
            match round % 4 {
                0 => self.drive.write(CC, 0),
                1 => self.drive.write(CC, self.drive.read(CC) | 1 << 14),
                2 => {
                    self.drive.put(ADMIN, admin(0x00, 0, 1, 0));
                    self.drive.put(ADMIN, admin(0x04, 0, 1, 0));
                    self.drive.ring(ADMIN);
                }
                // Enabled anew at once.
                _ => {
                    self.drive.write(CC, 0);
                    self.drive.write(CC, CC_ENABLED);
                    self.drive.ring(IO);
                }
            }
            self.recover("a reset in mid-flight");
        }
    }

    /// Interrupt messages that are writes to the hypervisor's memory.
    fn messages(&mut self) {
        let Some((function, at)) = msi_x() else { return say!("no MSI-X") };
        let place = function.read32(at + 4);
        check_eq!(place & 7, 0, "the base address register of the table");
        let table = self.drive.registers + u64::from(place & !7);
        let entries = u64::from(function.read16(at + 2) & 0x7ff) + 1;
        for entry in (0..entries).map(|n| table + 16 * n) {
            poke(entry + 12, 0_u32);
            poke(entry, self.vmm.start as u32);
            poke(entry + 4, 0_u32);
            poke(entry + 8, 0xdead_beef_u32);
            poke(entry, self.vmm.start + 0x1000);
            poke(entry + 8, 0xdead_beef_u64);
            check!(u64::from(peek::<u32>(entry)) < self.vmm.start, "an interrupt message to {:#x}", peek::<u32>(entry));
        }
        function.write16(at + 2, MSI_X_ENABLE);
        let [sq, cq] = [0, PAGE].map(|offset| buffer_address(LISTS) + 0x1_0000 + offset);
        (cq..cq + PAGE).step_by(8).for_each(|at| poke(at, 0_u64));
        for (code, at, last) in [(CREATE_CQ, cq, 3), (CREATE_SQ, sq, 1 | 2 << 16)] {
            let status = self.execute(ADMIN, admin(code, at, 2 | 15 << 16, last));
            check_eq!(status, Some(0), "status of the creation of a queue with interrupts");
        }
        let interrupt = |drive: &Nvme, n: u32| {
            let entry = sq + 64 * u64::from(n);
            poke(entry, command(READ, 0, SECTORS, [buffer_address(SPARE) + 0x10_0000, 0]));
            drive.write(DOORBELLS + 16, n + 1);
        };
        interrupt(&self.drive, 0);
        delay_ms(20);
        self.use_drive("interrupt messages to the hypervisor's memory");
        // The guest's own memory is its own.
        let target = buffer_address(SPARE) + 0x1000;
        poke(target, 0_u32);
        for entry in (0..entries).map(|n| table + 16 * n) {
            poke(entry, target);
            poke(entry + 8, 0xaffe_u64);
        }
        interrupt(&self.drive, 1);
        wait_until(|| peek::<u32>(target) == 0xaffe, "the message to the guest's memory does not come");
        function.write16(at + 2, 0);
        self.recover("interrupt messages");
    }

    /// Anything.
    fn random(&mut self) {
        let mut random = Random::new(0x4e4d);
        for round in 0..40 {
            for _ in 0..24 {
                let places = [
                    buffer_address(SPARE) + ((random.next() % 0x1_0000) & !3),
                    buffer_address(LISTS),
                    self.vmm.start + ((random.next() % self.vmm.len) & !0xfff),
                    self.drive.registers,
                    0xfee0_0000,
                    QUEUES[IO][0],
                    // No RAM is there; below, it could be this program.
                    random.value() | 1 << 40,
                ];
                for n in 0..64 {
                    poke(buffer_address(LISTS) + 8 * n, places[random.below(places.len())]);
                }
                let mut place = || places[random.below(places.len())];
                let prps = [place(), place()];
                let code = [READ, WRITE, READ, WRITE, 0, 5, 8, 9, random.next() as u32 & 0xff][random.below(9)];
                // Beyond the victims, and in the encrypted range.
                let lba = self.victims[0] + 64 + random.next() % 4096;
                let mut words = command(code, lba, 1 + random.below(512), prps);
                if random.below(4) == 0 {
                    words[[0, 1, 6, 7, 8, 9, 12, 13][random.below(8)]] = random.next() as u32;
                }
                self.drive.put(IO, words);
            }
            self.drive.ring(IO);
            match random.below(6) {
                0 => self.drive.write(DOORBELLS + 4 * random.below(6) as u64, random.next() as u32 & 0x3f),
                1 => self.drive.write(CC, random.next() as u32 & !1 | u32::from(round % 2 == 0)),
                _ => while self.drive.take(IO, 2).is_some() {},
            }
            self.recover("commands at random");
        }
    }
}

/// The drive's function, and the place of its MSI-X capability.
fn msi_x() -> Option<(pci::Function, u8)> {
    let function = pci::Function::of_class(CLASS)?;
    let mut at = function.read8(0x34) & 0xfc;
    for _ in 0..48 {
        if at == 0 {
            break;
        }
        if function.read8(at) == MSI_X {
            return Some((function, at));
        }
        at = function.read8(at + 1) & 0xfc;
    }
    None
}
