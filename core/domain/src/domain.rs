//! One life of a program, from its start to its end.

use crate::body::Body;
use crate::perform::{Next, Reply};
use crate::{Cause, Domains, Machine, Program, Space, Thread, Trap};
use abi::call::letter;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use lock::{Ranked, rank::QUEUE};
use message::{Error, Leases, NoLeases, Port};
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// How long a program that is at work on another CPU is waited for.
const PATIENCE_NS: u64 = 200_000_000;
/// Letters that wait for a program.
const MOST_LETTERS: usize = 32;

/// What was sent, and waits.
pub(crate) enum Letter {
    Int { service: u64, value: u64 },
    Port { service: u64, port: Port },
}

pub(crate) struct Domain<M: Machine> {
    pub home: &'static Domains<M>,
    /// Which program.
    pub slot: usize,
    /// Of all processes there have ever been.
    pub process: u64,
    pub program: &'static Program,
    pub started: u64,
    /// Whoever has it locked may run the program. It is no lock of an order: it is only tried, for a bounded time.
    body: SpinMutex<Option<Body<M>>>,
    /// The CPU that runs it, from 1; 0: none.
    runs_on: AtomicUsize,
    /// It is to end.
    doomed: AtomicBool,
    letters: Ranked<VecDeque<Letter>, QUEUE>,
    pages: AtomicUsize,
}

/// The right to run a program.
struct Held<'a, M: Machine> {
    domain: &'a Domain<M>,
    body: SpinMutexGuard<'a, Option<Body<M>>>,
}

impl<M: Machine> Drop for Held<'_, M> {
    fn drop(&mut self) {
        // While it is held still: the next one notes itself only after.
        self.domain.runs_on.store(0, SeqCst);
    }
}

impl<M: Machine> Domain<M> {
    pub fn new(home: &'static Domains<M>, slot: usize, process: u64, program: &'static Program, body: Body<M>) -> Self {
        Self {
            home,
            slot,
            process,
            program,
            started: home.machine.now(),
            body: SpinMutex::new(Some(body)),
            runs_on: AtomicUsize::new(0),
            doomed: AtomicBool::new(false),
            letters: Ranked::new(VecDeque::new()),
            pages: AtomicUsize::new(0),
        }
    }

    /// Of its memory, when it waited last.
    pub fn pages(&self) -> usize {
        self.pages.load(SeqCst)
    }

    /// Runs it up to its first wait. It may end before.
    pub fn start(self: &Arc<Self>) -> Result<(), Error> {
        self.visit(|domain, body| domain.run(body, &mut NoLeases).map(drop))?;
        self.settle();
        Ok(())
    }

    /// Asks it, and waits for its answer.
    pub fn call(self: &Arc<Self>, service: u64, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        let reply = self.visit(|domain, body| {
            body.thread.set_results([0, letter::CALL, service, op]);
            domain.run(body, leases)
        })?;
        self.settle();
        reply
    }

    /// Leaves a letter for it, which it gets at once unless it is at work.
    pub fn send(self: &Arc<Self>, letter: Letter) -> Result<(), Error> {
        {
            let mut letters = self.letters.lock();
            if letters.len() >= MOST_LETTERS {
                return Err(Error::Full);
            }
            letters.try_reserve(1).map_err(|_| Error::NoMemory)?;
            letters.push_back(letter);
        }
        self.settle();
        Ok(())
    }

    /// It ends, at once unless it is at work.
    pub fn doom(self: &Arc<Self>) {
        self.doomed.store(true, SeqCst);
        self.settle();
    }

    /// Does what waits for it, unless it is at work: then whoever runs it does.
    fn settle(self: &Arc<Self>) {
        let waits = || self.doomed.load(SeqCst) || !self.letters.lock().is_empty();
        while waits() && self.do_what_waits().is_some() {}
    }

    /// `None`: it cannot be done here and now, or the program has ended.
    #[cold]
    fn do_what_waits(self: &Arc<Self>) -> Option<()> {
        // Too deep: whoever calls it next delivers them.
        let _link = self.home.chain().ok()?;
        let mut held = self.try_hold()?;
        let body = held.body.as_mut()?;
        let result = if self.doomed.load(SeqCst) { Err(Cause::Ended) } else { self.deliver_letters(body) };
        result.map_err(|cause| self.end(held, cause)).ok()
    }

