//! Guest accesses to what a mediator guards: asked, answered, and refused where they break its rules.

use crate::mediated::{Others, Session};
use crate::port_table::RegionOwner;
use crate::{Bus, DeviceMemory, Machine, Parts, Ports};
use alloc::vec::Vec;
use mediator::pci::Place;
use mediator::{Access, ConfigAccess, Op, RegionId, StringIo, Verdict, Violation, Width, Work};

/// For this long an access is asked about again and again. No device takes longer that mediators wait for.
const PATIENCE_NS: u64 = 1_000_000_000;
/// How often in a row string I/O may get on by work alone.
const IDLE_LIMIT: usize = 64;
/// Turns of a loop before an access is asked about again without any work done.
const PAUSE: usize = 200;

const MISFIT: Violation = Violation { what: "defect of the mediator: the answer does not fit the access", detail: 0 };
const ENDLESS: Violation = Violation { what: "defect of the mediator: asked again and again", detail: 0 };

/// Regions move while all other CPUs stand between two exits, so that this cannot be.
const NOWHERE: Violation = Violation { what: "defect: a port of a region that lies nowhere", detail: 0 };

/// What a read that is refused gives, to be cut to its width. A write vanishes.
pub(crate) const REFUSED: u64 = u64::MAX;

pub(crate) type Answer = Result<Verdict, Violation>;

/// An access that the first call of its mediator did not settle.
pub(crate) struct Open {
    answer: Answer,
    work: Vec<Work>,
}

/// A question to the mediator; where it lets the access pass, `perform` makes it, under the same lock.
struct Question<'q, M> {
    number: usize,
    others: Others,
    op: Op,
    ask: &'q dyn Fn(&mut Session<'_>, &mut M) -> Answer,
    perform: &'q dyn Fn(&mut M) -> u64,
}

/// An access to a register of a controller.
#[derive(Clone, Copy)]
pub(crate) struct RegisterAccess {
    pub of: RegionOwner,
    pub place: Place,
    pub width: Width,
    pub op: Op,
}

impl RegisterAccess {
    #[inline(always)]
    fn ask<M: Machine>(self, session: &mut Session<'_>, machine: &mut M) -> Answer {
        let Self { of, place, width, op } = self;
        let offset = session.offset(of.region, place).ok_or(NOWHERE)?;
        let access = Access { region: RegionId(of.region as u8), offset, width, op };
        session.call(machine, |mediator, cx| mediator.on_access(cx, access))
    }

    /// As the guest has made it.
    #[inline(always)]
    fn perform<M: Machine>(self, machine: &mut M) -> u64 {
        let Self { place, width, op, .. } = self;
        let Parts { ports, device_memory, .. } = machine.parts();
        match (place, op) {
            (Place::Port(port), Op::Read) => return ports.read(port, width).into(),
            (Place::Port(port), Op::Write(value)) => ports.write(port, width, value as u32),
            (Place::Memory(at), Op::Read) => return device_memory.read(at, width),
            (Place::Memory(at), Op::Write(value)) => device_memory.write(at, width, value),
        }
        0
    }
}

impl Session<'_> {
    /// Offset of a port or an address in a region.
    #[inline]
    fn offset(&self, region: usize, place: Place) -> Option<u32> {
        let region = self.state.wiring.region(region)?;
        Some(match place {
            Place::Port(port) => port.wrapping_sub(region.base.get()?).into(),
            Place::Memory(at) => at.0.wrapping_sub(region.memory?.0) as u32,
        })
    }

    /// The answer to a question that was asked once. What needs more than one is rare.
    #[inline(always)]
    fn settle<M: Machine>(
        &mut self,
        machine: &mut M,
        op: Op,
        answer: Answer,
        perform: impl Fn(&mut M) -> u64,
        open: &mut Option<Open>,
    ) -> u64 {
        if self.state.work.is_empty() {
            match answer {
                Ok(Verdict::Passthrough) => return perform(machine),
                Ok(Verdict::Value(value)) if op == Op::Read => return value,
                Ok(Verdict::Done) if op != Op::Read => return 0,
                _ => {}
            }
        }
        self.leave_open(answer, open)
    }

    #[cold]
    #[inline(never)]
    fn leave_open(&mut self, answer: Answer, open: &mut Option<Open>) -> u64 {
        *open = Some(Open { answer, work: self.take_work() });
        REFUSED
    }
}

