//! Any sequence of guest accesses, device steps and failures against the AHCI mediator.
//!
//! An input is a sequence of records of eight bytes, an operation and its operands. After each: the device holds no
//! address that it must not, and no plaintext of the guest is on the platter in the protected range. At the end, after
//! a reset: the disk reads and writes correctly.

use mediator::disk::{OwnOp, OwnRequest};
use scenario::ahci::{AhciRig, By, DATA};
use scenario::{MARKER, payload};
use sim::ahci::{Table, at, fis, hba, px};
use sim::{ARENA, VMM};

const RECORD_BYTES: usize = 8;
const MAX_RECORDS: usize = 128;
/// Bytes of guest memory that hold nothing but markers.
const MARKED: usize = 0x2_0000;

type Record = [u8; RECORD_BYTES];

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut rig = AhciRig::new();
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
fn settle(rig: &mut AhciRig) {
    let machine = &mut rig.machine;
    machine.arena.fail_nth = None;
    machine.ram.changes_after_read = false;
    machine.config(0x24, mediator::Width::Dword, mediator::Op::Write(sim::ahci::BAR));
    machine.config(4, mediator::Width::Word, mediator::Op::Write(7));
    let port = &mut machine.ahci.ports[0];
    (port.delay, port.order) = (0, 0);
    port.disk.iter_mut().for_each(|disk| disk.platter.heal());
    machine.write(hba::GHC, 1);
    rig.recovers();
    rig.check_secrecy();
    let data = payload(1, 995, 12);
    rig.write(By::Dma, 995, &data, scenario::ahci::ODD).expect("the disk writes");
}

/// Addresses at which something happens.
fn address(class: u8, offset: u16) -> u64 {
    let bases =
        [DATA, DATA + 0x1_0000, VMM.start - 0x8000, ARENA.start, VMM.end - 0x8000, 0x9_8000, 0xffff_0000, 1 << 32];
    bases[usize::from(class % 8)] + u64::from(offset)
}

/// Sectors at which something happens.
fn lba(class: u8, offset: u8) -> u64 {
    let bases = [990, 5000, scenario::ahci::PROTECTED.end - 8, scenario::ahci::SECTORS - 8, 0xffff_ffff_fff0, 0];
    bases[usize::from(class % 6)] + u64::from(offset % 32)
}

/// Most of the time a register of port 0.
fn register(class: u8, offset: u8) -> u32 {
    match class % 4 {
        0 | 1 => at(0, u32::from(offset % 0x48) & !3),
        2 => at(u32::from(offset / 32 % 4), u32::from(offset % 32) * 4),
        _ => u32::from(offset) & !3,
    }
}

