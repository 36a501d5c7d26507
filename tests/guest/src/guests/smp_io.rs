//! Devices that two CPUs use at once, one after the other by a lock as operating systems do it: the disk with its encrypted range,
//! and PCI configuration. And exits on all CPUs at once, with a figure of how fair they are.

use crate::machine::apic;
use crate::machine::area;
use crate::machine::ata::{self, Prd, Wait};
use crate::machine::cpu::{self, rdtsc};
use crate::machine::memory::buffer;
use crate::machine::pci::{self, Function};
use crate::machine::port::{in8, in32, out32};
use crate::machine::smp::{self, Meeting};
use crate::{boot, report};
use core::hint::spin_loop;
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

const SECTORS: usize = 16;

/// A lock of the guest's, first come first served.
struct Ticket {
    next: AtomicU32,
    serving: AtomicU32,
}

impl Ticket {
    const fn new() -> Self {
        Self { next: AtomicU32::new(0), serving: AtomicU32::new(0) }
    }

    fn with<T>(&self, code: impl FnOnce() -> T) -> T {
        let own = self.next.fetch_add(1, Relaxed);
        while self.serving.load(Acquire) != own {
            spin_loop();
        }
        let result = code();
        self.serving.fetch_add(1, Release);
        result
    }
}

/// Each CPU writes and reads its own sectors, encrypted and plain, by DMA and by PIO; all others meanwhile too.
pub fn disk() {
    let cpus = smp::start();
    let Some((first, count)) = boot::encrypted_range() else { report::fail(format_args!("no encrypted range")) };
    let bm = ata::bus_master();
    ata::settle();
    let lock = Ticket::new();
    let rounds = 24 / cpus as u32;
    smp::on_all(&|| {
        let own = smp::number() as u64;
        for round in 0..rounds {
            // In the range, across its start, outside of it.
            let place = match round % 3 {
                0 => u64::from(first) + 64 * own,
                1 => u64::from(first + count) - SECTORS as u64 * (own + 1),
                _ => u64::from(first) - SECTORS as u64 * (own + 1),
            };
            let data = &mut buffer(2 * own as usize)[..SECTORS * ata::SECTOR];
            ata::fill_pattern(place, round, data);
            let by_dma = round % 2 == 0;
            lock.with(|| write(bm, place, data, by_dma));
            let back = &mut buffer(2 * own as usize + 1)[..SECTORS * ata::SECTOR];
            back.fill(0xee);
            lock.with(|| read(bm, place, back, !by_dma));
            if let Some(sector) = ata::pattern_mismatch(place, round, back) {
                report::fail(format_args!("CPU {own}, round {round}: sector {sector} from {place} differs"));
            }
        }
    });
    say!("{cpus} CPUs, {rounds} rounds each");
}

fn pieces(data: &[u8]) -> impl Iterator<Item = Prd> {
    ata::prds(data.as_ptr() as u64, data.len())
}

fn write(bm: u16, place: u64, data: &[u8], by_dma: bool) {
    let result = match by_dma {
        true => ata::dma_at(bm, ata::dma_command(place, SECTORS, true), false, Wait::Poll, pieces(data)),
        false => ata::write_pio(place, data),
    };
    ata::must(result, "a write");
}

fn read(bm: u16, place: u64, data: &mut [u8], by_dma: bool) {
    let result = match by_dma {
        true => ata::dma_at(bm, ata::dma_command(place, SECTORS, false), true, Wait::Poll, pieces(data)),
        false => ata::read_pio(place, data),
    };
    ata::must(result, "a read");
}

/// Each CPU reads what it asks for, of the guarded controller and of others, while all others ask for something else.
pub fn config() {
    let cpus = smp::start();
    let ide = ata::function();
    let lock = Ticket::new();
    let devices = [ide, Function { device: 0, function: 0 }, Function { device: ide.device, function: 0 }];
    let offsets = [0u8, 8, pci::BAR4, 0x3c];
    let expected = devices.map(|device| offsets.map(|offset| device.read32(offset)));
    smp::on_all(&|| {
        for i in 0..400usize {
            let (d, o) = ((i + smp::number()) % devices.len(), (i / 3 + smp::number()) % offsets.len());
            let value = lock.with(|| devices[d].read32(offsets[o]));
            check_eq!(value, expected[d][o], "register {:#x} of {:?} on CPU {}", offsets[o], devices[d], smp::number());
            // A write that changes nothing, and an address of this CPU's that must come back.
            let (address, found) = lock.with(|| {
                devices[d].write32(pci::BAR4, expected[d][2]);
                let address = 1 << 31 | u32::from(devices[d].device) << 11 | (i as u32 & 0x3f) << 2;
                out32(0xcf8, address);
                (address, in32(0xcf8))
            });
            check_eq!(found, address, "CF8 on CPU {}", smp::number());
        }
    });
    say!("{cpus} CPUs");
}

/// Kinds of exits, each a few at a time.
const EXITS: [(&str, fn()); 5] = [
    ("CPUID", || drop_all(|| cpu::cpuid(0).eax)),
    ("IN 92h", || drop_all(|| in8(0x92).into())),
    ("PCI configuration", || drop_all(|| Function { device: 0, function: 0 }.read32(0))),
    ("a write to the APIC", || {
        drop_all(|| {
            apic::write(apic::TASK_PRIORITY, 0);
            0
        })
    }),
    ("disk status", || drop_all(|| in8(ata::CONTROL).into())),
];

fn drop_all(code: impl Fn() -> u32) {
    (0..10).for_each(|_| _ = core::hint::black_box(code()));
}

/// How often each CPU gets through the same exits in the same time.
pub fn exits() {
    let cpus = smp::start();
    let ticks = second();
    for (name, exit) in EXITS {
        let (counts, gaps) = ([const { AtomicU64::new(0) }; area::MOST], [const { AtomicU64::new(0) }; area::MOST]);
        let meeting = Meeting::new();
        let stop = AtomicBool::new(false);
        smp::on_all(&|| {
            meeting.meet(1, cpus as u64);
            let start = rdtsc();
            let (mut count, mut gap, mut last) = (0u64, 0, start);
            while !stop.load(Relaxed) {
                exit();
                count += 1;
                let now = rdtsc();
                gap = gap.max(now.wrapping_sub(last));
                last = now;
                // The first CPU ends it for all.
                if smp::number() == 0 && now.wrapping_sub(start) > ticks {
                    stop.store(true, Relaxed);
                }
            }
            counts[smp::number()].store(count, Relaxed);
            gaps[smp::number()].store(gap, Relaxed);
        });
        let all = || counts[..cpus].iter().map(|count| count.load(Relaxed));
        let (least, most) = (all().min().unwrap_or(0), all().max().unwrap_or(0));
        let gap = gaps[..cpus].iter().map(|gap| gap.load(Relaxed)).max().unwrap_or(0);
        say!("FAIR {name}: {} of {most} rounds, longest wait {gap} ticks of {ticks}", least);
        check!(least * 50 > most, "{name}: one CPU gets {least} rounds, another {most}");
    }
}

/// Time stamp ticks of a good part of a second.
fn second() -> u64 {
    let start = rdtsc();
    crate::machine::time::delay_ms(100);
    (rdtsc() - start) * 3
}
