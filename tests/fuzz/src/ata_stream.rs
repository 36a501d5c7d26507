//! Any sequence of guest accesses, device steps and failures against the ATA mediator.
//!
//! An input is a sequence of records of eight bytes, an operation and its operands. After each: the device holds no
//! address that it must not, and no plaintext of the guest is on the platter in the protected range. At the end, after
//! a reset: no buffer is in use, and the disk reads and writes correctly.

use mediator::Width;
use mediator::disk::{OwnOp, OwnRequest};
use scenario::{DATA, MARKER, Rig, Way, payload};
use sim::guest::{Command, GuestDriver, SCRATCH};
use sim::ide::{BUS_MASTER_BASE, COMMAND, CONTROL};
use sim::{ARENA, VMM};

const RECORD_BYTES: usize = 8;
const MAX_RECORDS: usize = 128;
/// Bytes of guest memory that hold nothing but markers.
const MARKED: usize = 0x1_0000;

type Record = [u8; RECORD_BYTES];

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut rig = Rig::new();
    rig.machine.ram.poke(DATA, &MARKER.repeat(MARKED / MARKER.len()));
    for record in data.chunks_exact(RECORD_BYTES).take(MAX_RECORDS) {
        let mut bytes = [0; RECORD_BYTES];
        bytes.copy_from_slice(record);
        step(&mut rig, bytes);
        rig.check_secrecy();
    }
    settle(&mut rig);
}

/// Brings everything back, and wants a working disk.
fn settle(rig: &mut Rig) {
    let machine = &mut rig.machine;
    [0, 1].into_iter().for_each(|disk| machine.drop_own(disk));
    machine.arena.fail_nth = None;
    machine.ram.changes_after_read = false;
    machine.ide.disk(0, 0).platter.heal();
    for channel in &mut machine.ide.channels {
        channel.patience = Some(3);
        channel.sectors_per_tick = 64;
    }
    // With a protected write under way the controller's own registers are refused until a reset; a drive whose port
    // was switched off before does not hear this one.
    for control in CONTROL {
        machine.guest_out(control, Width::Byte, 4);
        machine.guest_out(control, Width::Byte, 0);
    }
    machine.guest_config_write(0x20, Width::Dword, u32::from(BUS_MASTER_BASE) | 1);
    machine.guest_config_write(0x04, Width::Word, 5);
    machine.guest_config_write(0x40, Width::Dword, 0x8000_8000);
    for channel in [1, 0] {
        let mut guest = GuestDriver::new(&mut rig.machine, channel, 0);
        guest.bm_stop().and_then(|()| guest.soft_reset()).expect("the channel can be reset");
    }
    rig.check_secrecy();
    rig.accept_the_disk();
    rig.write(Way::ODD, 995, &payload(1, 995, 12)).expect("the disk writes");
    rig.read(Way::BIOS, 990, 20).expect("the disk reads");
}

fn width(byte: u8) -> Width {
    [Width::Byte, Width::Word, Width::Dword, Width::Byte][usize::from(byte % 4)]
}

/// Most of the time a port of the controller.
fn port(class: u8, offset: u8) -> u16 {
    let offset = u16::from(offset);
    match class % 6 {
        0 => COMMAND[0] + offset % 8,
        1 => COMMAND[1] + offset % 8,
        2 => CONTROL[usize::from(offset % 2)],
        3 | 4 => BUS_MASTER_BASE + offset % 16,
        _ => 0xd000 + offset % 16,
    }
}

/// Addresses at which something happens.
fn address(class: u8, offset: u16) -> u64 {
    let bases =
        [DATA, DATA + 0x1_0000, SCRATCH, VMM.start - 0x8000, ARENA.start, VMM.end - 0x8000, 0x9_8000, 0xffff_0000];
    bases[usize::from(class % 8)] + u64::from(offset)
}

/// Sectors at which something happens.
fn lba(class: u8, offset: u8) -> u64 {
    let bases = [990, 5000, scenario::PROTECTED.end - 8, scenario::SECTORS - 8, 0xffff_fff0, 0];
    bases[usize::from(class % 6)] + u64::from(offset % 32)
}