fn step(rig: &mut AhciRig, [op, a, b, c, d, e, f, g]: Record) {
    let value = u32::from_le_bytes([d, e, f, g]);
    match op % 15 {
        0 => rig.machine.write(register(a, b), value),
        1 => {
            let _ = rig.machine.read(register(a, b));
        }
        // A command, over two regions.
        2 => {
            let slot = u32::from(b % 32);
            let mut command = fis(a, lba(c, d), u32::from(e), slot);
            if g & 1 != 0 {
                command[usize::from(g / 8 % 20)] ^= f;
            }
            let regions = vec![
                (address(f / 16, u16::from(g) << 5 & !1), u64::from(e) * 256 + 2),
                (address(f % 16, u16::from(c) << 4), 0x2_0000),
            ];
            let mut guest = rig.guest(0);
            let table = Table { at: guest.table_at(slot), regions };
            guest.prepare(slot, command, a & 1 != 0 || a == 0xca, &table);
        }
        3 => {
            let _ = rig.guest(0).ring(1 << (a % 32), b % 2 != 0);
        }
        4 => (0..=a % 16).for_each(|_| rig.machine.tick()),
        5 => {
            let _ = rig.guest(0).get([px::IS, px::CI, px::SACT, px::TFD][usize::from(a % 4)]);
            let _ = rig.machine.read(hba::IS);
        }
        6 => {
            let _ = rig.guest(0).recover(a % 2 != 0);
        }
        // A header or a table with anything in it.
        7 => rig.guest(0).put_header(u32::from(a % 32), value, address(b, u16::from(c) << 7)),
        8 => {
            let at = rig.guest(0).table_at(u32::from(a % 32)) + u64::from(b);
            rig.machine.ram.poke(at, &value.to_le_bytes());
        }
        9 => {
            let port = &mut rig.machine.ahci.ports[0];
            (port.delay, port.order, port.slow_stop) = (u32::from(a % 8), usize::from(b % 32), u32::from(c % 4));
        }
        10 => rig.machine.arena.fail_nth = Some(rig.machine.arena.asked + u64::from(a % 4)),
        11 => rig.platter().inject_error(lba(a, b), if c % 2 == 0 { 0x40 } else { 0x10 }),
        12 => {
            let offset = u16::from(a) & !3;
            rig.machine.config(offset, mediator::Width::Dword, mediator::Op::Write(value.into()));
        }
        13 => rig.machine.ram.changes_after_read = a % 2 != 0,
        // The VMM's own requests, and what becomes of them.
        _ if a % 4 == 0 => drop(rig.machine.poll_own(0)),
        _ if a % 4 == 1 => rig.machine.drop_own(0),
        _ => {
            let op = [OwnOp::Read, OwnOp::Write, OwnOp::Flush][usize::from(b % 3)];
            let data = if op == OwnOp::Flush { Vec::new() } else { MARKER.repeat(usize::from(e % 32) * 64) };
            let _ = rig.machine.submit_own(usize::from(f % 8 == 7), OwnRequest { op, lba: lba(c, d), data });
        }
    }
}

/// Well-behaved guests, to be led astray.
pub fn seeds() -> Vec<Vec<u8>> {
    let end: [Record; 3] = [[4, 9, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 0], [5, 2, 0, 0, 0, 0, 0, 0]];
    let command = |code: u8, slot: u8, class: u8, count: u8| -> Record { [2, code, slot, class, 4, count, 0, 0] };
    let one = |code, class, count, queued: u8| {
        let mut records = vec![command(code, 5, class, count), [3, 5, queued, 0, 0, 0, 0, 0]];
        records.extend(end);
        records
    };
    let many: Vec<Record> = (0..8_u8)
        .flat_map(|slot| [command(0x60 + slot % 2, slot, slot % 3, 8), [3, slot, 1, 0, 0, 0, 0, 0]])
        .chain(end)
        .collect();
    let broken = [
        one(0x61, 1, 30, 1)[..2].to_vec(),
        vec![[4, 1, 0, 0, 0, 0, 0, 0], [0, 3, 4, 0, 1, 0, 0, 0], [6, 1, 0, 0, 0, 0, 0, 0]],
    ]
    .concat();
    let failing =
        [vec![[11, 1, 6, 0, 0, 0, 0, 0]], one(0x60, 1, 16, 1), vec![[6, 0, 0, 0, 0, 0, 0, 0]], one(0x2f, 5, 1, 0)];
    let own: Vec<Record> = (0..6_u8)
        .flat_map(|n| [[14, 2, n % 3, 1, n, 8, 0, 0], command(0x60 + n % 2, n, n % 3, 8), [3, n, 1, 0, 0, 0, 0, 0]])
        .chain(end)
        .chain([
            [14, 0, 0, 0, 0, 0, 0, 0],
            [14, 3, 1, 1, 9, 4, 0, 0],
            [4, 9, 0, 0, 0, 0, 0, 0],
            [14, 0, 0, 0, 0, 0, 0, 0],
        ])
        .collect();
    let moved = [vec![[12, 0x24, 0, 0, 0, 0, 0xd0, 0xfe]], one(0x25, 1, 8, 0)].concat();
    [
        one(0x60, 1, 8, 1),
        one(0x61, 1, 8, 1),
        one(0x25, 0, 20, 0),
        one(0x35, 0, 20, 0),
        one(0xca, 1, 4, 0),
        one(0xec, 5, 1, 0),
        one(0x06, 5, 1, 0),
        many,
        broken,
        failing.concat(),
        own,
        moved,
    ]
    .map(|records| records.concat())
    .into()
}
