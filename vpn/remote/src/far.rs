//! The end at the program.

use crate::EncodedSetup;
use crate::link::{Inner, Link, Watch, add};
use crate::pace::{Lines, Pauses, after};
use abi::vpn::{
    Answer, Both, MAX_BATCH_BYTES, MAX_LINE_BYTES, RECORD_HEADER_BYTES, REQUEST_BYTES, Records, Request, SEED_BYTES,
    START_BYTES, Side, Start, op, record_header,
};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll};
use mediator::Instant;
use message::{Error, Lease, Leases};
use zeroize::Zeroizing;

/// A call that cannot be made at the moment is made again after this time, and not for longer than that.
const RETRY_NS: u64 = 1_000_000;
const PATIENCE_NS: u64 = 1_000_000_000;
/// Deadlines are not taken more seriously than that.
const LEAST_NS: u64 = 1_000_000;
/// Lines for the log that are asked for after one exchange, and when the rest is asked for.
const MOST_EVENTS: usize = 4;
const EVENTS_NS: u64 = 1_000_000_000;

/// What a pump stands on. No lock is held in its calls.
pub trait Host {
    /// Calls the service `vpn`, which is started if need be.
    ///
    /// # Errors
    /// As a port's call, and as opening one.
    fn call(&mut self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error>;

    /// Bytes that nobody can foretell, others at each call. `None`: there are none now.
    fn seed(&mut self) -> Option<Zeroizing<[u8; SEED_BYTES]>>;

    /// A line for the log, without the tunnel's name; its text may hold anything.
    fn tell(&mut self, line: fmt::Arguments<'_>);
}

/// When [`Far::exchange`] is wanted again at the latest; it may be called at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// As soon as others have had their turn.
    Now,
    At(Instant),
    /// When it is rung for.
    Rung,
}

/// What an exchange has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub next: Next,
    /// Frames wait for the card.
    pub card: bool,
}

enum State {
    /// There is no program that knows the tunnel.
    Down {
        until: Instant,
    },
    Serves {
        since: Instant,
    },
}

/// Moves frames between the queues and the program.
pub struct Far {
    link: Arc<Link>,
    /// Of the tunnel, where operations have it.
    number: u64,
    name: String,
    setup: EncodedSetup,
    /// The next batch; more than a header: frames of a call that could not be made yet.
    request: Vec<u8>,
    answer: Vec<u8>,
    state: State,
    pauses: Pauses,
    lines: Lines,
    /// Since when a call could not be made.
    put_off: Option<Instant>,
}

impl Far {
    /// `None`: no memory.
    pub(crate) fn new(link: Arc<Link>, number: usize, name: String, setup: EncodedSetup) -> Option<Self> {
        let (mut request, mut answer) = (Vec::new(), Vec::new());
        request.try_reserve_exact(MAX_BATCH_BYTES).ok()?;
        answer.try_reserve_exact(MAX_BATCH_BYTES).ok()?;
        request.resize(REQUEST_BYTES, 0);
        answer.resize(MAX_BATCH_BYTES, 0);
        Some(Self {
            link,
            number: (number as u64) << op::SHIFT,
            name,
            setup,
            request,
            answer,
            state: State::Down { until: Instant(u64::MAX) },
            pauses: Pauses::default(),
            lines: Lines::default(),
            put_off: None,
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.link))
    }

    /// Sets the tunnel up for the first time.
    ///
    /// # Errors
    /// A sentence: why there can be no such tunnel.
    pub fn begin(&mut self, now: Instant, host: &mut dyn Host) -> Result<(), String> {
        self.configure(now, host)
    }

