//! The disk of an AHCI controller, driven as no driver does it: command lists, received FISes, tables and regions in the hypervisor's
//! memory or over one another, commands that are rewritten behind the doorbell, two CPUs on one slot, resets in mid-flight.
//!
//! Safe: errors and nonsense for the guest. No byte of the hypervisor's memory goes to the disk, none of it is overwritten (the reads
//! cover all of it: a hypervisor that let one through would be no more), and after each attack the disk does what it is told.

use crate::frame::hypervisor_memory;
use crate::frame::random::Random;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tiny::boot;
use tiny::machine::ahci::*;
use tiny::machine::ata::{SECTOR, fill_pattern, pattern_mismatch};
use tiny::machine::memory::{Range, buffer, buffer_address, poke};
use tiny::machine::smp;
use tiny::machine::time::{Since, delay_ms, wait_until};

const READ: u8 = 0x25;
const WRITE: u8 = 0x35;
const READ_QUEUED: u8 = 0x60;
const IDENTIFY: u8 = 0xec;
/// A command that has not ended by then does not.
const PATIENCE_MS: u32 = 300;
const SECTORS: usize = 8;
const BYTES: u32 = (SECTORS * SECTOR) as u32;
/// Buffers: what is written, what is read, what attacks use.
const WRITTEN: usize = 0;
const BACK: usize = 1;
const SPARE: usize = 2;
/// A table for very many regions.
const LONG_TABLE: u64 = 28 << 20;
/// Most bytes of a region.
const REGION: u64 = 4 << 20;

/// Address and bytes of a region.
type Region = (u64, u32);

struct Attack {
    disk: Ahci,
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
    let disk = Ahci::start();
    let vmm = hypervisor_memory();
    let mut it = Attack { disk, vmm: vmm.unwrap_or_default(), victims, generation: 1 };
    it.recover("the start");
    // The bare machine has nothing to defend.
    if vmm.is_some() {
        it.regions();
        it.structures();
        it.overlaps();
        it.rewritten();
        it.one_slot();
        it.resets();
        it.random();
    }
    it.disk.stop();
}

/// A register, by a MOV of its own: the hypervisor does not know every instruction that a compiler makes of a look at one bit.
fn get(disk: &Ahci, register: u64) -> u32 {
    black_box(disk.read(register))
}

fn table(slot: u32) -> u64 {
    TABLE + 0x1000 * u64::from(slot)
}

fn fis(code: u8, lba: u64, sectors: usize, slot: u32) -> [u8; 20] {
    let [l0, l1, l2, l3, l4, l5, ..] = lba.to_le_bytes();
    let [mut c0, mut c1, ..] = (sectors as u16).to_le_bytes();
    let (mut f0, mut f1) = (0, 0);
    if code & 0xfe == READ_QUEUED {
        (f0, f1, c0, c1) = (c0, c1, (slot << 3) as u8, 0);
    }
    [0x27, 0x80, code, f0, l0, l1, l2, 0x40, l3, l4, l5, f1, c0, c1, 0, 0, 0, 0, 0, 0]
}

impl Attack {
    fn put(&self, slot: u32, fis: [u8; 20], regions: &[Region]) {
        self.put_table(slot, table(slot), fis, regions);
    }

    fn put_table(&self, slot: u32, at: u64, fis: [u8; 20], regions: &[Region]) {
        poke(at, fis);
        for (&(address, bytes), at) in regions.iter().zip((at + 0x80..).step_by(16)) {
            poke(at, [address as u32, (address >> 32) as u32, 0, bytes.wrapping_sub(1)]);
        }
        let write = matches!(fis[2], WRITE | 0x61 | 0xca);
        let header = LIST + 32 * u64::from(slot);
        poke(header, [5 | u32::from(write) << 6 | (regions.len() as u32) << 16, 0, at as u32, 0]);
    }

    fn issue(&self, slots: u32, queued: bool) {
        if queued {
            self.disk.write(SACT, slots);
        }
        self.disk.write(CI, slots);
    }

    /// How commands end. Errors: the task file.
    fn end(&self, slots: u32) -> Result<(), u32> {
        let mut since = Since::now();
        loop {
            let (left, tfd) = ((get(&self.disk, CI) | get(&self.disk, SACT)) & slots, get(&self.disk, TFD));
            if tfd & 1 != 0 || since.ms() > PATIENCE_MS {
                return Err(tfd);
            }
            if left == 0 {
                return Ok(());
            }
        }
    }

