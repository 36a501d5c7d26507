//! The requests of a controller that go through the arena.

use crate::job::{Job, Phase};
use crate::request::{DeviceError, Failure, Memory, Request, Step};
use crate::shares::{Held, Shares};
use crate::{Chunk, Pool, Scatter, Unserved};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use mediator::{Ctx, Direction, Work, WorkError};

/// The number of the queue in a work's tag; the rest is the request's place.
const NUMBER_SHIFT: u32 = 30;
/// Requests that are taken at a time, and pieces of guest memory that they are made of. A guest chooses both, and the heap is not
/// its to fill; more than these keep no disk busier. What is beyond waits in the guest's own queues ([`Queue::has_room`]).
const ENOUGH_JOBS: usize = 128;
const ENOUGH_SEGMENTS: usize = 2048;
/// Pieces beyond which not even a disk's share is kept.
const MAX_ALL_SEGMENTS: usize = ENOUGH_SEGMENTS * 3;
/// Most requests at a time. The rest is for what cannot wait.
const MAX_JOBS: usize = ENOUGH_JOBS + 64;
/// Most pieces of guest memory that one request may be made of: as many as an IDE controller's table has.
pub const MAX_SEGMENTS: usize = 8192;

/// Requests in parts through a pool of buffers. See the crate's documentation for how a driver uses it.
pub struct Queue {
    number: u32,
    pool: Pool,
    /// By place; a place is free again when its buffer is back.
    jobs: Vec<Option<Job>>,
    /// Places of the requests that wait, those first that hold a buffer.
    waiting: VecDeque<usize>,
    shares: Shares,
    steps: VecDeque<Step>,
    /// Requests, and the pieces of guest memory that they are made of.
    live: usize,
    segments: usize,
}

impl Queue {
    /// Disks share what there is as they are heard of. `number` (0 to 3) tells the work of several queues of a mediator apart. Room for all that it ever holds is made here.
    pub fn new(number: u8, pool: Pool) -> Self {
        let number = u32::from(number & 3);
        let (jobs, waiting) = (Vec::with_capacity(MAX_JOBS), VecDeque::with_capacity(MAX_JOBS));
        // One of each that is under way, and the end of each that it makes room for.
        let steps = VecDeque::with_capacity(MAX_JOBS.saturating_mul(2));
        Self { number, pool, jobs, waiting, shares: Shares::default(), steps, live: 0, segments: 0 }
    }

    /// The number of the queue that pushed this work.
    pub fn number_of(work: &Work) -> u8 {
        u8::try_from(work.tag >> NUMBER_SHIFT).unwrap_or(0)
    }

    /// The pool, for its measures.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Requests that have a buffer: at the device, at work, or between two parts.
    pub fn in_flight(&self) -> usize {
        self.live().filter(|job| job.chunk.is_some()).count()
    }

    /// Requests that wait for a buffer.
    pub fn held(&self) -> usize {
        self.live().filter(|job| job.chunk.is_none()).count()
    }

    /// May the guest's next request be copied? If not, others are under way, and there will be room when one of them has ended:
    /// the driver leaves the request where it is, and asks again then. What the guest cannot choose the number of need not ask.
    pub fn has_room(&self) -> bool {
        self.live < ENOUGH_JOBS && self.segments < ENOUGH_SEGMENTS
    }

    /// As [`Queue::has_room`], where each disk has a request queue of its own: one that has less than its share has room, whatever
    /// the others hold.
    #[inline]
    pub fn has_room_for(&self, disk: u32) -> bool {
        self.live == 0 || self.has_room_beside_others(disk)
    }

    #[inline(never)]
    fn has_room_beside_others(&self, disk: u32) -> bool {
        let (jobs, segments) = (self.live, self.segments);
        let may_have = |all: usize, used: usize, of| self.shares.may_have(disk, all, all.saturating_sub(used), of);
        jobs < MAX_JOBS
            && segments < MAX_ALL_SEGMENTS
            && may_have(ENOUGH_JOBS, jobs, |held: &Held| held.requests)
            && may_have(ENOUGH_SEGMENTS, segments, |held: &Held| held.segments)
    }

    /// These disks have their shares, and so has one more that may come, before anything is heard of them.
    pub fn share(&mut self, disks: impl Iterator<Item = u32>) {
        self.shares.expect_newcomer();
        for disk in disks {
            // One without is heard of later.
            let _ = self.shares.note(disk);
        }
    }

    fn live(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().flatten()
    }

