//! Asynchronous tasks and timers of the VMM, with a run queue for each CPU.
//!
//! ```
//! async fn tick() {
//!     loop {
//!         task::sleep_ms(5000, task::Class::AtInterrupt).await;
//!         // Something short: the guest waits meanwhile.
//!     }
//! }
//! // On this CPU, from an init function of the phase `config1` or later:
//! let spawned = task::spawn("tick", tick());
//! # assert_eq!(spawned, Err(task::SpawnError::NotStarted));
//! ```
//!
//! A CPU polls its tasks between an exit and the next entry of its guest, a few at a time ([`POLLS`]). A task never moves to another
//! CPU. It does not block: it waits by `.await`, and holds no lock of the VMM's across one. What it waits for wakes it, on any CPU,
//! and from under any lock below [`lock::rank::TASKS`].
//!
//! How soon a timer is served is told by its [`Class`]. Nothing pending costs one look at a word an exit ([`word`]).
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod executor;
mod queue;
#[cfg(test)]
mod tests;
mod timer;

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::time::Duration;
pub use executor::Executor;
use mediator::Instant;
use spin::Once;
pub use timer::{Sleep, Timers};

/// Tasks that a CPU polls between an exit and the next entry.
pub const POLLS: usize = 4;
/// Tasks of one CPU.
pub const MAX_TASKS: usize = 62;
/// Timers that run on one CPU. Whoever wants more of them is polled at each exit instead.
pub const MAX_TIMERS: usize = 256;
/// Tasks that are ready but were not polled yet are polled after this time, if the guest has no exit before.
pub const TICK: Duration = Duration::from_millis(1);

/// What the tasks stand on.
pub trait Machine: Sync {
    /// Number of the CPU that runs this, from 0 on.
    fn cpu(&self) -> usize;
    fn now(&self) -> Instant;
    /// Gets another CPU out of the guest soon. One that waits in the host looks at its tasks before it enters the guest.
    fn kick(&self, cpu: usize);
}

/// How soon a deadline is served once it is over.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// At the guest's next exit, whenever that is. Costs nothing but a look at the clock an exit.
    AtExit,
    /// At the guest's next exit or external interrupt, all of which exit until then.
    AtInterrupt,
    /// In time, whatever the guest does.
    Hard,
}

/// When a CPU wants to be back from its guest, for its tasks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Plan {
    /// At the guest's next interrupt.
    pub at_interrupt: bool,
    /// At this time.
    pub at: Option<Instant>,
}

/// A task, as long as it lives; another number afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TaskId(pub(crate) u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// To be polled.
    Ready,
    /// Being polled.
    Running,
    Waiting,
}

/// What there is to know of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TaskInfo {
    pub id: TaskId,
    pub name: &'static str,
    pub cpu: usize,
    pub state: State,
    /// How often it was polled, and how long that took.
    pub polls: u64,
    pub time: Duration,
}

/// Why there is no new task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpawnError {
    /// The VMM has not come so far: tasks begin between the phases `config0` and `driver`.
    NotStarted,
    /// No such CPU.
    NoCpu,
    /// The CPU has [`MAX_TASKS`].
    TooMany,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotStarted => "tasks have not begun yet",
            Self::NoCpu => "there is no such CPU",
            Self::TooMany => "the CPU has as many tasks as it can",
        })
    }
}

impl core::error::Error for SpawnError {}

static EXECUTOR: Once<Executor> = Once::new();

/// The VMM's tasks begin, on `cpus` CPUs. Only the first call counts.
pub fn start(machine: &'static dyn Machine, cpus: usize) {
    EXECUTOR.call_once(|| Executor::new(machine, cpus));
}

/// A new task on this CPU. `name` is for people.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Result<TaskId, SpawnError> {
    let executor = EXECUTOR.get().ok_or(SpawnError::NotStarted)?;
    executor.spawn_on(executor.machine.cpu(), name, task)
}

/// A new task on the CPU with this number.
///
/// # Errors
/// See [`SpawnError`].
pub fn spawn_on(
    cpu: usize,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> Result<TaskId, SpawnError> {
    EXECUTOR.get().ok_or(SpawnError::NotStarted)?.spawn_on(cpu, name, task)
}

/// Time since Shoji started; zero before tasks have begun.
pub fn now() -> Instant {
    EXECUTOR.get().map_or(Instant(0), |executor| executor.machine.now())
}

/// Is over after `duration`. Only in a task.
pub fn sleep(duration: Duration, class: Class) -> Sleep {
    sleep_until(timer::after(now(), duration), class)
}

/// As [`sleep`], in milliseconds.
pub fn sleep_ms(millis: u64, class: Class) -> Sleep {
    sleep(Duration::from_millis(millis), class)
}

/// Is over at `time`. Only in a task.
pub fn sleep_until(time: Instant, class: Class) -> Sleep {
    Sleep::new(EXECUTOR.get().map(Executor::timers), time, class)
}

/// All tasks of all CPUs.
pub fn list() -> Vec<TaskInfo> {
    EXECUTOR.get().map_or_else(Vec::new, Executor::list)
}

/// Not 0: the CPU with this number has tasks to be looked after, by [`serve`]. `None` where there are no tasks.
pub fn word(cpu: usize) -> Option<&'static AtomicU64> {
    EXECUTOR.get()?.word(cpu)
}

/// The next [`serve`] on this CPU gives the plan, changed or not: somebody else's wishes are added to it, and they have changed.
pub fn plan_anew() {
    if let Some(executor) = EXECUTOR.get() {
        executor.plan_anew();
    }
}

/// On a CPU whose [`word`] is not 0, with no lock held: timers that are over wake their tasks, and some of those that are ready are
/// polled. `None`: nothing was due, and the plan is as it was.
pub fn serve() -> Option<Plan> {
    EXECUTOR.get()?.serve()
}