    fn command(&self, fis: [u8; 20], regions: &[Region]) -> Result<(), u32> {
        self.put(0, fis, regions);
        self.issue(1, fis[2] & 0xfe == READ_QUEUED);
        self.end(1)
    }

    /// Resets the port as a driver does that has lost its way, and uses the disk.
    fn recover(&mut self, after: &str) {
        let disk = &self.disk;
        disk.write(GHC, get(disk, GHC) | GHC_ENABLED);
        disk.write(PORT_IE, 0);
        for [bit, running] in [CMD_ST, CMD_FRE] {
            disk.write(CMD, get(disk, CMD) & !bit);
            wait_until(|| get(disk, CMD) & running == 0, "the port runs on");
        }
        disk.write(SCTL, 0x301);
        delay_ms(2);
        disk.write(SCTL, 0x300);
        wait_until(|| get(disk, SSTS) & 0xf == 3, "there is no link");
        for (register, value) in [(CLB, LIST), (CLB + 4, 0), (FB, RECEIVED), (FB + 4, 0)] {
            disk.write(register, value as u32);
        }
        disk.write(CMD, get(disk, CMD) | CMD_FRE[0]);
        disk.write(SERR, !0);
        disk.write(PORT_IS, !0);
        wait_until(|| get(disk, TFD) & 0x88 == 0, "the drive stays busy");
        disk.write(CMD, get(disk, CMD) | CMD_ST[0]);
        let identified = self.command(fis(IDENTIFY, 0, 0, 0), &[(buffer_address(SPARE), 512)]);
        check!(identified.is_ok(), "IDENTIFY DEVICE after {after}: task file {identified:x?}");
        self.use_disk(after);
        say!("{after}: the disk works");
    }

    /// What was written last is there; something else is written and read.
    fn use_disk(&mut self, after: &str) {
        for (lba, at) in self.victims.into_iter().zip([0, BYTES as usize]) {
            for code in [READ, READ_QUEUED] {
                if self.generation > 1 {
                    buffer(BACK)[..BYTES as usize].fill(0);
                    let read = self.command(fis(code, lba, SECTORS, 0), &[(buffer_address(BACK), BYTES)]);
                    check!(read.is_ok(), "a read after {after}: task file {read:x?}");
                    let wrong = pattern_mismatch(lba, self.generation - 1, &buffer(BACK)[..BYTES as usize]);
                    check_eq!(wrong, None, "the sector from {lba} on that has changed after {after}");
                }
            }
            // Each from memory of its own: what is left of it and issued once more does the same.
            fill_pattern(lba, self.generation, &mut buffer(WRITTEN)[at..at + BYTES as usize]);
            let from = buffer_address(WRITTEN) + at as u64;
            let written = self.command(fis(WRITE, lba, SECTORS, 0), &[(from, BYTES)]);
            check!(written.is_ok(), "a write after {after}: task file {written:x?}");
        }
        self.generation += 1;
    }

    fn refused(&mut self, what: &str, code: u8, lba: u64, regions: &[Region]) {
        let sectors = regions.iter().map(|&(_, bytes)| bytes as usize).sum::<usize>() / SECTOR;
        let end = self.command(fis(code, lba, sectors, 0), regions);
        check!(end.is_err(), "{what}: command {code:#x} succeeds");
        self.recover(what);
    }

    /// Regions where no data may come from or go to.
    fn regions(&mut self) {
        let (vmm, ram) = (self.vmm, buffer_address(SPARE));
        for lba in self.victims {
            for code in [READ, READ_QUEUED] {
                // In halves: more sectors are not free.
                for at in (vmm.start..vmm.end()).step_by(2 * REGION as usize) {
                    let half = [at, at + REGION].map(|at| (at, REGION as u32));
                    self.refused("regions over the hypervisor's memory", code, lba - 512, &half);
                }
            }
            for (what, regions) in [
                ("a region at the hypervisor's first byte", [(vmm.start, BYTES / 2), (ram, BYTES / 2)]),
                ("a second region in the hypervisor's memory", [(ram, BYTES / 2), (vmm.start + (1 << 20), BYTES / 2)]),
                ("a region that ends there", [(vmm.start - 512, BYTES / 2), (ram, BYTES / 2)]),
                ("a region at its end", [(vmm.end() - 512, BYTES / 2), (ram, BYTES / 2)]),
                ("a region in the controller's registers", [(self.disk.registers, BYTES / 2), (ram, BYTES / 2)]),
                ("a region where interrupt messages go", [(0xfee0_0000, BYTES / 2), (ram, BYTES / 2)]),
                ("a region above all memory", [(1 << 46 | vmm.start, BYTES / 2), (ram, BYTES / 2)]),
            ] {
                for code in [READ, WRITE, READ_QUEUED] {
                    self.refused(what, code, lba, &regions);
                }
            }
        }
    }

