//! A guest that does anything at all, in a fixed order of a few hundred thousand steps.

use super::machine::*;
use crate::BOUNCE_BYTES;
use crate::spec::{bm, code, reg};
use ::mediator::{Access, Op, RegionId, Width};

/// The protected range, and a mark that the whole of guest memory and every data word is made of.
const RANGE: Range = Range(64, 4096, 0);
const MARK: u8 = 0x41;

struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.next(choice.len() as u64) as usize]
    }
}

const COMMANDS: [u8; 20] = [
    code::READ_SECTORS,
    code::WRITE_SECTORS,
    code::WRITE_SECTORS,
    code::READ_DMA,
    code::WRITE_DMA,
    code::WRITE_DMA,
    code::READ_DMA_EXT,
    code::WRITE_DMA_EXT,
    code::WRITE_MULTIPLE,
    code::WRITE_MULTIPLE_EXT,
    code::READ_MULTIPLE,
    code::SET_MULTIPLE_MODE,
    code::IDENTIFY_DEVICE,
    code::EXECUTE_DEVICE_DIAGNOSTIC,
    code::DEVICE_RESET,
    code::NOP,
    0x22,
    0xf6,
    0x92,
    0xc7,
];

fn step(machine: &mut Machine, random: &mut Random) {
    let byte = random.next(256) as u8;
    match random.next(24) {
        0..=3 => {
            let (lba, count) = (random.next(4400), random.of(&[1, 2, 5, 40, 255]));
            let command = random.of(&COMMANDS);
            match command {
                code::READ_DMA_EXT | code::WRITE_DMA_EXT | code::WRITE_MULTIPLE_EXT => {
                    machine.command48(command, lba, random.of(&[1, 3, 100, 3000]))
                }
                _ => machine.command28(command, lba as u32, count),
            }
        }
        4 | 5 => {
            let base = random.of(&[0x20_0000, 0x2f_fe00, VMM as u32 - 0x200, VMM as u32 + 0x1000, 0x7f_ff00]);
            match random.next(3) {
                0 => machine.prd_of(0x20_0000, 3000 * 512),
                1 => machine.prd(&[(0x20_0000, 0x200), (base, random.of(&[0, 0x200, 0x400, 0x1000]))]),
                _ => machine.prd(&[(0x20_0000, random.of(&[0, 2, 0x200, 0xa00, 0x5000]))]),
            }
        }
        6 | 7 => machine.start(random.next(2) == 0),
        8 => machine.stop(),
        9..=12 => machine.run(),
        13 => {
            machine.status();
        }
        14 => {
            machine.bm_status();
        }
        15 => machine.write(COMMAND, random.of(&[1, 2, 3, 4, 5, 6, 6]), byte),
        16 => machine.write(CONTROL, 0, random.of(&[0, 0, 2, 4, 0x80])),
        17 | 18 => machine.outsw(&[MARK; 4096][..random.of(&[2, 512, 1024, 4096])]),
        19 => {
            machine.insw(random.of(&[2, 512, 1024]));
        }
        20 => {
            let _ = machine.config_write(random.of(&[4, 0x20, 9]), Width::Byte, random.of(&[0, 1, 5, byte as u32]));
        }
        21 => {
            let region = RegionId(random.of(&[0, 1, 4]));
            let width = random.of(&[Width::Byte, Width::Word, Width::Dword]);
            let op = random.of(&[Op::Read, Op::Write(u64::from(byte))]);
            let access = Access { region, offset: random.next(17) as u32, width, op };
            // A PRD table of the guest's choice is harmless, a command of its choice may be none of the fake drive's.
            let command = (region, access.offset) == (COMMAND, reg::COMMAND);
            if op == Op::Read || (width == Width::Byte && !command) {
                let _ = machine.access(access);
            }
        }
        22 => machine.write(BUS_MASTER, bm::STATUS, byte),
        _ => machine.soft_reset(),
    }
}

#[test]
fn whatever_the_guest_does_no_plain_sector_lands_in_the_range_and_the_device_sees_our_tables_only() {
    for seed in 1_u64..=4 {
        let mut machine = Machine::protected(RANGE);
        let mut random = Random(seed * 0x9e37_79b9_7f4a);
        for n in 0..30_000 {
            // Reads fill guest memory with other data; the mark must stay what a write of it would leak.
            if n % 64 == 0 {
                machine.ram.0[0x20_0000..0x20_0000 + BOUNCE_BYTES * 2].fill(MARK);
            }
            step(&mut machine, &mut random);
            machine.check_passing();
            let table = u64::from(machine.drive.bm_table);
            assert!(table == 0 || table >= VMM, "step {n}: table at {table:#x}");
        }
        let leaked = |lba: &u64| machine.sectors(*lba, 1) == [MARK; 512];
        assert_eq!((64..4096).find(leaked), None, "seed {seed}");
        let plain = (0..64).chain(4096..4700).filter(|lba| leaked(lba)).count();
        let changed = (64..4096).filter(|lba| machine.sectors(*lba, 1) != original(*lba, 1)).count();
        assert!(plain > 10 && changed > 500, "the storm did write: {plain} plain, {changed} encrypted");
    }
}