    /// Takes a request; it starts at once if there is a buffer for it. What is to be done comes from [`Queue::poll`]. One too many
    /// is unserved ([`Queue::has_room`]).
    pub fn submit(&mut self, cx: &mut Ctx<'_>, request: Request) {
        let tag = request.tag;
        let place = self.jobs.iter().position(Option::is_none).unwrap_or(self.jobs.len());
        let segments = request.memory.segments();
        if place >= MAX_JOBS || segments > MAX_SEGMENTS || !self.shares.note(request.disk) {
            return self.steps.push_back(Step::Done { tag, sectors: 0, result: Err(Failure::Unserved), own: None });
        }
        if place == self.jobs.len() {
            self.jobs.push(None);
        }
        if let Some(slot) = self.jobs.get_mut(place) {
            self.shares.change(request.disk, |held| {
                held.requests = held.requests.saturating_add(1);
                held.segments = held.segments.saturating_add(segments);
            });
            *slot = Some(Job::new(request));
            self.live = self.live.saturating_add(1);
            self.segments = self.segments.saturating_add(segments);
        }
        self.waiting.push_back(place);
        self.pump(cx);
    }

    /// What the driver is to do next.
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Is there nothing that [`Queue::poll`] would give?
    pub fn is_settled(&self) -> bool {
        self.steps.is_empty()
    }

    /// Starts what waits, each disk's in order, until one must wait on.
    fn pump(&mut self, cx: &mut Ctx<'_>) {
        self.shares.unblock();
        let mut next = 0;
        while let Some(&place) = self.waiting.get(next) {
            let job = self.jobs.get(place).and_then(Option::as_ref);
            let (disk, small) = job.map_or((0, false), |job| (job.request.disk, job.is_small_payload()));
            // What fits into the spare page may pass the others by.
            if self.shares.is_blocked(disk) && !(small && self.pool.has_spare()) {
                next = next.saturating_add(1);
                continue;
            }
            match self.start(cx, place) {
                Ok(false) => {
                    self.shares.block(disk);
                    if self.shares.all_are_blocked() && !self.pool.has_spare() {
                        return;
                    }
                    next = next.saturating_add(1);
                }
                Ok(true) => self.waiting.retain(|other| *other != place),
                Err(Unserved) => {
                    self.waiting.retain(|other| *other != place);
                    self.end(place, Err(Failure::Unserved));
                }
            }
        }
    }

    /// A buffer for a request; a disk without any takes what there is, and a `small` one the spare page in need.
    fn lend(&mut self, disk: u32, wanted: usize, least: usize, small: bool) -> Option<Chunk> {
        let has = self.shares.held(disk, |held| held.pages);
        let most = self.shares.pages(disk, self.pool.pages(), self.pool.free_pages());
        let chunk = self.pool.take(wanted, least, most, has == 0);
        let chunk = chunk.or_else(|| small.then(|| self.pool.take_spare())?)?;
        self.shares.change(disk, |held| held.pages = held.pages.saturating_add(chunk.pages()));
        Some(chunk)
    }

    fn take_back(&mut self, disk: u32, chunk: Chunk) {
        self.shares.change(disk, |held| held.pages = held.pages.saturating_sub(chunk.pages()));
        self.pool.give_back(chunk);
    }

    /// Starts the next part of a request. False: it must wait.
    fn start(&mut self, cx: &mut Ctx<'_>, place: usize) -> Result<bool, Unserved> {
        let job = self.jobs.get(place).and_then(Option::as_ref).ok_or(Unserved)?;
        let disk = job.request.disk;
        let taken = match &job.chunk {
            Some(_) => None,
            None => {
                let (wanted, least) = job.wanted()?;
                if least > self.pool.len_bytes() {
                    return Err(Unserved);
                }
                let small = job.is_small_payload();
                let Some(chunk) = self.lend(disk, wanted, least, small) else { return Ok(false) };
                Some(chunk)
            }
        };
        let job = self.jobs.get(place).and_then(Option::as_ref).ok_or(Unserved)?;
        let capacity = taken.as_ref().or(job.chunk.as_ref()).map_or(0, |chunk| chunk.len_bytes());
        let part = job.next_part(capacity);
        let free = part.is_ok_and(|part| {
            let others = self.jobs.iter().enumerate().filter(|(other, _)| *other != place);
            others.filter_map(|(_, other)| other.as_ref()).all(|other| job.stands(&part, other))
        });
        let job = self.jobs.get_mut(place).and_then(Option::as_mut).ok_or(Unserved)?;
        if !free {
            if let Some(chunk) = taken {
                self.take_back(disk, chunk);
            }
            return part.map(|_| false);
        }
        job.part = part?;
        if taken.is_some() {
            job.chunk = taken;
        }
        match (job.request.write, job.part.is_edge()) {
            (true, false) => self.push(cx, place, Direction::GuestToDevice)?,
            (true, true) => self.send(place, Phase::Reading, false)?,
            (false, _) => self.send(place, Phase::AtDevice, false)?,
        }
        Ok(true)
    }

