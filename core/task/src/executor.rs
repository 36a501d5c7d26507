//! The tasks of all CPUs.

use crate::queue::{Body, Queue, Task, waker};
use crate::timer::{Timers, after};
use crate::{Class, Machine, POLLS, Plan, Sleep, SpawnError, State, TICK, TaskId, TaskInfo};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::task::{Context, Poll};
use core::time::Duration;
use mediator::Instant;

/// The VMM has one; tests have others.
pub struct Executor {
    pub(crate) machine: &'static dyn Machine,
    queues: &'static [Queue],
    next: AtomicU64,
}

impl Executor {
    /// Its queues live for good.
    pub fn new(machine: &'static dyn Machine, cpus: usize) -> Self {
        let queues: Vec<Queue> = (0..cpus).map(|cpu| Queue::new(machine, cpu)).collect();
        Self { machine, queues: queues.leak(), next: AtomicU64::new(1) }
    }

    /// As [`crate::word`].
    pub fn word(&self, cpu: usize) -> Option<&'static AtomicU64> {
        self.queues.get(cpu).map(|queue| &queue.word)
    }

    pub(crate) fn timers(&self) -> Timers {
        Timers { machine: self.machine, queues: self.queues }
    }

    /// As [`crate::sleep`].
    pub fn sleep(&self, duration: Duration, class: Class) -> Sleep {
        Sleep::new(Some(self.timers()), after(self.machine.now(), duration), class)
    }

    /// As [`crate::spawn_on`].
    ///
    /// # Errors
    /// See [`SpawnError`].
    pub fn spawn_on(
        &self,
        cpu: usize,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<TaskId, SpawnError> {
        let queue = self.queues.get(cpu).ok_or(SpawnError::NoCpu)?;
        let body: Body = Box::pin(task);
        let id = TaskId(self.next.fetch_add(1, Relaxed));
        let mut inner = queue.inner.lock();
        let free = inner.tasks.iter_mut().enumerate().find(|(_, task)| task.is_none());
        let Some((number, slot)) = free else {
            drop(inner);
            return Err(SpawnError::TooMany);
        };
        *slot = Some(Task { id, name, body: Some(body), waker: waker(queue, number), polls: 0, nanos: 0 });
        drop(inner);
        queue.make_ready(number);
        Ok(id)
    }

    /// As [`crate::list`].
    pub fn list(&self) -> Vec<TaskInfo> {
        let mut list = Vec::new();
        for queue in self.queues {
            let inner = queue.inner.lock();
            let tasks = inner.tasks.iter().enumerate().filter_map(|(number, task)| Some((number, task.as_ref()?)));
            list.extend(tasks.map(|(number, task)| TaskInfo {
                id: task.id,
                name: task.name,
                cpu: queue.cpu,
                state: match &task.body {
                    None => State::Running,
                    Some(_) if queue.is_ready(number) => State::Ready,
                    Some(_) => State::Waiting,
                },
                polls: task.polls,
                time: Duration::from_nanos(task.nanos),
            }));
        }
        list
    }

    /// As [`crate::serve`].
    pub fn serve(&self) -> Option<Plan> {
        let queue = self.queues.get(self.machine.cpu())?;
        let now = self.machine.now();
        let is_over = queue.due.load(SeqCst) <= now.0;
        let is_asked = queue.take_plan_wish();
        if !is_over && !is_asked && !queue.has_ready() {
            return None;
        }
        if is_over {
            let over = queue.inner.lock().expire(queue, now);
            over.into_iter().for_each(core::task::Waker::wake);
        }
        for _ in 0..POLLS {
            let Some(number) = queue.take_ready() else { break };
            self.poll(queue, number);
        }
        Some(self.plan(queue))
    }

    /// As [`crate::plan_anew`].
    pub fn plan_anew(&self) {
        if let Some(queue) = self.queues.get(self.machine.cpu()) {
            queue.ask_for_plan();
        }
    }

    fn plan(&self, queue: &Queue) -> Plan {
        let mut plan = queue.inner.lock().plan();
        if queue.has_ready() {
            let tick = after(self.machine.now(), TICK);
            plan.at = Some(plan.at.map_or(tick, |at: Instant| at.min(tick)));
        }
        plan
    }

    fn poll(&self, queue: &'static Queue, number: usize) {
        let take = |task: &mut Task| Some((task.body.take()?, task.waker.clone()));
        let taken = queue.inner.lock().tasks.get_mut(number).and_then(|task| take(task.as_mut()?));
        // Woken after its end.
        let Some((mut body, waker)) = taken else { return };
        let before = self.machine.now();
        let result = body.as_mut().poll(&mut Context::from_waker(&waker));
        let nanos = self.machine.now().0.saturating_sub(before.0);
        let mut inner = queue.inner.lock();
        let Some(slot) = inner.tasks.get_mut(number) else { return };
        // What ends is dropped without the lock.
        let _ended = match result {
            Poll::Ready(()) => (slot.take(), Some(body)),
            Poll::Pending => {
                if let Some(task) = slot {
                    task.body = Some(body);
                    task.polls = task.polls.saturating_add(1);
                    task.nanos = task.nanos.saturating_add(nanos);
                }
                (None, None)
            }
        };
        drop(inner);
    }
}
