//! The run queue of one CPU.

use crate::timer::Timer;
use crate::{MAX_TASKS, Machine, TaskId};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::pin::Pin;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::task::Waker;
use lock::{Ranked, rank::TASKS};

pub type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Of [`Queue::word`]: there are timers.
pub const TIMERS: u64 = 1 << 63;
/// Of [`Queue::word`]: the plan is asked for, whether or not it has changed.
pub const PLAN: u64 = 1 << 62;
const TASKS_READY: u64 = PLAN.wrapping_sub(1);
const _: () = assert!(MAX_TASKS == 62);

pub struct Task {
    pub id: TaskId,
    pub name: &'static str,
    /// `None` while it is polled.
    pub body: Option<Body>,
    pub waker: Waker,
    pub polls: u64,
    pub nanos: u64,
}

/// What is behind the lock. It is never held while a task is polled or dropped.
pub struct Inner {
    /// By the bit in the word.
    pub tasks: [Option<Task>; MAX_TASKS],
    pub timers: Vec<Timer>,
}

pub struct Queue {
    pub cpu: usize,
    machine: &'static dyn Machine,
    /// Bit n: task n is ready. The highest bits are [`TIMERS`] and [`PLAN`].
    pub word: AtomicU64,
    /// When the first timer is over, in nanoseconds.
    pub due: AtomicU64,
    /// The task that was polled last. Only its CPU uses it.
    last: AtomicU64,
    pub inner: Ranked<Inner, TASKS>,
}

impl Queue {
    pub fn new(machine: &'static dyn Machine, cpu: usize) -> Self {
        let inner = Inner { tasks: [const { None }; MAX_TASKS], timers: Vec::new() };
        Self {
            cpu,
            machine,
            word: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
            last: AtomicU64::new(0),
            inner: Ranked::new(inner),
        }
    }

    /// From any CPU.
    pub fn make_ready(&self, task: usize) {
        let before = self.word.fetch_or(bit(task), SeqCst);
        if before & bit(task) == 0 && self.machine.cpu() != self.cpu {
            self.machine.kick(self.cpu);
        }
    }

    /// On its own CPU.
    pub fn ask_for_plan(&self) {
        self.word.fetch_or(PLAN, SeqCst);
    }

    /// Was it asked for? It is answered now.
    pub fn take_plan_wish(&self) -> bool {
        self.word.load(SeqCst) & PLAN != 0 && self.word.fetch_and(!PLAN, SeqCst) & PLAN != 0
    }

    pub fn is_ready(&self, task: usize) -> bool {
        self.word.load(SeqCst) & bit(task) != 0
    }

    pub fn has_ready(&self) -> bool {
        self.word.load(SeqCst) & TASKS_READY != 0
    }

    /// The next task that is ready, each in its turn; it is ready no longer.
    pub fn take_ready(&self) -> Option<usize> {
        let ready = self.word.load(SeqCst) & TASKS_READY;
        let later = ready & (u64::MAX.wrapping_shl(self.last.load(Relaxed) as u32)).wrapping_shl(1);
        let task = [later, ready].into_iter().find(|tasks| *tasks != 0)?.trailing_zeros();
        self.last.store(task.into(), Relaxed);
        self.word.fetch_and(!bit(task as usize), SeqCst);
        Some(task as usize)
    }
}

fn bit(task: usize) -> u64 {
    1_u64.wrapping_shl(task as u32)
}

/// Wakes one task. Where another one has taken its place, that is polled once too often, which does not matter.
struct Target {
    queue: &'static Queue,
    task: usize,
}

impl Wake for Target {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.queue.make_ready(self.task);
    }
}

pub fn waker(queue: &'static Queue, task: usize) -> Waker {
    Waker::from(Arc::new(Target { queue, task }))
}