    fn job(&mut self, place: usize) -> Result<&mut Job, Unserved> {
        self.jobs.get_mut(place).and_then(Option::as_mut).ok_or(Unserved)
    }

    fn send(&mut self, place: usize, phase: Phase, write: bool) -> Result<(), Unserved> {
        let job = self.job(place)?;
        let transfer = job.transfer(write)?;
        job.phase = phase;
        self.steps.push_back(Step::Send(transfer));
        Ok(())
    }

    fn push(&mut self, cx: &mut Ctx<'_>, place: usize, direction: Direction) -> Result<(), Unserved> {
        let job = self.job(place)?;
        if job.is_own() {
            job.move_own(cx, direction)?;
            return match direction {
                Direction::GuestToDevice => self.gathered(cx, place),
                Direction::DeviceToGuest => {
                    self.part_done(place);
                    Ok(())
                }
            };
        }
        cx.work.try_reserve(1).map_err(|_| Unserved)?;
        let tag = u32::try_from(place).map_err(|_| Unserved)? | self.number.wrapping_shl(NUMBER_SHIFT);
        let job = self.job(place)?;
        let work = job.work(tag, direction)?;
        job.phase = if direction == Direction::GuestToDevice { Phase::Gathering } else { Phase::Delivering };
        cx.push(work);
        Ok(())
    }

    /// The request has ended.
    fn end(&mut self, place: usize, result: Result<(), Failure>) {
        let Some(job) = self.jobs.get_mut(place).and_then(Option::take) else { return };
        self.live = self.live.saturating_sub(1);
        let (disk, segments) = (job.request.disk, job.request.memory.segments());
        self.segments = self.segments.saturating_sub(segments);
        self.shares.change(disk, |held| {
            held.requests = held.requests.saturating_sub(1);
            held.segments = held.segments.saturating_sub(segments);
        });
        if !job.cancelled {
            let own = match job.request.memory {
                Memory::Own { data, .. } => Some(data),
                Memory::Guest(_) => None,
            };
            self.steps.push_back(Step::Done { tag: job.request.tag, sectors: job.done, result, own });
        }
        if let Some(chunk) = job.chunk {
            self.take_back(disk, chunk);
        }
    }

    /// Ends the request if the step could not be taken; then starts what can be started.
    fn settle(&mut self, cx: &mut Ctx<'_>, place: usize, step: Result<(), Unserved>) {
        if step.is_err() {
            self.end(place, Err(Failure::Unserved));
        }
        self.pump(cx);
    }

    /// The device has ended the last transfer of request `tag`, and reaches its buffer no more.
    pub fn on_device_done(&mut self, cx: &mut Ctx<'_>, tag: u32, result: Result<(), DeviceError>) {
        let at_device = |job: &Job| {
            job.request.tag == tag && !job.cancelled && matches!(job.phase, Phase::Reading | Phase::AtDevice)
        };
        let found = self.jobs.iter().position(|job| job.as_ref().is_some_and(at_device));
        let Some(place) = found else { return };
        let step = match result {
            Ok(()) => self.device_done(cx, place),
            Err(error) => self.device_failed(cx, place, error),
        };
        self.settle(cx, place, step);
    }

    fn device_done(&mut self, cx: &mut Ctx<'_>, place: usize) -> Result<(), Unserved> {
        let job = self.job(place)?;
        match (job.phase, job.request.write) {
            (Phase::Reading, _) => {
                job.transform_edge(cx, |transform, first, bytes| transform.decrypt(first, bytes))?;
                self.push(cx, place, Direction::GuestToDevice)
            }
            (_, true) => {
                self.part_done(place);
                Ok(())
            }
            (_, false) => {
                if job.part.is_edge() {
                    job.transform_edge(cx, |transform, first, bytes| transform.decrypt(first, bytes))?;
                }
                self.push(cx, place, Direction::DeviceToGuest)
            }
        }
    }

