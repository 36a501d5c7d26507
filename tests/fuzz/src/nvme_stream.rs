//! Any sequence of guest accesses, device steps and failures against the NVMe mediator.
//!
//! An input is a sequence of records of eight bytes, an operation and its operands. After each: the device holds no address that it
//! must not, and no plaintext of the guest is on the platter in the protected range. At the end, after a reset: no buffer is in use,
//! and the disk reads and writes correctly.

use mediator::Width;
use mediator::disk::{OwnOp, OwnRequest};
use scenario::MARKER;
use scenario::nvme::{DATA, LISTS, NvmeRig, PROTECTED, SECTORS};
use sim::nvme::{BAR, Entry, Queue};
use sim::{ARENA, VMM};

const RECORD_BYTES: usize = 8;
const MAX_RECORDS: usize = 128;
/// Bytes of guest memory that hold nothing but markers.
const MARKED: usize = 0x4_0000;

type Record = [u8; RECORD_BYTES];

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut rig = NvmeRig::new();
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
fn settle(rig: &mut NvmeRig) {
    let machine = &mut rig.machine;
    machine.arena.fail_nth = None;
    machine.ram.changes_after_read = false;
    machine.nvme.platter(1).heal();
    (machine.nvme.ready_after, machine.nvme.per_tick) = (0, 64);
    machine.config_write(0x10, Width::Dword, BAR as u32);
    machine.config_write(0x14, Width::Dword, 0);
    machine.config_write(0x04, Width::Word, 6);
    // Whatever messages were switched on, the guest's driver takes none.
    machine.config_write(0x42, Width::Word, 0);
    (0..20).for_each(|_| machine.tick());
    rig.recovers();
}

/// Addresses at which something happens.
fn address(class: u8, offset: u8) -> u64 {
    let bases = [DATA, DATA, LISTS, VMM.start - 0x1000, ARENA.start, VMM.end - 0x1000, 0x9_f000, 0xffff_f000, 0, DATA];
    bases[usize::from(class % 10)] + u64::from(offset) * if class & 0x80 == 0 { 0x1000 } else { 4 }
}

/// Sectors at which something happens.
fn lba(class: u8, offset: u8) -> u64 {
    let bases = [990, 5000, PROTECTED.end - 8, SECTORS - 8, u64::MAX - 7, 0];
    bases[usize::from(class % 6)].wrapping_add(u64::from(offset % 32))
}

fn register(class: u8, offset: u8) -> u32 {
    let offset = u32::from(offset);
    if class.is_multiple_of(2) { 4 * (offset % 16) } else { 0x1000 + 4 * (offset % 40) }
}

/// Puts a command where the guest's queue has its next entry, and rings.
fn submit(rig: &mut NvmeRig, queue: u8, entry: Entry) {
    let queue = u16::from(queue % 3);
    if rig.guest.queues.iter().any(|it| it.id == queue) {
        rig.guest.submit(&mut rig.machine, queue, entry);
    }
}