    /// Command list, received FISes and tables in the hypervisor's memory.
    fn structures(&mut self) {
        for offset in [0, 0x1000, 1 << 20] {
            let at = self.vmm.start + offset;
            for register in [CLB, FB] {
                for running in [false, true] {
                    if !running {
                        self.disk.write(CMD, get(&self.disk, CMD) & !(CMD_ST[0]));
                        wait_until(|| get(&self.disk, CMD) & CMD_ST[1] == 0, "the port runs on");
                        self.disk.write(CMD, get(&self.disk, CMD) & !(CMD_FRE[0]));
                        wait_until(|| get(&self.disk, CMD) & CMD_FRE[1] == 0, "the port receives on");
                    }
                    self.put(0, fis(READ, self.victims[0], SECTORS, 0), &[(buffer_address(SPARE), BYTES)]);
                    self.disk.write(register, at as u32);
                    self.disk.write(CMD, get(&self.disk, CMD) | CMD_FRE[0]);
                    self.disk.write(CMD, get(&self.disk, CMD) | CMD_ST[0]);
                    self.issue(!0, false);
                    let _ = self.end(!0);
                    self.recover("a command list or received FISes in the hypervisor's memory");
                }
            }
            self.put(0, fis(READ, self.victims[0], SECTORS, 0), &[(buffer_address(SPARE), BYTES)]);
            poke(LIST + 8, at);
            self.issue(1, false);
            check!(self.end(1).is_err(), "a command from the hypervisor's memory succeeds");
            self.recover("a command table in the hypervisor's memory");
        }
    }

    /// Structures over one another, and more regions than anybody needs.
    fn overlaps(&mut self) {
        for target in [LIST, TABLE, RECEIVED, LIST + 0x3ff] {
            let _ = self.command(fis(READ, self.victims[1], SECTORS, 0), &[(target & !1, BYTES)]);
            self.recover("data over the structures that describe it");
        }
        self.put_table(0, LIST, fis(READ, self.victims[0], SECTORS, 0), &[(LIST, BYTES)]);
        self.issue(1, false);
        let _ = self.end(1);
        self.recover("a table over its own list");
        // All of the same memory, the last one behind them in the hypervisor's.
        for last in [buffer_address(SPARE), self.vmm.start] {
            self.put(0, fis(READ, self.victims[0], SECTORS, 0), &[]);
            poke(LONG_TABLE, fis(READ, self.victims[0], SECTORS, 0));
            for n in 0..u64::from(u16::MAX) {
                let at = if n == 2047 { last } else { buffer_address(SPARE) };
                poke(LONG_TABLE + 0x80 + 16 * n, [at as u32, 0, 0, 1]);
            }
            poke(LIST, [5 | 0xffff_u32 << 16, 0, LONG_TABLE as u32, 0]);
            self.issue(1, false);
            let end = self.end(1);
            check!(last != self.vmm.start || end.is_err(), "a region in the hypervisor's memory among many");
            self.recover("65535 regions of the same memory");
        }
    }

    /// Another CPU changes the command while this one issues it.
    fn rewritten(&mut self) {
        let stop = AtomicBool::new(false);
        let vmm = self.vmm.start;
        let spare = buffer_address(SPARE);
        let change = || {
            let mut n = 0_u64;
            while !stop.load(Relaxed) {
                n += 1;
                let evil = n & 1 != 0;
                poke(table(0) + 0x80, if evil { vmm + (n << 12 & 0xf_f000) } else { spare });
                poke(LIST + 8, if n & 14 == 14 { vmm as u32 } else { table(0) as u32 });
                poke(table(0) + 2, [READ, WRITE, IDENTIFY, READ_QUEUED][(n >> 4) as usize & 3]);
                poke(LIST, 5 | u32::from(n & 16 != 0) << 6 | (1 + (n as u32 & 0xff)) << 16);
            }
        };
        let free = self.victims[0] + 64;
        for _ in 0..4 {
            stop.store(false, Relaxed);
            smp::on_others(&change, || {
                for n in 0..50 {
                    self.put(0, fis([READ, WRITE][n % 2], free, SECTORS, 0), &[(spare, BYTES)]);
                    self.issue(1, false);
                    if self.end(1).is_err() {
                        break;
                    }
                }
                stop.store(true, Relaxed);
            });
            self.recover("commands that another CPU rewrites");
        }
    }