    /// A guest takes the sectors before the bad one for good, so they are delivered.
    fn device_failed(&mut self, cx: &mut Ctx<'_>, place: usize, error: DeviceError) -> Result<(), Unserved> {
        let job = self.job(place)?;
        let failure = Failure::Device { lba: job.guest_lba(error.disk_lba) };
        if !job.request.write && job.shorten(error.disk_lba) {
            job.failed = Some(failure);
            return self.push(cx, place, Direction::DeviceToGuest);
        }
        self.end(place, Err(failure));
        Ok(())
    }

    fn part_done(&mut self, place: usize) {
        let Ok(job) = self.job(place) else { return };
        let left = job.advance();
        match job.failed {
            Some(failure) => self.end(place, Err(failure)),
            None if left => self.waiting.push_front(place),
            None => self.end(place, Ok(())),
        }
    }

    /// Work of this queue is back ([`Queue::number_of`]).
    pub fn on_work_done(&mut self, cx: &mut Ctx<'_>, work: &Work, result: Result<(), WorkError>) {
        let place = usize::try_from(work.tag & !(3 << NUMBER_SHIFT)).unwrap_or(usize::MAX);
        let Ok(job) = self.job(place) else { return };
        let step = match (job.phase, result) {
            _ if job.cancelled => {
                self.end(place, Ok(()));
                Ok(())
            }
            (Phase::Gathering | Phase::Delivering, Err(_)) => {
                self.end(place, Err(Failure::Memory));
                Ok(())
            }
            (Phase::Gathering, Ok(())) => self.gathered(cx, place),
            (Phase::Delivering, Ok(())) => {
                self.part_done(place);
                Ok(())
            }
            // Not lent: a work that nobody pushed.
            _ => Ok(()),
        };
        self.settle(cx, place, step);
    }

    fn gathered(&mut self, cx: &mut Ctx<'_>, place: usize) -> Result<(), Unserved> {
        let job = self.job(place)?;
        if job.part.is_edge() {
            job.transform_edge(cx, |transform, first, bytes| transform.encrypt(first, bytes))?;
        }
        self.send(place, Phase::AtDevice, true)
    }

    /// Drops the requests whose tag says so, without a [`Step::Done`]: the device has forgotten them, and reaches their
    /// buffers no more. Buffers that are lent to work are free once that is back.
    pub fn cancel(&mut self, cx: &mut Ctx<'_>, which: impl Fn(u32) -> bool) {
        let tag_of = |step: &Step| match step {
            Step::Send(transfer) => transfer.tag,
            Step::Done { tag, .. } => *tag,
        };
        self.steps.retain(|step| !which(tag_of(step)));
        for place in 0..self.jobs.len() {
            let Some(job) = self.jobs.get_mut(place).and_then(Option::as_mut) else { continue };
            if job.cancelled || !which(job.request.tag) {
                continue;
            }
            job.cancelled = true;
            if !matches!(job.phase, Phase::Gathering | Phase::Delivering) {
                self.waiting.retain(|other| *other != place);
                self.end(place, Ok(()));
            }
        }
        self.pump(cx);
    }

    /// As [`Queue::cancel`], of requests that a device has forgotten and may still be working on: their buffers stay lent until
    /// [`Queue::release`].
    pub fn abandon(&mut self, cx: &mut Ctx<'_>, which: impl Fn(u32) -> bool) {
        for job in self.jobs.iter_mut().flatten() {
            if !job.cancelled && job.is_at_device() && which(job.request.tag) {
                job.cancelled = true;
                // Nothing more is copied. Else the request by which the guest asks what has failed might find no room.
                let memory = core::mem::replace(&mut job.request.memory, Scatter::default().into());
                let segments = memory.segments();
                self.segments = self.segments.saturating_sub(segments);
                self.shares.change(job.request.disk, |held| held.segments = held.segments.saturating_sub(segments));
            }
        }
        self.cancel(cx, which);
    }

    /// The device reaches the buffers of abandoned requests no more.
    pub fn release(&mut self, cx: &mut Ctx<'_>, which: impl Fn(u32) -> bool) {
        let is_over = |job: &Job| job.cancelled && job.is_at_device() && which(job.request.tag);
        for place in 0..self.jobs.len() {
            if self.jobs.get(place).and_then(Option::as_ref).is_some_and(is_over) {
                self.end(place, Ok(()));
            }
        }
        self.pump(cx);
    }
}
