//! All programs of the manifest: which run, when they are started anew, and what has become of them.

use crate::body::{Body, Unstartable};
use crate::domain::Domain;
use crate::{Cause, Machine, Program, Start};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use lock::{Ranked, rank::PROGRAMS};
use message::{Error, Name};

/// Calls within calls: each takes some of the VMM's stack.
const MOST_DEEP: usize = 4;
/// The longest wait before a program is started anew.
const MOST_RESTART_MS: u64 = 10_000;
/// A program that has lived so long has not failed in a row.
const HEALTHY_NS: u64 = 60_000_000_000;

/// What a program is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Runs,
    /// Nobody has started it, or it has ended for good.
    Stopped,
    /// It has failed, and is not started before this moment (nanoseconds since Shoji started).
    Failed {
        until: u64,
    },
}

/// A program for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    pub name: &'static str,
    pub state: State,
    /// Number of the process, if it runs.
    pub process: Option<u64>,
    pub starts: u64,
    pub failures: u64,
    pub last_end: Option<Cause>,
    /// From the last failure to the moment when the program waited for calls again, in nanoseconds.
    pub restart_ns: Option<u64>,
    /// Of its memory.
    pub pages: usize,
}

/// What is kept of one program.
struct Slot<M: Machine> {
    program: &'static Program,
    domain: Option<Arc<Domain<M>>>,
    starting: bool,
    starts: u64,
    failures: u64,
    /// Failures without a healthy life in between.
    in_a_row: u32,
    failed_at: Option<u64>,
    not_before: u64,
    last_end: Option<Cause>,
    restart_ns: Option<u64>,
}

/// The programs of the machine.
pub struct Domains<M: Machine> {
    pub(crate) machine: M,
    slots: Ranked<Vec<Slot<M>>, PROGRAMS>,
    processes: AtomicU64,
    /// How deep the calls of each CPU are.
    chains: Vec<AtomicUsize>,
}

/// One call deeper, as long as this lives.
pub(crate) struct Link<'a, M: Machine> {
    depth: &'a AtomicUsize,
    machine: &'a M,
}

impl<M: Machine> Drop for Link<'_, M> {
    fn drop(&mut self) {
        if self.depth.fetch_sub(1, SeqCst) == 1 {
            self.machine.rest();
        }
    }
}

impl<M: Machine> Domains<M> {
    /// None of the programs runs yet.
    pub fn new(machine: M, programs: impl IntoIterator<Item = &'static Program>, cpus: usize) -> Self {
        let slot = |program| Slot {
            program,
            domain: None,
            starting: false,
            starts: 0,
            failures: 0,
            in_a_row: 0,
            failed_at: None,
            not_before: 0,
            last_end: None,
            restart_ns: None,
        };
        Self {
            machine,
            slots: Ranked::new(programs.into_iter().map(slot).collect()),
            processes: AtomicU64::new(0),
            chains: (0..cpus).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Starts those that run from boot on. One that does not start is in the log, and nothing else waits for it.
    pub fn start_all(&'static self) {
        let names: Vec<_> = self.slots.lock().iter().map(|slot| (slot.program.start, slot.program.name)).collect();
        for (_, name) in names.into_iter().filter(|(start, _)| *start == Start::AtBoot) {
            let _in_the_log = self.start(name);
        }
    }

    /// Starts the program of this name; gives the number of the process.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`] if it runs, [`Error::Dead`] if it has failed a moment ago or does so again,
    /// [`Error::NotNow`] and [`Error::TooDeep`] where this CPU cannot run it.
    pub fn start(&'static self, name: &str) -> Result<u64, Error> {
        let (slot, program) = self.claim(|program| program.name == name)?;
        let now = self.machine.now();
        let domain = Body::new(&self.machine, program).map(|body| {
            let process = self.processes.fetch_add(1, SeqCst).wrapping_add(1);
            Arc::new(Domain::new(self, slot, process, program, body))
        });
        match domain {
            Ok(domain) => self.begin(slot, &domain),
            Err(why) => {
                match why {
                    Unstartable::Elf(bad) => log::error!("program {name} cannot be started: {bad}"),
                    Unstartable::NoMemory => log::error!("program {name} cannot be started: no memory left"),
                }
                self.with(slot, |slot| slot.fail(Cause::NoMemory, now));
                Err(Error::NoMemory)
            }
        }
    }

    /// Starts whatever program provides this service: for [`message::set_starter`].
    ///
    /// # Errors
    /// As [`Domains::start`].
    pub fn provide(&'static self, service: Name) -> Result<(), Error> {
        let provides = |program: &&Program| program.services.contains(&service.as_str());
        let program = self.slots.lock().iter().map(|slot| slot.program).find(provides);
        self.start(program.ok_or(Error::NotFound)?.name).map(drop)
    }

    /// Starts programs anew whose time has come. Gives when the next one's comes.
    pub fn restart(&'static self) -> Option<u64> {
        let now = self.machine.now();
        let due: Vec<_> = {
            let slots = self.slots.lock();
            slots.iter().filter(|slot| slot.is_due(now)).map(|slot| slot.program.name).collect()
        };
        for name in due {
            let _in_the_log = self.start(name);
        }
        self.next_restart()
    }

    /// When the next failed program is to be started anew (nanoseconds since Shoji started).
    pub fn next_restart(&self) -> Option<u64> {
        self.slots.lock().iter().filter(|slot| slot.is_due(u64::MAX)).map(|slot| slot.not_before).min()
    }

    /// Ends a process.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn end(&self, process: u64) -> Result<(), Error> {
        let domain = {
            let slots = self.slots.lock();
            slots.iter().filter_map(|slot| slot.domain.as_ref()).find(|domain| domain.process == process).cloned()
        };
        domain.ok_or(Error::NotFound)?.doom();
        Ok(())
    }

    /// All programs, in the order of the manifest.
    ///
    /// # Errors
    /// [`Error::NoMemory`].
    pub fn list(&self) -> Result<Vec<Status>, Error> {
        let slots = self.slots.lock();
        let mut all = Vec::new();
        all.try_reserve_exact(slots.len()).map_err(|_| Error::NoMemory)?;
        all.extend(slots.iter().map(Slot::status));
        Ok(all)
    }

    pub(crate) fn chain(&self) -> Result<Link<'_, M>, Error> {
        let depth = self.chains.get(self.machine.cpu_number()).ok_or(Error::TooDeep)?;
        let link = Link { depth, machine: &self.machine };
        match depth.fetch_add(1, SeqCst) {
            0 if !self.machine.may_run() => Err(Error::NotNow),
            MOST_DEEP.. => Err(Error::TooDeep),
            _ => Ok(link),
        }
    }