    /// All CPUs use slot 0 without asking one another.
    fn one_slot(&mut self) {
        for _ in 0..4 {
            let free = self.victims[0] + 64;
            let this = &*self;
            smp::on_all(&|| {
                let own = buffer_address(SPARE + smp::number());
                for n in 0..100 {
                    this.put(0, fis([READ, WRITE, READ_QUEUED][n % 3], free, SECTORS, 0), &[(own, BYTES)]);
                    this.issue(1, n % 3 == 2);
                    if n % 16 == 15 {
                        let _ = get(&this.disk, PORT_IS);
                    }
                }
            });
            self.recover("two CPUs on one slot");
        }
    }

    /// Resets of every kind with all slots in use.
    fn resets(&mut self) {
        for round in 0..16 {
            for slot in 0..32 {
                let lba = self.victims[0] + 64 + 256 * u64::from(slot);
                let code = [READ_QUEUED, 0x61][slot as usize % 2];
                self.put(slot, fis(code, lba, 128, slot), &[(buffer_address(SPARE), 0x1_0000)]);
            }
            self.issue(!0, true);
            match round % 4 {
                0 => self.disk.write(CMD, get(&self.disk, CMD) & !CMD_ST[0]),
                1 => self.disk.write(SCTL, 0x301),
                2 => self.disk.write(GHC, get(&self.disk, GHC) | 1),
                // Starts anew at once, with the same commands.
                _ => {
                    self.disk.write(CMD, get(&self.disk, CMD) & !CMD_ST[0]);
                    self.disk.write(CMD, get(&self.disk, CMD) | CMD_ST[0]);
                    self.issue(!0, round == 3);
                }
            }
            wait_until(|| get(&self.disk, GHC) & 1 == 0, "the controller's reset does not end");
            self.recover("a reset in mid-flight");
        }
    }

    /// Anything.
    fn random(&mut self) {
        let mut random = Random::new(0xa4c1);
        for round in 0..40 {
            for _ in 0..32 {
                let places = [
                    buffer_address(SPARE) + random.next() % 0x1_0000,
                    self.vmm.start + random.next() % self.vmm.len,
                    self.disk.registers,
                    0xfee0_0000,
                    LIST,
                    TABLE,
                    // No RAM is there; below, it could be this program.
                    random.value() | 1 << 40,
                ];
                let slot = random.below(32) as u32;
                let mut regions = [(0, 0); 4];
                for region in &mut regions {
                    *region = (places[random.below(places.len())], random.next() as u32 & 0x1fff);
                }
                let code =
                    [READ, WRITE, READ_QUEUED, 0x61, 0xc8, 0xca, IDENTIFY, 0x06, 0xe7, 0x2f, random.next() as u8];
                let code = code[random.below(code.len())];
                // Beyond the victims, and in the encrypted range.
                let lba = self.victims[0] + 64 + random.next() % 4096;
                self.put(slot, fis(code, lba, random.below(64), slot), &regions);
                match random.below(8) {
                    0 => poke(LIST + 32 * u64::from(slot), random.next()),
                    1 => poke(LIST + 32 * u64::from(slot) + 8, places[random.below(places.len())]),
                    2 => poke(table(slot), random.next()),
                    _ => {}
                }
            }
            for _ in 0..4 {
                match random.below(6) {
                    0 => self.disk.write(SACT, random.next() as u32),
                    1 => self
                        .disk
                        .write([CLB, FB][random.below(2)], (self.vmm.start + random.next() % self.vmm.len) as u32),
                    2 => self.disk.write(CMD, random.next() as u32 & 0xffff),
                    _ => self.disk.write(CI, random.next() as u32),
                }
            }
            if round % 4 == 3 {
                self.recover("commands at random");
            }
        }
    }
}