fn step(rig: &mut Rig, [op, a, b, c, d, e, f, g]: Record) {
    let value = u32::from_le_bytes([d, e, f, g]);
    let machine = &mut rig.machine;
    match op % 16 {
        // The data port only ever gets markers, so that what leaks is known.
        0 if port(a, b) == COMMAND[0] => machine.guest_out(COMMAND[0], width(c), u64::from_le_bytes(MARKER)),
        0 => machine.guest_out(port(a, b), width(c), value.into()),
        1 => drop(machine.guest_in(port(a, b), width(c))),
        2 => machine.guest_rep_in(COMMAND[usize::from(a % 2)], width(c), &mut vec![0; usize::from(b) * 8]),
        3 => machine.guest_rep_out(COMMAND[usize::from(a % 2)], width(c), &MARKER.repeat(b.into())),
        4 => machine.guest_config_write(u16::from(a) & !(width(c).bytes() as u16 - 1), width(c), value),
        5 => drop(machine.guest_config_read(u16::from(a) & !(width(c).bytes() as u16 - 1), width(c))),
        6 => (0..=a % 16).for_each(|_| machine.tick()),
        7 => {
            let entry = address(b, u16::from_le_bytes([c, d])) & 0xffff_ffff
                | u64::from(u32::from_le_bytes([e, f, 0, g])) << 32;
            machine.ram.poke(SCRATCH + 8 * u64::from(a), &entry.to_le_bytes());
        }
        8 => {
            let (lba, ext) = (lba(c, d), f & 1 != 0);
            let command = Command { command: a, features: g.into(), count: e.into(), lba, ext, chs: None };
            let _ = GuestDriver::new(machine, usize::from(b / 2 % 2), (b % 2).into()).issue(command);
        }
        9 => {
            let base = BUS_MASTER_BASE + 8 * u16::from(a % 2);
            machine.guest_out(base + 4, Width::Dword, SCRATCH + 8 * u64::from(b % 4));
            machine.guest_out(base, Width::Byte, u64::from(c & 8));
            machine.guest_out(base, Width::Byte, u64::from(c & 8 | 1));
        }
        10 => machine.guest_out(BUS_MASTER_BASE + 8 * u16::from(a % 2), Width::Byte, (c & 8).into()),
        11 => {
            machine.guest_out(CONTROL[usize::from(a % 2)], Width::Byte, 4);
            machine.guest_out(CONTROL[usize::from(a % 2)], Width::Byte, (b & 2).into());
        }
        12 => machine.arena.fail_nth = Some(machine.arena.asked + u64::from(a % 8)),
        13 => {
            let channel = &mut machine.ide.channels[usize::from(a % 2)];
            channel.sectors_per_tick = u32::from(b) + 1;
            channel.patience = (c % 4 != 0).then_some(u32::from(c % 4));
        }
        14 => machine.ide.disk(0, 0).platter.inject_error(lba(a, b), 0x40),
        _ if a < 128 => machine.ram.changes_after_read = a % 2 != 0,
        // The VMM's own requests, and what becomes of them.
        _ if a % 4 == 0 => drop(machine.poll_own(usize::from(b % 2))),
        _ if a % 4 == 1 => machine.drop_own(usize::from(b % 2)),
        _ => {
            let op = [OwnOp::Read, OwnOp::Write, OwnOp::Flush][usize::from(b % 3)];
            let data = if op == OwnOp::Flush { Vec::new() } else { MARKER.repeat(usize::from(e % 32) * 64) };
            let _ = machine.submit_own(usize::from(f % 4 == 3), OwnRequest { op, lba: lba(c, d), data });
        }
    }
}

/// A DMA or PIO request of a well-behaved guest.
fn request(command: u8, unit: u8, at: [u8; 2], count: u8, ext: u8) -> Record {
    [8, command, unit, at[0], at[1], count, ext, 0]
}