impl Bus {
    /// An access to a register; gives what a read reads, to be cut to its width.
    #[inline(always)]
    pub(crate) fn access<M: Machine>(&self, machine: &mut M, access: RegisterAccess) -> u64 {
        let number = access.of.controller;
        let Some(mut session) = self.begin_session(machine, number, Others::Run) else { return REFUSED };
        if session.state.refusals.is_quarantined() {
            return REFUSED;
        }
        let answer = access.ask(&mut session, machine);
        let settled = match (answer, access.op) {
            _ if !session.state.work.is_empty() => None,
            (Ok(Verdict::Passthrough), _) => Some(access.perform(machine)),
            (Ok(Verdict::Value(value)), Op::Read) => Some(value),
            (Ok(Verdict::Done), Op::Write(_)) => Some(0),
            _ => None,
        };
        if let Some(value) = settled {
            self.end_session(machine, number, session);
            return value;
        }
        let work = session.take_work();
        self.end_session(machine, number, session);
        self.follow_access(machine, access, Open { answer, work })
    }

    #[cold]
    #[inline(never)]
    fn follow_access<M: Machine>(&self, machine: &mut M, access: RegisterAccess, open: Open) -> u64 {
        let ask = |session: &mut Session<'_>, machine: &mut M| access.ask(session, machine);
        let perform = |machine: &mut M| access.perform(machine);
        let (number, op) = (access.of.controller, access.op);
        self.follow(machine, &Question { number, others: Others::Run, op, ask: &ask, perform: &perform }, open)
    }

    fn ask<M: Machine>(&self, machine: &mut M, question: &Question<'_, M>) -> Result<u64, Open> {
        let mut open = None;
        let value = self.with_session(machine, question.number, question.others, |session, machine| {
            if session.state.refusals.is_quarantined() {
                return REFUSED;
            }
            let answer = (question.ask)(session, machine);
            session.settle(machine, question.op, answer, question.perform, &mut open)
        });
        open.map_or(Ok(value.unwrap_or(REFUSED)), Err)
    }

    /// Asks until there is an answer. Work that was pushed is performed first, without the lock.
    #[cold]
    fn follow<M: Machine>(&self, machine: &mut M, question: &Question<'_, M>, mut open: Open) -> u64 {
        let Question { number, others, op, .. } = *question;
        let start = machine.now().0;
        loop {
            let performed = self.perform(machine, number, others, open.work);
            let violation = match (open.answer, op) {
                (Ok(Verdict::Value(value)), Op::Read) => return value,
                (Ok(Verdict::Done), Op::Write(_)) => return 0,
                (Ok(Verdict::Again), _) if machine.now().0.saturating_sub(start) < PATIENCE_NS => {
                    if performed == 0 {
                        (0..PAUSE).for_each(|_| core::hint::spin_loop());
                    }
                    match self.ask(machine, question) {
                        Ok(value) => return value,
                        Err(next) => open = next,
                    }
                    continue;
                }
                (Ok(Verdict::Again), _) => ENDLESS,
                (Ok(_), _) => MISFIT,
                (Err(violation), _) => violation,
            };
            self.refuse(machine, number, others, violation);
            return REFUSED;
        }
    }

    #[inline(never)]
    pub(crate) fn read_region<M: Machine>(&self, machine: &mut M, owner: u8, port: u16, width: Width) -> u32 {
        let (of, place) = (RegionOwner::decode(owner), Place::Port(port));
        self.access(machine, RegisterAccess { of, place, width, op: Op::Read }) as u32
    }