fn step(rig: &mut NvmeRig, [op, a, b, c, d, e, f, g]: Record) {
    let value = u32::from_le_bytes([d, e, f, g]);
    let width = [Width::Byte, Width::Word, Width::Dword, Width::Qword][usize::from(c % 4)];
    let machine = &mut rig.machine;
    match op % 17 {
        0 => machine.write(register(a, b), value),
        1 => drop(machine.read_wide(register(a, b) & !(width.bytes() as u32 - 1), width)),
        2 => machine.write_wide(
            register(a, b) & !(width.bytes() as u32 - 1),
            width,
            u64::from(value) << 16 | value as u64,
        ),
        // Transfers: queue and direction, sector, number, and where the data is.
        3 | 4 => {
            let nsid = if op % 17 == 3 { 1 } else { u32::from(a >> 4) };
            let entry = Entry::new(1 + (a >> 2 & 1), nsid).with_qword(10, lba(b, c)).dword(12, u32::from(d));
            submit(rig, a, entry.prps(address(e, 0), address(f, g)));
        }
        5 => {
            let entry =
                Entry::new(b, 1).prps(address(c, 0), address(d, 1)).dword(10, u32::from(e) | u32::from(f) << 16);
            submit(rig, a, entry.dword(11, g.into()).dword(12, e.into()));
        }
        6 => (0..=a % 8).for_each(|_| machine.tick()),
        7 => rig.guest.look(&mut rig.machine),
        8 => machine.ram.poke(LISTS + 8 * u64::from(a), &address(b, c).to_le_bytes().repeat(usize::from(d % 64) + 1)),
        9 => machine.config_write(u16::from(a) & !3, Width::Dword, value),
        10 => machine.arena.fail_nth = Some(machine.arena.asked + u64::from(a % 8)),
        11 => {
            machine.nvme.backwards = a % 2 != 0;
            machine.nvme.per_tick = usize::from(b % 8) + 1;
            machine.nvme.ready_after = u32::from(c % 4);
        }
        12 => machine.nvme.platter(1).inject_error(lba(a, b), 0x40),
        13 => machine.ram.changes_after_read = a % 2 != 0,
        14 => match a % 4 {
            0 => _ = rig.guest.enable(machine, 2 + u32::from(b % 30), c % 2 != 0),
            1 => _ = rig.guest.disable(machine),
            2 if !rig.guest.queues.is_empty() => {
                _ = rig.guest.create(machine, Queue::new(1 + u16::from(b % 2), 2 + u32::from(c), d % 2 != 0));
            }
            3 if !rig.guest.queues.is_empty() => _ = rig.guest.delete(machine, u16::from(b % 3)),
            _ => {}
        },
        // The VMM's own requests, and what becomes of them.
        16 if a % 4 == 0 => drop(machine.poll_own(0)),
        16 if a % 4 == 1 => machine.drop_own(0),
        16 => {
            let op = [OwnOp::Read, OwnOp::Write, OwnOp::Flush][usize::from(b % 3)];
            let data = if op == OwnOp::Flush { Vec::new() } else { MARKER.repeat(usize::from(e % 32) * 64) };
            let _ = machine.submit_own(usize::from(f % 8 == 7), OwnRequest { op, lba: lba(c, d), data });
        }
        _ if a % 8 == 0 => {
            machine.sleep();
            machine.config_write(4, Width::Word, 6);
            rig.guest.queues.clear();
        }
        _ => machine.other_interrupt(),
    }
}

/// Well-behaved guests, to be led astray.
pub fn seeds() -> Vec<Vec<u8>> {
    let transfer = |write: u8, queue: u8, at: [u8; 2], blocks: u8, first: u8, second: [u8; 2]| -> Record {
        [3, queue | if write == 1 { 0 } else { 4 }, at[0], at[1], blocks - 1, first, second[0], second[1]]
    };
    let list: [Record; 1] = [[8, 0, 0, 2, 40, 0, 0, 0]];
    let rest: [Record; 3] = [[6, 3, 0, 0, 0, 0, 0, 0], [7, 0, 0, 0, 0, 0, 0, 0], [6, 1, 0, 0, 0, 0, 0, 0]];
    let run = |records: &[Record]| [&list[..], records, &rest[..]].concat().concat();
    vec![
        run(&[transfer(1, 1, [0, 5], 16, 0, [0, 1])]),
        run(&[transfer(0, 1, [0, 5], 32, 0, [2, 0])]),
        run(&[transfer(1, 2, [1, 0], 128, 0, [2, 0]), transfer(0, 2, [1, 0], 128, 0, [2, 0])]),
        run(&[transfer(1, 1, [2, 0], 16, 3, [3, 1]), transfer(0, 1, [2, 0], 16, 0, [5, 0])]),
        run(&[[5, 0, 6, 0, 0, 1, 0, 0], [5, 0, 9, 0, 0, 7, 0, 3], [5, 0, 0x80, 0, 0, 0, 0, 0]]),
        run(&[[14, 3, 2, 0, 0, 0, 0, 0], [14, 2, 1, 16, 0, 0, 0, 0], transfer(1, 2, [0, 8], 8, 0, [0, 0])]),
        run(&[transfer(1, 1, [1, 3], 200, 0, [2, 0]), [11, 1, 0, 3, 0, 0, 0, 0], [14, 0, 20, 0, 0, 0, 0, 0]]),
        run(&[[15, 0, 0, 0, 0, 0, 0, 0], [14, 0, 20, 1, 0, 0, 0, 0]]),
        run(&[
            [16, 2, 1, 1, 0, 16, 0, 0],
            transfer(1, 1, [1, 3], 200, 0, [2, 0]),
            [6, 3, 0, 0, 0, 0, 0, 0],
            [16, 0, 0, 0, 0, 0, 0, 0],
            [16, 2, 2, 0, 0, 0, 0, 0],
            [14, 3, 1, 0, 0, 0, 0, 0],
        ]),
        // Found by the fuzzer: disabled while the function decodes nothing, so that the device does not hear of it.
        run(&[[9, 5, 0, 0, 4, 0, 0, 0], [14, 0, 20, 0, 0, 0, 0, 0]]),
        run(&[[5, 0, 0x0c, 0, 0, 0, 0, 0], [5, 0, 8, 0, 0, 1, 0, 0], [0, 1, 2, 0, 70, 0, 0, 0]]),
    ]
}
