//! The rings of all CPUs as one log.

use crate::ring::{Ring, Taken};
use crate::text::Text;
use abi::log::{Level, Record};
use alloc::vec::Vec;
use core::fmt;
use lock::Ranked;
use lock::rank::{LOG, LOG_CLOCK};
use spin::Once;

/// Where records go besides the rings: a serial port, a screen, a network. Called on the CPU that logs, with no lock of the log held;
/// it must not wait for long, and not log.
pub trait Sink: Sync {
    fn write(&self, record: &Record<'_>);
}

const MOST_SINKS: usize = 4;

type CpuRing = Ranked<Ring, LOG>;

/// The log. It keeps nothing before [`Logs::start`].
pub struct Logs {
    clock: Ranked<Clock, LOG_CLOCK>,
    /// Of the CPU that starts first, and of any that has none of its own.
    first: Once<CpuRing>,
    others: Once<Vec<CpuRing>>,
    sinks: [Once<&'static dyn Sink>; MOST_SINKS],
}

/// Numbers and times, which rise together.
struct Clock {
    next: u64,
    time_ns: u64,
}

impl Clock {
    fn tick(&mut self, now_ns: u64) -> (u64, u64) {
        let number = self.next;
        self.next = number.saturating_add(1);
        // The measure of time may be corrected at the start, CPUs may differ by some ticks.
        self.time_ns = self.time_ns.max(now_ns);
        (number, self.time_ns)
    }
}

/// How far a reader has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Number from which the next read goes on.
    pub next: u64,
    /// Records before it that were asked for and are gone.
    pub lost: u64,
}

impl Logs {
    pub const fn new() -> Self {
        Self {
            clock: Ranked::new(Clock { next: 0, time_ns: 0 }),
            first: Once::new(),
            others: Once::new(),
            sinks: [const { Once::new() }; MOST_SINKS],
        }
    }

    /// Keeps records from now on: the newest that fit into so many bytes. False: there is no such memory.
    pub fn start(&self, size_bytes: usize) -> bool {
        let Some(ring) = Ring::new(size_bytes) else { return false };
        self.first.call_once(|| Ranked::new(ring));
        true
    }

    /// CPUs 1 up to `cpus` - 1 get rings of their own, of so many bytes each; those for which there is no memory share the first's.
    pub fn add_cpus(&self, cpus: usize, size_bytes: usize) {
        self.others.call_once(|| {
            let mut rings = Vec::new();
            if rings.try_reserve_exact(cpus.saturating_sub(1)).is_ok() {
                rings.extend((1..cpus).map_while(|_| Ring::new(size_bytes)).map(Ranked::new));
            }
            rings
        });
    }

    /// A record is handed to `sink` too from now on, after those that are already there. False: there are too many sinks.
    pub fn add_sink(&self, sink: &'static dyn Sink) -> bool {
        self.read(0, Level::Debug, |record| {
            sink.write(record);
            true
        });
        self.sinks.iter().any(|place| {
            let mut is_ours = false;
            place.call_once(|| {
                is_ours = true;
                sink
            });
            is_ours
        })
    }

    /// Logs a text for this CPU. `now` tells the time in nanoseconds.
    pub fn write(&self, cpu: usize, level: Level, now: impl FnOnce() -> u64, text: fmt::Arguments<'_>) {
        let Some(ring) = cpu.checked_sub(1).and_then(|n| self.others.get()?.get(n)).or(self.first.get()) else {
            return;
        };
        let text = Text::of(text);
        let cpu = u16::try_from(cpu).unwrap_or(u16::MAX);
        let mut record = Record { number: 0, time_ns: 0, level, cpu, cut: text.is_cut(), text: text.as_str() };
        let mut ring = ring.lock();
        // Within the lock of the ring: see `read`.
        let mut clock = self.clock.lock();
        (record.number, record.time_ns) = clock.tick(now());
        drop(clock);
        ring.push(&record);
        drop(ring);
        self.sinks.iter().filter_map(Once::get).for_each(|sink| sink.write(&record));
    }

    /// Records ever written.
    pub fn written(&self) -> u64 {
        self.clock.lock().next
    }

    /// Hands the records from the one numbered `from` on to `take`, oldest first, but those that matter less than `level`; until there is no
    /// more, or `take` gives false because it has no room: that one comes again.
    pub fn read(&self, from: u64, level: Level, mut take: impl FnMut(&Record<'_>) -> bool) -> Progress {
        // A number is given and its record put into a ring under the ring's lock: whatever has a lower number than this is in its
        // ring when the ring's lock is free, unless newer ones have taken its place.
        let end = self.written();
        let mut at = Progress { next: from.min(end), lost: 0 };
        let rings = || self.first.get().into_iter().chain(self.others.get().into_iter().flatten());
        let mut positions = Vec::new();
        if positions.try_reserve_exact(rings().count()).is_err() {
            return at;
        }
        positions.extend(rings().map(|_| 0_u64));
        let mut taken = Taken::NONE;
        loop {
            let found = rings().zip(&mut positions).filter_map(|(ring, position)| {
                let number = ring.lock().find(at.next, position).filter(|number| *number < end)?;
                Some((number, ring, *position))
            });
            let Some((number, ring, position)) = found.min_by_key(|(number, ..)| *number) else { break };
            if !ring.lock().take(position, &mut taken) {
                continue;
            }
            let record = taken.record();
            if record.level <= level && !take(&record) {
                return at;
            }
            at.lost = at.lost.saturating_add(number.saturating_sub(at.next));
            at.next = number.saturating_add(1);
        }
        at.lost = at.lost.saturating_add(end.saturating_sub(at.next));
        Progress { next: end, ..at }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self::new()
    }
}
