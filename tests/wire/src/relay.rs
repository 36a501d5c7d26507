//! The relay: a machine's card on one side, the network on the other, every frame of both directions in a capture.
//!
//! A frame is captured when it comes to the relay, before any fault: what the machine sent counts, also if the wire then lost it.

use crate::faults::{Damage, Dice, Fate, Faults};
use crate::frame::Direction;
use crate::pcapng::Writer;
use crate::port::Port;
use anyhow::{Result, anyhow};
use nix::poll::{PollFd, PollTimeout, poll};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long a change of faults, or the end, may wait.
const PATIENCE: Duration = Duration::from_millis(50);
const SEED: u64 = 0x5348_4F4A_495F_5749;

/// Which ways the faults are for.
#[derive(Clone, Copy, Default, Debug)]
struct Both {
    from_machine: Faults,
    to_machine: Faults,
}

#[derive(Default)]
struct Shared {
    faults: Mutex<Both>,
    damage: Mutex<[Damage; 2]>,
    stop: AtomicBool,
}

/// A relay at work; it ends with its value.
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Relay {
    /// Starts it between the machine and what `network` opens, in a thread that shares the caller's namespaces.
    pub fn start(machine: Port, network: Port, capture: &Path) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer::create(capture)?;
        let (mine, now) = (shared.clone(), Instant::now());
        let work = Work {
            ports: [machine, network],
            late: BinaryHeap::new(),
            count: 0,
            dice: [Dice::new(SEED), Dice::new(!SEED)],
            writer,
            start: now,
            start_ns: unix_ns(),
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || work.run(&mine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on, for both directions.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.shared.faults) = Both { from_machine: faults, to_machine: faults };
    }

    /// From now on, for one.
    pub fn set_faults_of(&self, direction: Direction, faults: Faults) {
        let mut both = lock(&self.shared.faults);
        match direction {
            Direction::FromMachine => both.from_machine = faults,
            Direction::ToMachine => both.to_machine = faults,
        }
    }

    /// What was done to frames of one direction so far.
    pub fn damage(&self, direction: Direction) -> Damage {
        lock(&self.shared.damage)[direction as usize]
    }

    /// Ends it; the capture is complete then.
    ///
    /// # Errors
    /// The relay had ended before, and why: the capture then lacks what came later.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.shared.stop.store(true, SeqCst);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(anyhow!("the relay panicked")))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Whoever wants to know has called `stop`.
        let _ = self.end();
    }
}

/// A frame that comes later; the earliest first, of the same time the one that came first.
type Late = Reverse<(Instant, u64, usize, Vec<u8>)>;

/// What the thread works with. Port 0 is the machine's, port 1 the network's.
struct Work {
    ports: [Port; 2],
    late: BinaryHeap<Late>,
    count: u64,
    dice: [Dice; 2],
    writer: Writer,
    start: Instant,
    start_ns: u64,
}

impl Work {
    fn run(mut self, shared: &Shared) -> Result<()> {
        loop {
            let is_last = shared.stop.load(SeqCst);
            if self.wait()? {
                self.writer.flush()?;
            }
            let mut taken = 0;
            for from in [0, 1] {
                self.ports[from].flush()?;
                for frame in self.ports[from].receive()? {
                    self.take(from, frame, &lock(&shared.faults))?;
                    taken += 1;
                }
            }
            self.give_late_ones(Instant::now())?;
            *lock(&shared.damage) = self.dice.each_ref().map(|dice| dice.damage);
            // What the machine sent before it ended is in the capture, too.
            if is_last && taken == 0 {
                break;
            }
        }
        self.writer.flush()
    }

