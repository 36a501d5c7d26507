//! Guest accesses to what a mediator guards: asked, answered, and refused where they break its rules.

use crate::mediated::{Others, Session};
use crate::port_table::RegionOwner;
use crate::{Bus, Machine, Ports};
use alloc::vec::Vec;
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
pub(crate) struct Question<Q, P> {
    pub number: usize,
    pub others: Others,
    pub op: Op,
    pub ask: Q,
    pub perform: P,
}

type AnyQuestion<'q, M> = Question<&'q dyn Fn(&mut Session<'_>, &mut M) -> Answer, &'q dyn Fn(&mut M) -> u64>;

impl<Q, P> Question<Q, P> {
    /// Asks once. What needs more than one question is rare.
    #[inline(always)]
    fn ask<M>(&self, session: &mut Session<'_>, machine: &mut M) -> Result<u64, Open>
    where
        Q: Fn(&mut Session<'_>, &mut M) -> Answer,
        P: Fn(&mut M) -> u64,
    {
        if session.state.refusals.is_quarantined() {
            return Ok(REFUSED);
        }
        let answer = (self.ask)(session, machine);
        if session.state.work.is_empty() {
            match answer {
                Ok(Verdict::Passthrough) => return Ok((self.perform)(machine)),
                Ok(Verdict::Value(value)) if self.op == Op::Read => return Ok(value),
                Ok(Verdict::Done) if self.op != Op::Read => return Ok(0),
                _ => {}
            }
        }
        Err(Open { answer, work: session.take_work() })
    }
}

impl Bus {
    /// Asks until there is an answer; gives what a read reads, to be cut to its width.
    #[inline(always)]
    pub(crate) fn ask<M, Q, P>(&self, machine: &mut M, question: &Question<Q, P>) -> u64
    where
        M: Machine,
        Q: Fn(&mut Session<'_>, &mut M) -> Answer,
        P: Fn(&mut M) -> u64,
    {
        let Question { number, others, .. } = *question;
        match self.with_session(machine, number, others, |session, machine| question.ask(session, machine)) {
            None => REFUSED,
            Some(Ok(value)) => value,
            Some(Err(open)) => {
                let Question { op, ref ask, ref perform, .. } = *question;
                self.follow(machine, &Question { number, others, op, ask, perform }, open)
            }
        }
    }

    /// Work that was pushed is performed first, without the lock.
    #[cold]
    #[inline(never)]
    fn follow<M: Machine>(&self, machine: &mut M, question: &AnyQuestion<'_, M>, mut open: Open) -> u64 {
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
                    match self.with_session(machine, number, others, |session, machine| question.ask(session, machine))
                    {
                        None => return REFUSED,
                        Some(Ok(value)) => return value,
                        Some(Err(next)) => open = next,
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
        let perform = |machine: &mut M| machine.ports().read(port, width).into();
        self.access_port(machine, owner, port, width, Op::Read, perform) as u32
    }

    #[inline]
    pub(crate) fn write_region<M: Machine>(&self, machine: &mut M, owner: u8, port: u16, width: Width, value: u32) {
        let perform = |machine: &mut M| {
            machine.ports().write(port, width, value);
            0
        };
        let op = Op::Write(u64::from(value) & width.ones());
        self.access_port(machine, owner, port, width, op, perform);
    }

    #[inline(always)]
    fn access_port<M: Machine>(
        &self,
        machine: &mut M,
        owner: u8,
        port: u16,
        width: Width,
        op: Op,
        perform: impl Fn(&mut M) -> u64,
    ) -> u64 {
        let RegionOwner { controller, region } = RegionOwner::decode(owner);
        let ask = |session: &mut Session<'_>, machine: &mut M| {
            let offset = session.offset(region, port).ok_or(NOWHERE)?;
            let access = Access { region: RegionId(region as u8), offset, width, op };
            session.call(machine, |mediator, cx| mediator.on_access(cx, access))
        };
        self.ask(machine, &Question { number: controller, others: Others::Run, op, ask, perform })
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
        self.ask(machine, &Question { number, others, op, ask, perform })
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
                let offset = session.offset(region, port).filter(|_| !session.state.refusals.is_quarantined())?;
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

impl Session<'_> {
    /// Offset of a port in a region.
    #[inline]
    fn offset(&self, region: usize, port: u16) -> Option<u32> {
        let base = self.state.wiring.region(region)?.base.get()?;
        Some(port.wrapping_sub(base).into())
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
