//! Timers: what a task waits for that waits for a time.

use crate::queue::{Inner, Queue, TIMERS};
use crate::{Class, MAX_TIMERS, Machine, Plan};
use alloc::vec::Vec;
use core::pin::Pin;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use mediator::Instant;

/// Of one CPU.
pub struct Timer {
    id: u64,
    until: Instant,
    class: Class,
    waker: Waker,
}

/// The timers of all CPUs.
#[derive(Clone, Copy)]
pub struct Timers {
    pub(crate) machine: &'static dyn Machine,
    pub(crate) queues: &'static [Queue],
}

pub fn after(time: Instant, duration: Duration) -> Instant {
    Instant(time.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
}

impl Inner {
    /// The timers that are over by `now`, as who waits for them; what is left of the word and the time is told.
    pub fn expire(&mut self, queue: &Queue, now: Instant) -> Vec<Waker> {
        let over = self.timers.extract_if(.., |timer| timer.until <= now).map(|timer| timer.waker).collect();
        self.tell(queue);
        over
    }

    /// What the timers want.
    pub fn plan(&self) -> Plan {
        let of = |class| self.timers.iter().filter(move |timer| timer.class == class).map(|timer| timer.until);
        Plan { at_interrupt: of(Class::AtInterrupt).next().is_some(), at: of(Class::Hard).min() }
    }

    /// The queue learns of what has changed.
    fn tell(&self, queue: &Queue) {
        let due = self.timers.iter().map(|timer| timer.until.0).min();
        queue.due.store(due.unwrap_or(u64::MAX), SeqCst);
        if due.is_some() {
            queue.word.fetch_or(TIMERS, SeqCst);
        } else {
            queue.word.fetch_and(!TIMERS, SeqCst);
        }
    }
}

/// Is over at some time. Dropped before, it leaves nothing behind.
#[must_use = "nothing waits until this is awaited"]
pub struct Sleep {
    /// `None`: there are no tasks; it is over at once.
    timers: Option<Timers>,
    until: Instant,
    class: Class,
    /// Queue and number of the timer that runs.
    running: Option<(&'static Queue, u64)>,
}

impl Sleep {
    pub(crate) fn new(timers: Option<Timers>, until: Instant, class: Class) -> Self {
        Self { timers, until, class, running: None }
    }

    fn stop(&mut self) {
        if let Some((queue, id)) = self.running.take() {
            let mut inner = queue.inner.lock();
            let stopped: Vec<Timer> = inner.timers.extract_if(.., |timer| timer.id == id).collect();
            inner.tell(queue);
            drop(inner);
            // It may be the last that holds the waker.
            drop(stopped);
        }
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.stop();
        let Some(timers) = self.timers else { return Poll::Ready(()) };
        let Some(queue) = timers.queues.get(timers.machine.cpu()) else { return Poll::Ready(()) };
        if timers.machine.now() >= self.until {
            return Poll::Ready(());
        }
        let timer = Timer {
            id: NEXT.fetch_add(1, Relaxed),
            until: self.until,
            class: self.class,
            waker: context.waker().clone(),
        };
        let mut inner = queue.inner.lock();
        if inner.timers.len() >= MAX_TIMERS {
            drop(inner);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.running = Some((queue, timer.id));
        inner.timers.push(timer);
        inner.tell(queue);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.stop();
    }
}
