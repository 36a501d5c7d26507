//! Any sequence of guest accesses, frames and device steps against the mediator of network cards.
//!
//! An input is the card and a sequence of records of eight bytes, an operation and its operands. After each: the card holds no address outside of
//! the arena, and no frame is on the wire that the tunnel did not emit. At the end, after a start of the driver: frames go both ways.

use mediator::{Op, Width};
use scenario::e1000::{E1000Rig, frame};
use sim::e1000::*;
use sim::{ARENA, VMM};

const RECORD_BYTES: usize = 8;
const MAX_RECORDS: usize = 128;

type Record = [u8; RECORD_BYTES];

/// Runs one input.
pub fn run(data: &[u8]) {
    let (&first, records) = data.split_first().unwrap_or((&0, &[]));
    let mut rig = E1000Rig::new([I82540EM, I82545EM, I82574L][usize::from(first % 3)]);
    for record in records.as_chunks::<RECORD_BYTES>().0.iter().take(MAX_RECORDS) {
        step(&mut rig, *record);
        rig.check();
    }
    settle(&mut rig);
}

/// Brings everything back, and wants a working card.
fn settle(rig: &mut E1000Rig) {
    let card = &mut rig.machine.card;
    (card.mad, card.slow, card.stuck) = (false, 0, false);
    card.plug(true);
    rig.seen().mad = false;
    rig.machine.ram.changes_after_read = false;
    for (bar, at) in [(0x10, BAR), (0x14, BAR + 0x2_0000), (0x1c, BAR + 0x4_0000)] {
        rig.machine.config_write(bar, Width::Dword, at as u32);
    }
    rig.machine.config_write(4, Width::Word, 6);
    rig.machine.write(CTRL, 1 << 31);
    rig.guest = E1000Guest::default();
    rig.start();
    // What the tunnel and the ring still have.
    for _ in 0..25 {
        rig.run(40);
        rig.guest.poll(&mut rig.machine);
    }
    // A mad card may have left a frame without an end, which the next one ends.
    rig.incoming(&frame(61));
    rig.run(10);
    rig.works();
}

/// Addresses at which something happens.
fn address(class: u8, offset: u16) -> u64 {
    let bases =
        [TX_BUFFERS, 0x10_0000, 0x11_0000, VMM.start - 0x8000, ARENA.start, 0x9_8000, 0xffff_0000, u64::MAX - 0x8000];
    bases[usize::from(class % 8)].wrapping_add(offset.into())
}

const REGISTERS: [u32; 32] = [
    CTRL, STATUS, EECD, EERD, CTRL_EXT, MDIC, VET, ICR, ITR, ICS, IMS, IMC, IAM, RCTL, TCTL, PSRCTL, RDBAL, RDBAH,
    RDLEN, RDH, RDT, TDBAL, TDBAH, TDLEN, TDH, TDT, GPRC, RXCSUM, RFCTL, RAL, RAH, SWSM,
];

fn register(class: u8, offset: u8) -> u32 {
    match class % 4 {
        0..=2 => REGISTERS[usize::from(offset % 32)],
        _ => (u32::from(class) << 8 | u32::from(offset)) << 1 & !3,
    }
}