/// Well-behaved guests, to be led astray.
pub fn seeds() -> Vec<Vec<u8>> {
    let entry = |index: u8, at: [u8; 3], len: [u8; 2], end: u8| -> Record {
        [7, index, at[0], at[1], at[2], len[0], len[1], end]
    };
    let dma = |command, unit, at, count, ext, direction| {
        let mut records = vec![entry(0, [0, 0, 0], [0, 4], 0), entry(1, [1, 2, 0], [0, 0x40], 0x80)];
        records.extend([request(command, unit, at, count, ext), [9, unit / 2, 0, direction, 0, 0, 0, 0]]);
        records.extend([
            [6, 3, 0, 0, 0, 0, 0, 0],
            [1, 3, 2 + unit / 2 * 8, 0, 0, 0, 0, 0],
            [1, unit / 2, 7, 0, 0, 0, 0, 0],
        ]);
        records.extend([[10, unit / 2, 0, 0, 0, 0, 0, 0], [0, 3, 2 + unit / 2 * 8, 0, 6, 0, 0, 0]]);
        records
    };
    let pio = |command, rep: u8, count: u8| {
        let mut records = vec![request(command, 0, [0, 8], count, 0)];
        records.extend(
            (0..count).flat_map(|_| [[1, 0, 7, 0, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0, 0, 0], [rep, 0, 64, 1, 0, 0, 0, 0]]),
        );
        records.extend([[6, 1, 0, 0, 0, 0, 0, 0], [1, 0, 7, 0, 0, 0, 0, 0]]);
        records
    };
    let multiple = [vec![request(0xc6, 0, [0, 0], 4, 0), [6, 1, 0, 0, 0, 0, 0, 0]], pio(0xc5, 3, 4)].concat();
    let broken =
        [dma(0xca, 0, [0, 5], 30, 0, 0)[..4].to_vec(), vec![[11, 0, 0, 0, 0, 0, 0, 0], [6, 1, 0, 0, 0, 0, 0, 0]]]
            .concat();
    let moved = [vec![[4, 0x20, 0, 2, 1, 0xd0, 0, 0]], dma(0x25, 1, [1, 0], 8, 1, 8)].concat();
    // Found by the fuzzer: the channel is switched off (IDETIM) between a command that is held and its start.
    let switched_off = vec![
        [7, 0, 0, 0, 0, 0, 3, 0xf6],
        [7, 1, 1, 2, 0, 0, 0x40, 0x80],
        [8, 0x35, 0, 2, 0, 0x10, 1, 0],
        [4, 0x40, 3, 1, 0, 8, 1, 1],
        [9, 0, 0, 0, 0, 0, 0, 0x1e],
    ];
    let packet = [
        vec![[8, 0xa0, 2, 5, 0, 0, 0, 1], [6, 0, 0, 0, 0, 0, 0, 0], [3, 1, 1, 1, 0, 0, 0, 0]],
        dma(0xec, 2, [0, 0], 1, 0, 8),
    ];
    // One of the VMM's own before each step of the guest, on either disk.
    let own = |records: Vec<Record>| -> Vec<Record> {
        let before = (0..).map(|n: u8| [15, 130 + n % 3 * 2, n % 3, n % 2, n * 5, 8, n % 4, 0]);
        before.zip(records).flat_map(|(own, record)| [own, record, [15, 128, own[6] / 3, 0, 0, 0, 0, 0]]).collect()
    };
    [
        own(dma(0x35, 0, [2, 0], 16, 1, 0)),
        own(pio(0x20, 2, 3)),
        dma(0xc8, 0, [0, 5], 30, 0, 8),
        dma(0xca, 0, [0, 5], 30, 0, 0),
        dma(0x35, 0, [2, 0], 16, 1, 0),
        dma(0x25, 1, [1, 0], 8, 1, 8),
        pio(0x20, 2, 3),
        pio(0x30, 3, 3),
        pio(0xec, 2, 1),
        multiple,
        broken,
        moved,
        switched_off,
        packet.concat(),
    ]
    .map(|records| records.concat())
    .into()
}