    pub(crate) fn note_end(&self, domain: &Arc<Domain<M>>, cause: Cause) {
        let now = self.machine.now();
        let restart_at = self.with(domain.slot, |slot| {
            if now.saturating_sub(domain.started) > HEALTHY_NS {
                slot.in_a_row = 0;
            }
            slot.domain = None;
            slot.fail(cause, now);
            slot.is_due(u64::MAX).then_some(slot.not_before)
        });
        if let Some(restart_at) = restart_at {
            self.machine.on_failure(restart_at);
        }
    }

    /// The slot of a program that may be started now, which nobody else starts until [`Domains::begin`].
    fn claim(&self, is_it: impl Fn(&Program) -> bool) -> Result<(usize, &'static Program), Error> {
        let now = self.machine.now();
        let mut slots = self.slots.lock();
        let found = slots.iter_mut().enumerate().find(|(_, slot)| is_it(slot.program));
        let (number, slot) = found.ok_or(Error::NotFound)?;
        if slot.starting || slot.domain.is_some() {
            return Err(Error::Busy);
        }
        if now < slot.not_before {
            return Err(Error::Dead);
        }
        slot.starting = true;
        Ok((number, slot.program))
    }

    fn begin(&self, slot: usize, domain: &Arc<Domain<M>>) -> Result<u64, Error> {
        self.with(slot, |slot| {
            slot.domain = Some(Arc::clone(domain));
            slot.starts = slot.starts.wrapping_add(1);
        });
        let result = domain.start();
        let now = self.machine.now();
        self.with(slot, |slot| {
            slot.starting = false;
            if result.is_err() && slot.domain.take_if(|now| Arc::ptr_eq(now, domain)).is_some() {
                // It has not ended, so it has not run: calls were too deep, say.
                slot.starts = slot.starts.wrapping_sub(1);
            }
            if result.is_ok()
                && let Some(failed_at) = slot.failed_at.take()
            {
                slot.restart_ns = Some(now.saturating_sub(failed_at));
            }
        });
        result.map(|()| domain.process)
    }

    fn with<R: Default>(&self, slot: usize, change: impl FnOnce(&mut Slot<M>) -> R) -> R {
        self.slots.lock().get_mut(slot).map(change).unwrap_or_default()
    }
}

impl<M: Machine> Slot<M> {
    fn fail(&mut self, cause: Cause, now: u64) {
        self.starting = false;
        self.last_end = Some(cause);
        if !cause.is_failure() {
            return;
        }
        self.failures = self.failures.wrapping_add(1);
        self.failed_at = Some(now);
        let first = u64::from(self.program.restart_ms.unwrap_or(0));
        let wait_ms = first.checked_shl(self.in_a_row.min(16)).unwrap_or(MOST_RESTART_MS).min(MOST_RESTART_MS);
        self.not_before = now.saturating_add(wait_ms.saturating_mul(1_000_000));
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    /// It has failed, and by then may be started anew.
    fn is_due(&self, now: u64) -> bool {
        let failed = self.failed_at.is_some() && self.domain.is_none() && !self.starting;
        failed && self.program.restart_ms.is_some() && self.not_before <= now
    }

    fn status(&self) -> Status {
        let state = match (&self.domain, self.failed_at) {
            (Some(_), _) => State::Runs,
            (None, Some(_)) => State::Failed { until: self.not_before },
            (None, None) => State::Stopped,
        };
        Status {
            name: self.program.name,
            state,
            process: self.domain.as_ref().map(|domain| domain.process),
            starts: self.starts,
            failures: self.failures,
            last_end: self.last_end,
            restart_ns: self.restart_ns,
            pages: self.domain.as_ref().map_or(0, |domain| domain.pages()),
        }
    }
}