    #[inline]
    pub(crate) fn write_region<M: Machine>(&self, machine: &mut M, owner: u8, port: u16, width: Width, value: u32) {
        let (of, place) = (RegionOwner::decode(owner), Place::Port(port));
        let op = Op::Write(u64::from(value) & width.ones());
        self.access(machine, RegisterAccess { of, place, width, op });
    }

    /// Asks about an access to configuration space, which `perform` makes where it passes.
    pub(crate) fn ask_config<M: Machine>(
        &self,
        machine: &mut M,
        number: usize,
        others: Others,
        access: Result<ConfigAccess, Violation>,
        op: Op,
        perform: impl Fn(&mut M) -> u64,
    ) -> u64 {
        let ask = |session: &mut Session<'_>, machine: &mut M| {
            let access = access?;
            session.call(machine, |mediator, cx| mediator.on_config(cx, access))
        };
        let question = Question { number, others, op, ask: &ask, perform: &perform };
        match self.ask(machine, &question) {
            Ok(value) => value,
            Err(open) => self.follow(machine, &question, open),
        }
    }

    pub(crate) fn read_region_string<M: Machine>(
        &self,
        machine: &mut M,
        owner: u8,
        port: u16,
        width: Width,
        data: &mut [u8],
    ) {
        let io = StringIo::In { width, data: &mut *data };
        let done = self.ask_string(machine, RegionOwner::decode(owner), port, io);
        data.iter_mut().skip(done).for_each(|byte| *byte = 0xff);
    }

    pub(crate) fn write_region_string<M: Machine>(
        &self,
        machine: &mut M,
        owner: u8,
        port: u16,
        width: Width,
        data: &[u8],
    ) {
        self.ask_string(machine, RegionOwner::decode(owner), port, StringIo::Out { width, data });
    }

    /// Offers the data, and then what is left of it, until all is transferred or refused. Gives the bytes transferred.
    fn ask_string<M: Machine>(&self, machine: &mut M, of: RegionOwner, port: u16, mut io: StringIo<'_>) -> usize {
        let RegionOwner { controller, region } = of;
        let mut done = 0_usize;
        let mut idle = 0_usize;
        loop {
            let (rest, left_bytes, element_bytes) = rest(&mut io, done);
            if left_bytes == 0 {
                return done;
            }
            let offered = self.with_session(machine, controller, Others::Run, |session, machine| {
                let offset =
                    session.offset(region, Place::Port(port)).filter(|_| !session.state.refusals.is_quarantined())?;
                let region = RegionId(region as u8);
                let answer = session.call(machine, |mediator, cx| mediator.on_string(cx, region, offset, rest));
                Some((answer, session.take_work()))
            });
            let Some(Some((answer, work))) = offered else { return done };
            let performed = self.perform(machine, controller, Others::Run, work);
            let violation = match answer {
                Err(violation) => violation,
                Ok(0) if performed > 0 && idle < IDLE_LIMIT => {
                    idle = idle.wrapping_add(1);
                    continue;
                }
                Ok(elements) => match elements.checked_mul(element_bytes) {
                    Some(bytes @ 1..) if bytes <= left_bytes => {
                        done = done.wrapping_add(bytes);
                        idle = 0;
                        continue;
                    }
                    _ => MISFIT,
                },
            };
            self.refuse(machine, controller, Others::Run, violation);
            return done;
        }
    }
}

/// What is left from byte `from` on, its length and the size of an element.
fn rest<'a>(io: &'a mut StringIo<'_>, from: usize) -> (StringIo<'a>, usize, usize) {
    match io {
        StringIo::In { width, data } => {
            let data = data.get_mut(from..).unwrap_or_default();
            let len_bytes = data.len();
            (StringIo::In { width: *width, data }, len_bytes, width.bytes())
        }
        StringIo::Out { width, data } => {
            let data = data.get(from..).unwrap_or_default();
            (StringIo::Out { width: *width, data }, data.len(), width.bytes())
        }
    }
}
