//! Any PRD table for one DMA request, against the mediator and, as the oracle, against the bare controller.
//!
//! Input: unit and direction, number of sectors, then the table, eight bytes each. Whatever the bare controller does
//! with a table that an honest guest may write, the guest must see the same through the mediator.

use scenario::{DATA, MARKER, Rig, Way, command};
use sim::guest::{Entry, GuestDriver, SCRATCH};
use sim::ide::Kind;
use sim::{Machine, SimIde, SimMemory};

/// First sector of the request: some lie before the protected range.
const FIRST: u64 = 995;
const MAX_ENTRIES: usize = 64;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((&[flags, sectors], table)) = data.split_first_chunk() else { return };
    let (unit, write) = (usize::from(flags & 1), flags & 2 != 0);
    let sectors = u64::from(sectors % 64) + 1;
    let table: Vec<u8> = table.chunks_exact(8).take(MAX_ENTRIES).flat_map(near_guest_memory).collect();

    let mut bare = Machine::new(SimIde::new([
        Kind::disk(scenario::SECTORS),
        Kind::disk(scenario::PLAIN),
        Kind::Empty,
        Kind::Empty,
    ]));
    let mut rig = Rig::new();
    for lba in FIRST..FIRST + sectors {
        let seen = rig.expected(lba);
        bare.ide.disk(0, 0).platter.write(lba, seen);
    }
    for machine in [&mut bare, &mut rig.machine] {
        machine.ram.poke(DATA, &MARKER.repeat(0x2000));
        machine.ram.poke(SCRATCH, &table);
    }
    let without = request(&mut bare, unit, write, sectors);
    let with = request(&mut rig.machine, unit, write, sectors);
    rig.check_secrecy();
    if is_honest(&table, sectors * 512) {
        assert_eq!(without, Ok(()), "an honest table works on the bare controller");
        assert_eq!(with, Ok(()), "an honest table works through the mediator");
        for lba in FIRST..FIRST + sectors {
            let stored = rig.machine.ide.disk(0, unit).platter.read(lba);
            let seen = if unit == 0 { rig.ranges.in_guest(lba, &stored) } else { stored };
            assert!(seen == bare.ide.disk(0, unit).platter.read(lba), "sector {lba} differs");
        }
        for (at, len) in entries(&table) {
            assert!(
                bare.ram.peek(at, len as usize) == rig.machine.ram.peek(at, len as usize),
                "memory at {at:#x} differs"
            );
        }
    }
    recover(&mut rig);
}

fn request(machine: &mut Machine, unit: usize, write: bool, sectors: u64) -> Result<(), sim::guest::Failure> {
    let mut guest = GuestDriver::new(machine, 0, unit);
    guest.dma_start(command(Way::LINUX, write, FIRST, sectors), write, SCRATCH)?;
    guest.dma_end_within(200)
}

fn recover(rig: &mut Rig) {
    let mut guest = rig.disk();
    guest.bm_stop().and_then(|()| guest.soft_reset()).expect("the channel can be reset");
    rig.accept_the_disk();
    rig.read(Way::LINUX, 990, 20).expect("the disk reads");
}

/// Most entries shall point into RAM: the upper address byte is taken from a few.
fn near_guest_memory(entry: &[u8]) -> Vec<u8> {
    let tops = [0x00, 0x00, 0x00, 0x01, 0x02, 0x03, 0x04, 0xff];
    let mut entry = entry.to_vec();
    entry[3] = tops[usize::from(entry[3] % 8)];
    entry
}

/// Address and length of the entries up to the end mark.
fn entries(table: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for entry in table.chunks_exact(8) {
        let number = |at: usize| u64::from(u16::from_le_bytes([entry[at], entry[at + 1]]));
        let len = if number(4) == 0 { 0x1_0000 } else { number(4) };
        entries.push((number(0) | number(2) << 16, len));
        if entry[7] & 0x80 != 0 {
            break;
        }
    }
    entries
}

/// Is it a table as the specification wants it, of pieces of RAM that do not overlap, for so many bytes?
fn is_honest(table: &[u8], len_bytes: u64) -> bool {
    let mut pieces = entries(table);
    let ends = table.chunks_exact(8).nth(pieces.len().wrapping_sub(1)).is_some_and(|entry| entry[7] & 0x80 != 0);
    let total: u64 = pieces.iter().map(|(_, len)| len).sum();
    let fine = |&(at, len): &Entry| {
        at % 2 == 0 && len % 2 == 0 && at % 0x1_0000 + len <= 0x1_0000 && SimMemory::is_ram(at, len)
    };
    let reserved = table.chunks_exact(8).take(pieces.len()).all(|entry| entry[6] == 0 && entry[7] & 0x7f == 0);
    let all_fine = pieces.iter().all(fine);
    pieces.push((SCRATCH, 0x1_0000));
    pieces.sort_unstable();
    let apart = pieces.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
    ends && total == len_bytes && all_fine && reserved && apart
}

/// Honest tables.
pub fn seeds() -> Vec<Vec<u8>> {
    let shapes: [&[u16]; 4] = [&[4096], &[512; 8], &[2, 4094], &[510, 2, 1024, 2560]];
    let mut seeds = Vec::new();
    for flags in 0..4 {
        for shape in shapes {
            let mut seed = vec![flags, 7];
            for (index, len) in shape.iter().enumerate() {
                let at = (DATA as u32 + 0x2000 * index as u32).to_le_bytes();
                let end = if index + 1 == shape.len() { 0x80 } else { 0 };
                seed.extend(at.into_iter().chain(len.to_le_bytes()).chain([0, end]));
            }
            seeds.push(seed);
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_are_honest_so_that_the_comparison_takes_place() {
        assert!(super::seeds().iter().all(|seed| super::is_honest(&seed[2..], 4096)));
    }
}