    /// All together have the time of one call.
    fn deliver_letters(self: &Arc<Self>, body: &mut Body<M>) -> Result<(), Cause> {
        self.begin_run(body);
        for _ in 0..MOST_LETTERS {
            let Some(letter) = self.letters.lock().pop_front() else { break };
            let results = match letter {
                Letter::Int { service, value } => [0, letter::INT, service, value],
                Letter::Port { service, port } => match body.add_port(port) {
                    Ok(descriptor) => [0, letter::PORT, service, descriptor],
                    // It does not close what it gets.
                    Err(_) => continue,
                },
            };
            body.thread.set_results(results);
            let _unread: Reply = self.go_on(body, &mut NoLeases)?;
        }
        Ok(())
    }

    /// Calls `run` when nobody else runs the program; an end is dealt with.
    fn visit<R>(self: &Arc<Self>, run: impl FnOnce(&Arc<Self>, &mut Body<M>) -> Result<R, Cause>) -> Result<R, Error> {
        let _link = self.home.chain()?;
        let mut held = self.hold()?;
        let body = held.body.as_mut().ok_or(Error::Dead)?;
        match run(self, body) {
            Ok(result) => Ok(result),
            Err(cause) => {
                self.end(held, cause);
                Err(Error::Dead)
            }
        }
    }

    fn hold(&self) -> Result<Held<'_, M>, Error> {
        let machine = &self.home.machine;
        let mut end = None;
        loop {
            if let Some(held) = self.try_hold() {
                return Ok(held);
            }
            if self.runs_on.load(SeqCst) == machine.cpu_number().saturating_add(1) {
                return Err(Error::Busy);
            }
            let now = machine.now();
            if now > *end.get_or_insert(now.saturating_add(PATIENCE_NS)) {
                return Err(Error::TimedOut);
            }
            core::hint::spin_loop();
        }
    }

    fn try_hold(&self) -> Option<Held<'_, M>> {
        let body = self.body.try_lock()?;
        self.runs_on.store(self.home.machine.cpu_number().saturating_add(1), SeqCst);
        Some(Held { domain: self, body })
    }

    fn begin_run(&self, body: &mut Body<M>) {
        let budget_ns = u64::from(self.program.time_ms).saturating_mul(1_000_000);
        body.until = self.home.machine.now().saturating_add(budget_ns);
        body.messages_left = self.program.messages;
    }

    fn run(self: &Arc<Self>, body: &mut Body<M>, leases: &mut dyn Leases) -> Result<Reply, Cause> {
        self.begin_run(body);
        self.go_on(body, leases)
    }

    /// Up to its next wait.
    fn go_on(self: &Arc<Self>, body: &mut Body<M>, leases: &mut dyn Leases) -> Result<Reply, Cause> {
        loop {
            match body.thread.run(&mut body.space, body.until) {
                Trap::Call => {
                    if let Next::Wait(reply) = self.perform(body, leases)? {
                        self.pages.store(body.space.pages(), SeqCst);
                        return Ok(reply);
                    }
                }
                Trap::Fault(fault) => return Err(Cause::Fault(fault)),
                Trap::TimeOut => return Err(Cause::TimeOut),
            }
            // Calls of its own have taken their time too.
            if self.home.machine.now() >= body.until {
                return Err(Cause::TimeOut);
            }
            if self.doomed.load(SeqCst) {
                return Err(Cause::Ended);
            }
        }
    }

    fn end(self: &Arc<Self>, mut held: Held<'_, M>, cause: Cause) {
        let Some(body) = held.body.take() else { return };
        let (name, process) = (self.program.name, self.process);
        if cause.is_failure() {
            log::warn!("program {name} (process {process}) is ended: {cause}");
            if !matches!(cause, Cause::Exit(_)) {
                body.log_registers(name);
            }
        } else {
            log::info!("program {name} (process {process}) has ended: {cause}");
        }
        self.home.note_end(self, cause);
        drop(held);
        // Its services are gone from here on, and its memory is wiped.
        drop(body);
        let letters = core::mem::take(&mut *self.letters.lock());
        drop(letters);
    }
}
