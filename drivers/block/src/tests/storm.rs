//! Many requests in any order of events, against a model of what the guest must see.

use super::bench::{Bench, LARGE, SECTOR, SMALL};
use std::vec::Vec;

struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A request under way: tag, write, first sector, sectors, memory, data.
struct Under {
    tag: u32,
    write: bool,
    lba: u64,
    sectors: u64,
    at: u64,
    data: Vec<u8>,
}

#[test]
fn whatever_the_order_the_guest_reads_what_it_wrote() {
    for seed in 1..60 {
        storm(seed);
    }
}

fn storm(seed: u64) {
    let mut rng = Rng(seed * 0x9e37_79b9);
    let mut bench = Bench::new([4, 16, 64][seed as usize % 3] * 4096);
    let mut model = vec![0; 2200 * SECTOR];
    let mut under: Vec<Under> = Vec::new();
    for tag in 0..80 {
        let base = [SMALL.start - 4, LARGE.start - 6, LARGE.start + 700][rng.below(3) as usize];
        let most = if rng.below(4) == 0 { 90 } else { 12 };
        let (lba, sectors) = (base + rng.below(60), 1 + rng.below(most));
        // What a guest does twice at the same time on one sector has no defined end.
        let races = |other: &Under| lba < other.lba + other.sectors && other.lba < lba + sectors;
        if !under.iter().any(races) {
            let (write, at) = (rng.below(2) == 0, 0x20_0000 + u64::from(tag) * 0x1_0000);
            let data: Vec<u8> = (0..sectors as usize * SECTOR).map(|_| rng.below(256) as u8).collect();
            if write {
                bench.poke(at, &data);
            }
            let odd = 2 * rng.below(200) as u32 + 2;
            bench.submit(
                tag,
                write,
                lba,
                sectors as u32,
                &[(at, odd), (at + u64::from(odd), sectors as u32 * 512 - odd)],
            );
            let range = lba as usize * SECTOR..(lba + sectors) as usize * SECTOR;
            let data = if write { data } else { model[range].to_vec() };
            under.push(Under { tag, write, lba, sectors, at, data });
        }
        for _ in 0..rng.below(6) {
            step(&mut bench, &mut rng);
            settle(&mut bench, &mut under, &mut model);
        }
    }
    while !bench.work.is_empty() || !bench.device.is_empty() {
        step(&mut bench, &mut rng);
        settle(&mut bench, &mut under, &mut model);
    }
    assert!(under.is_empty(), "seed {seed}: requests that never ended");
    for lba in (SMALL.start - 10..SMALL.start + 160).chain(LARGE.start - 10..LARGE.start + 150) {
        let at = lba as usize * SECTOR;
        assert_eq!(bench.guest_view(lba, 1), model[at..at + SECTOR], "seed {seed}, sector {lba}");
    }
}

fn step(bench: &mut Bench, rng: &mut Rng) {
    let (work, device) = (bench.work.len() as u64, bench.device.len() as u64);
    match rng.below((work + device).max(1)) {
        _ if work + device == 0 => {}
        n if n < work => bench.work_ends(n as usize),
        n => bench.device_ends((n - work) as usize),
    }
}

fn settle(bench: &mut Bench, under: &mut Vec<Under>, model: &mut [u8]) {
    for (tag, sectors, result) in std::mem::take(&mut bench.ended) {
        let at = under.iter().position(|under| under.tag == tag).expect("a request of ours");
        let done = under.remove(at);
        assert_eq!((result, u64::from(sectors)), (Ok(()), done.sectors));
        if done.write {
            model[done.lba as usize * SECTOR..][..done.data.len()].copy_from_slice(&done.data);
        } else {
            assert_eq!(bench.ram.peek(done.at, done.data.len()), done.data, "read of {}", done.lba);
        }
    }
}