    /// Has the other end something to do for [`Far::exchange`]? If not, the task is woken when it has.
    pub fn poll_rung(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.link.0.lock().take_rung(context.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// One call to the program, both ways, and what has to be done about its failures.
    pub fn exchange(&mut self, now: Instant, host: &mut dyn Host) -> Outcome {
        match self.state {
            State::Serves { .. } => {}
            State::Down { until } if now < until => return Outcome { next: Next::At(until), card: false },
            State::Down { .. } => match self.configure(now, host) {
                Ok(()) => host.tell(format_args!("its program runs again")),
                // It was told when the program was lost.
                Err(_) => return self.rest(now, None),
            },
        }
        self.fill(now);
        let mut leases = [Lease::Read(&self.request), Lease::Write(&mut self.answer)];
        match host.call(self.number | op::EXCHANGE, &mut leases) {
            Ok(len) => match self.take(now, len) {
                Some((answer, outcome)) => {
                    self.put_off = None;
                    if answer.has_event { self.tell_events(now, host, outcome) } else { outcome }
                }
                None => self.lose(now, host, format_args!("its answer makes no sense")),
            },
            Err(error) => self.fail(now, host, error),
        }
    }

    fn configure(&mut self, now: Instant, host: &mut dyn Host) -> Result<(), String> {
        let seed = host.seed().ok_or("there are no random numbers to be had")?;
        let mut start = Zeroizing::new([0; START_BYTES]);
        Start { now_ns: now.0, seed: &seed }.encode(&mut start);
        let mut text = [0; MAX_LINE_BYTES];
        let mut leases = [Lease::Read(&self.setup), Lease::Read(start.as_slice()), Lease::Write(&mut text)];
        let answer = host.call(self.number | op::CONFIGURE, &mut leases);
        match answer.map(|len| text.get(..len as usize)) {
            Ok(Some([])) => {
                self.state = State::Serves { since: now };
                self.link.0.lock().is_served = true;
                Ok(())
            }
            Ok(Some(why)) => Err(String::from_utf8_lossy(why).into_owned()),
            Ok(None) => Err("its program's answer makes no sense".into()),
            Err(error) => Err(alloc::format!("its program does not answer: {error}")),
        }
    }

    /// The next batch, and its header.
    fn fill(&mut self, now: Instant) {
        let mut link = self.link.0.lock();
        let link = &mut *link;
        if self.request.len() <= REQUEST_BYTES {
            // Whatever the guest sends, the wire has half of it.
            move_frames(link, Side::Wire, MAX_BATCH_BYTES / 2, &mut self.request);
            move_frames(link, Side::Guest, MAX_BATCH_BYTES, &mut self.request);
            move_frames(link, Side::Wire, MAX_BATCH_BYTES, &mut self.request);
        }
        let room = |side| u32::try_from(link.to.of(side).room()).unwrap_or(u32::MAX);
        let room = Both { guest: room(Side::Guest), wire: room(Side::Wire) };
        let header = Request { now_ns: now.0, link_up: link.link_up, room };
        if let Some(place) = self.request.get_mut(..REQUEST_BYTES) {
            place.copy_from_slice(&header.encode());
        }
    }

    /// Hands the program's frames to their sides. `None`: the answer cannot be, and nothing of it goes anywhere.
    fn take(&mut self, now: Instant, len: u64) -> Option<(Answer, Outcome)> {
        let batch = usize::try_from(len).ok().and_then(|len| self.answer.get(..len))?;
        let (answer, records) = Answer::decode(batch)?;
        if records.clone().any(|record| record.is_err()) {
            return None;
        }
        let mut progress = self.request.len() > REQUEST_BYTES;
        self.request.truncate(REQUEST_BYTES);
        let mut link = self.link.0.lock();
        let link = &mut *link;
        add(&mut link.counters.exchanges, 1);
        for (to, frame) in records.flatten() {
            progress = true;
            // With no cable nobody takes them before they are stale.
            let is_taken = (to == Side::Guest || link.link_up) && link.to.of_mut(to).push(frame);
            let counter = if is_taken { &mut link.counters.given } else { &mut link.counters.late };
            add(counter.of_mut(to), 1);
        }
        (link.more, link.is_up) = (answer.more, answer.is_up);
        let next = match answer.deadline_ns {
            _ if progress && link.has_work() => Next::Now,
            _ if link.has_work() => Next::At(after(now, LEAST_NS)),
            Some(at) => Next::At(Instant(at).max(after(now, LEAST_NS))),
            None => Next::Rung,
        };
        Some((answer, Outcome { next, card: !link.to.guest.is_empty() || !link.to.wire.is_empty() }))
    }

    fn tell_events(&mut self, now: Instant, host: &mut dyn Host, outcome: Outcome) -> Outcome {
        for _ in 0..MOST_EVENTS {
            if !self.lines.take(now) {
                break;
            }
            let mut line = [0; MAX_LINE_BYTES];
            match host.call(self.number | op::EVENT, &mut [Lease::Write(&mut line)]) {
                Ok(0) => return outcome,
                Ok(len) => match line.get(..len as usize) {
                    Some(line) => host.tell(format_args!("{}", String::from_utf8_lossy(line))),
                    None => return self.lose(now, host, format_args!("its answer makes no sense")),
                },
                Err(error) if is_passing(error) => break,
                Err(error) => return self.lose(now, host, format_args!("{error}")),
            }
        }
        let rest = after(now, EVENTS_NS);
        let next = match outcome.next {
            Next::Now => Next::Now,
            Next::At(at) => Next::At(at.min(rest)),
            Next::Rung => Next::At(rest),
        };
        Outcome { next, ..outcome }
    }

    fn fail(&mut self, now: Instant, host: &mut dyn Host, error: Error) -> Outcome {
        let since = *self.put_off.get_or_insert(now);
        if is_passing(error) && now.0.saturating_sub(since.0) < PATIENCE_NS {
            return Outcome { next: Next::At(after(now, RETRY_NS)), card: false };
        }
        self.lose(now, host, format_args!("{error}"))
    }

    /// Nothing that the program was given or has given goes on.
    fn lose(&mut self, now: Instant, host: &mut dyn Host, why: fmt::Arguments<'_>) -> Outcome {
        let since = match self.state {
            State::Serves { since } => Some(since),
            State::Down { .. } => None,
        };
        self.drop_all();
        host.tell(format_args!("its program is lost ({why}): packets are dropped until it runs again"));
        self.rest(now, since)
    }

    fn drop_all(&mut self) {
        let mut link = self.link.0.lock();
        link.drop_all();
        add(&mut link.counters.losses, 1);
        for (side, _) in
            Request::decode(&self.request).map(|(_, records)| records).into_iter().flat_map(Records::flatten)
        {
            add(link.counters.down.of_mut(side), 1);
        }
        self.request.truncate(REQUEST_BYTES);
        self.put_off = None;
    }

    fn rest(&mut self, now: Instant, served_since: Option<Instant>) -> Outcome {
        let until = self.pauses.next(now, served_since);
        self.state = State::Down { until };
        Outcome { next: Next::At(until), card: false }
    }
}

/// There is a program, which was not reached.
fn is_passing(error: Error) -> bool {
    matches!(error, Error::NotNow | Error::TimedOut | Error::Busy | Error::TooDeep)
}

/// As many frames of a side as there are and have room below `most` bytes.
fn move_frames(link: &mut Inner, from: Side, most: usize, batch: &mut Vec<u8>) {
    let queue = link.from.of_mut(from);
    while let Some(len) = queue.first_len() {
        let start = batch.len();
        let frame_at = start.saturating_add(RECORD_HEADER_BYTES);
        let end = frame_at.saturating_add(len);
        if end > most {
            return;
        }
        batch.resize(end, 0);
        queue.pop(batch.get_mut(frame_at..).unwrap_or_default());
        match record_header(from, len).zip(batch.get_mut(start..frame_at)) {
            Some((header, place)) => place.copy_from_slice(&header),
            None => batch.truncate(start),
        }
        add(link.counters.taken.of_mut(from), 1);
    }
}