    /// Until something happens; `true`: nothing has.
    fn wait(&self) -> Result<bool> {
        let due = self.late.peek().map_or(PATIENCE, |Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let mut files = self.ports.each_ref().map(|port| {
            let (file, events) = port.waits_for();
            PollFd::new(file, events)
        });
        // A timeout below a millisecond would be none at all.
        let timeout = PollTimeout::try_from(due.min(PATIENCE).max(Duration::from_millis(1)))?;
        Ok(poll(&mut files, timeout)? == 0)
    }

    fn take(&mut self, from: usize, frame: Vec<u8>, faults: &Both) -> Result<()> {
        let direction = if from == 0 { Direction::FromMachine } else { Direction::ToMachine };
        // The clock of the capture never goes back, whatever is done to the host's.
        let time_ns = self.start_ns + self.start.elapsed().as_nanos() as u64;
        self.writer.write(direction, time_ns, &frame)?;
        let faults = if from == 0 { &faults.from_machine } else { &faults.to_machine };
        let fate = self.dice[from].cast(faults);
        if let Fate::Arrives { copies, after } = fate {
            for _ in 1..copies {
                self.pass(1 - from, frame.clone(), after)?;
            }
            self.pass(1 - from, frame, after)?;
        }
        Ok(())
    }

    fn pass(&mut self, to: usize, frame: Vec<u8>, after: Duration) -> Result<()> {
        if after.is_zero() {
            return self.give(to, &frame);
        }
        self.count += 1;
        self.late.push(Reverse((Instant::now() + after, self.count, to, frame)));
        Ok(())
    }

    fn give_late_ones(&mut self, now: Instant) -> Result<()> {
        while self.late.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, to, frame))) = self.late.pop() {
                self.give(to, &frame)?;
            }
        }
        Ok(())
    }

    fn give(&mut self, to: usize, frame: &[u8]) -> Result<()> {
        if !self.ports[to].send(frame)? {
            self.dice[1 - to].damage.lost += 1;
        }
        Ok(())
    }
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::pcapng::Reader;
    use std::io::{Read, Write};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};

    /// A relay between two machines, and their ends.
    fn rig(name: &str) -> (Relay, UnixStream, UnixStream, std::path::PathBuf) {
        let dir = std::env::temp_dir().join(format!("wire-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let [left, right] = ["left", "right"].map(|side| format!("{}-{side}", dir.display()));
        let [machine, network] = [&left, &right].map(|side| Port::stream(side).unwrap());
        let relay = Relay::start(machine, network, &dir.join("wire.pcapng")).unwrap();
        let connect = |name: String| UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        let [left, right] = [left, right].map(connect);
        right.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // Both have been let in when a frame gets through.
        (relay, left, right, dir)
    }

    fn send(to: &mut UnixStream, frame: &[u8]) {
        to.write_all(&[&(frame.len() as u32).to_be_bytes()[..], frame].concat()).unwrap();
    }

    fn receive(from: &mut UnixStream) -> Vec<u8> {
        let mut len = [0; 4];
        from.read_exact(&mut len).unwrap();
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        from.read_exact(&mut frame).unwrap();
        frame
    }

    /// Sends until the other side, which may not have been let in yet, has got one.
    fn warm_up(left: &mut UnixStream, right: &mut UnixStream) {
        right.set_nonblocking(true).unwrap();
        let mut first = [0; 1];
        while right.peek_one(&mut first).is_none() {
            send(left, b"hello");
            std::thread::sleep(Duration::from_millis(20));
        }
        right.set_nonblocking(false).unwrap();
        send(left, b"go");
        while receive(right) != b"go" {}
    }

    trait PeekOne {
        fn peek_one(&mut self, to: &mut [u8; 1]) -> Option<()>;
    }

    impl PeekOne for UnixStream {
        /// Takes the first byte of a length, which is 0, and puts the frame behind it aside.
        fn peek_one(&mut self, to: &mut [u8; 1]) -> Option<()> {
            self.read_exact(to).ok()?;
            self.set_nonblocking(false).unwrap();
            let mut rest = [0; 8];
            self.read_exact(&mut rest).unwrap();
            Some(())
        }
    }

    fn captured(dir: &Path) -> Vec<Frame> {
        let frames = Reader::open(&dir.join("wire.pcapng")).unwrap().map(Result::unwrap).collect();
        std::fs::remove_dir_all(dir).unwrap();
        frames
    }

    #[test]
    fn frames_go_both_ways_and_into_the_capture() {
        let (relay, mut left, mut right, dir) = rig("both");
        warm_up(&mut left, &mut right);
        send(&mut right, b"back");
        assert_eq!(receive(&mut left), b"back");
        relay.stop().unwrap();
        let frames = captured(&dir);
        let last = frames.last().unwrap();
        assert_eq!((last.direction, last.bytes.as_slice()), (Direction::ToMachine, b"back".as_slice()));
        assert!(frames.iter().any(|frame| frame.direction == Direction::FromMachine && frame.bytes == b"go"));
        assert!(frames.is_sorted_by_key(|frame| (frame.number, frame.time_ns)));
    }

    #[test]
    fn what_a_cut_wire_loses_is_captured_and_counted() {
        let (relay, mut left, mut right, dir) = rig("cut");
        warm_up(&mut left, &mut right);
        relay.set_faults(Faults { cut: true, ..Faults::default() });
        let before = relay.damage(Direction::FromMachine).lost;
        send(&mut left, b"lost");
        while relay.damage(Direction::FromMachine).lost == before {
            std::thread::sleep(Duration::from_millis(5));
        }
        relay.set_faults(Faults::default());
        send(&mut left, b"found");
        assert_eq!(receive(&mut right), b"found");
        relay.stop().unwrap();
        assert!(captured(&dir).iter().any(|frame| frame.bytes == b"lost"));
    }

    #[test]
    fn frames_that_are_held_back_are_overtaken_and_copies_arrive() {
        let (relay, mut left, mut right, dir) = rig("held");
        warm_up(&mut left, &mut right);
        let held_back = Duration::from_millis(100);
        relay.set_faults(Faults { hold_one_in: 4, copy_one_in: 8, held_back, ..Faults::default() });
        (0..64u8).for_each(|n| send(&mut left, &[n]));
        let mut arrived = Vec::new();
        while (0..64).any(|n| !arrived.contains(&vec![n])) {
            arrived.push(receive(&mut right));
        }
        assert!(!arrived.is_sorted(), "nothing was overtaken");
        let damage = relay.damage(Direction::FromMachine);
        assert!(damage.held > 0 && damage.copied > 0 && damage.lost == 0, "{damage:?}");
        relay.stop().unwrap();
        drop(captured(&dir));
    }
}