fn step(rig: &mut E1000Rig, [op, a, b, c, d, e, f, g]: Record) {
    let value = u32::from_le_bytes([d, e, f, g]);
    let machine = &mut rig.machine;
    match op % 15 {
        0 => machine.write(register(a, b), value),
        1 => {
            let _ = machine.read(register(a, b));
        }
        // A frame, or less, or more.
        2 => {
            let len = usize::from(u16::from_le_bytes([a, b])) + 1;
            rig.guest.put_legacy(machine, &frame(len), &[usize::from(c) % len], (d % 2 != 0).then_some(value as u16));
        }
        3 => {
            let triple = |on: u8| (on & 1 != 0).then_some((d, e, u16::from(f)));
            let segments = (a % 2 != 0).then_some((c, u16::from_le_bytes([e, f]), a & 4 != 0, a & 8 != 0));
            let offload = Offload { network: triple(a >> 4), transport: triple(a >> 5), segments, tag: None };
            let len = usize::from(u16::from_le_bytes([b, g])) + 256;
            rig.guest.put_extended(machine, &frame(len), &[usize::from(d)], offload);
        }
        // A descriptor with anything in it.
        4 => {
            let low = u128::from(address(a, u16::from_le_bytes([b, c])));
            rig.guest.put(machine, low | u128::from(value) << 64 | u128::from(c) << 104);
        }
        5 => rig.guest.ring(machine),
        6 => (0..=a % 16).for_each(|_| machine.tick()),
        7 => {
            let frame = frame(14 + usize::from(u16::from_le_bytes([a, b])) % 9100);
            if c % 2 == 0 { rig.incoming(&frame) } else { machine.card.coming.push_back(frame) }
        }
        8 => machine.poll(),
        9 => {
            let _ = machine.read(ICR);
        }
        10 => machine.ram.poke(0x10_0000 + u64::from(u16::from_le_bytes([a, b])) * 2, &value.to_le_bytes()),
        11 => {
            let card = &mut machine.card;
            (card.slow, card.stuck, card.mad) = (u32::from(a % 4), b % 8 == 7, c % 4 == 3);
            card.plug(d % 4 != 3);
        }
        12 => machine.config_write(u16::from(a) & !3, Width::Dword, value),
        13 => {
            machine.ram.changes_after_read = a % 4 == 3;
            rig.seen().mad = b % 4 == 3;
        }
        _ if a % 8 == 7 => machine.sleep(),
        _ if a % 8 == 6 => drop(machine.other_region(
            [4, 1, 2, 3][usize::from(b % 4)],
            u32::from(c % 16) & !3,
            Op::Write(value.into()),
        )),
        _ => {
            rig.guest.form = [Form::Legacy, Form::Extended, Form::Split][usize::from(a % 3)];
            rig.guest.rctl = 0x8002 | value & 0x0603_0038;
            rig.start();
        }
    }
}

/// Well-behaved drivers, to be led astray.
pub fn seeds() -> Vec<Vec<u8>> {
    let (ring, ticks, icr): (Record, Record, Record) =
        ([5, 0, 0, 0, 0, 0, 0, 0], [6, 9, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0]);
    let send: Record = [2, 100, 0, 20, 0, 0, 0, 0];
    let segmented: Record = [3, 0x3d, 0xff, 54, 14, 24, 4, 40];
    let come: Record = [7, 200, 1, 0, 0, 0, 0, 0];
    let start = |form: u8, value: u32| -> Record {
        let [d, e, f, g] = value.to_le_bytes();
        [14, form, 0, 0, d, e, f, g]
    };
    let sequences = [
        vec![send, ring, ticks, icr],
        vec![segmented, ring, ticks, ticks, icr],
        vec![come, ticks, icr, come, come, ticks, icr],
        vec![start(1, 0x20), come, ticks, icr],
        vec![start(2, 0x20), come, come, ticks, icr],
        vec![start(0, 0x0203_0000), come, ticks, [8, 0, 0, 0, 0, 0, 0, 0]],
        vec![[11, 3, 0, 0, 0, 0, 0, 0], send, send, send, ring, ticks, [0, 0, 0, 0, 0, 0, 0, 4], send, ring, ticks],
        vec![[11, 0, 0, 3, 0, 0, 0, 0], come, come, come, ticks, [11, 0, 0, 0, 3, 0, 0, 0], icr, send, ring],
        vec![[13, 3, 0, 0, 0, 0, 0, 0], send, ring, come, ticks, icr],
        vec![[4, 3, 1, 0, 0xff, 0, 0, 0x0b], [4, 6, 1, 0, 0xff, 0xff, 0, 0x0b], ring, ticks, [14, 7, 0, 0, 0, 0, 0, 0]],
        vec![[12, 4, 0, 0, 0, 0, 0, 0], come, ticks, icr, [12, 4, 0, 0, 6, 0, 0, 0], send, ring],
    ];
    let with = |card: u8, records: &Vec<Record>| [vec![card], records.concat()].concat();
    sequences.iter().flat_map(|records| [with(0, records), with(2, records)]).collect()
}
