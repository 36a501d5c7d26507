//! Guest accesses to what a mediator guards: asked, answered, and refused where they break its rules.

use crate::bus::Inner;
use crate::port_table::RegionOwner;
use crate::{Machine, Ports};
use mediator::disk::DiskController;
use mediator::{Access, ConfigAccess, Ctx, Op, RegionId, StringIo, Verdict, Violation, Width};

/// How often one access may be asked again without getting on.
const ASK_LIMIT: usize = 64;

const MISFIT: Violation = Violation { what: "defect of the mediator: the answer does not fit the access", detail: 0 };
const ENDLESS: Violation = Violation { what: "defect of the mediator: asked again and again", detail: 0 };

/// What a mediator's verdict, or the lack of one, comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    /// The VMM performs the access as it is.
    Perform,
    /// Nothing is left to do; a read gives this value, to be cut to its width.
    Settled(u64),
}

/// Reads give all ones, writes vanish.
const REFUSED: Answered = Answered::Settled(u64::MAX);

/// A register of a mediated controller.
#[derive(Clone, Copy)]
struct Register {
    controller: usize,
    region: RegionId,
    offset: u16,
}

type Question<'q> = &'q dyn Fn(&mut dyn DiskController, &mut Ctx<'_>) -> Result<Verdict, Violation>;

impl Inner {
    /// `None`: the controller is in quarantine.
    #[inline]
    fn register(&self, owner: u8, port: u16) -> Option<Register> {
        let RegionOwner { controller: number, region } = RegionOwner::decode(owner);
        let controller = self.controllers.get(number)?;
        let region = controller.wiring.region(region)?;
        let offset = port.wrapping_sub(region.base.get()?);
        let register = Register { controller: number, region: region.id, offset };
        if controller.refusals.is_quarantined() { None } else { Some(register) }
    }

    #[inline(never)]
    pub(crate) fn read_region<M: Machine>(&mut self, machine: &mut M, owner: u8, port: u16, width: Width) -> u32 {
        match self.ask_access(machine, owner, port, width, Op::Read) {
            Answered::Perform => machine.ports().read(port, width),
            Answered::Settled(value) => value as u32,
        }
    }

    #[inline]
    pub(crate) fn write_region<M: Machine>(&mut self, machine: &mut M, owner: u8, port: u16, width: Width, value: u32) {
        let op = Op::Write(u64::from(value) & width.ones());
        if self.ask_access(machine, owner, port, width, op) == Answered::Perform {
            machine.ports().write(port, width, value);
        }
    }

    /// The first question is asked here, in line; what needs more than it is rare.
    #[inline(always)]
    fn ask_access<M: Machine>(&mut self, machine: &mut M, owner: u8, port: u16, width: Width, op: Op) -> Answered {
        let Some(Register { controller, region, offset }) = self.register(owner, port) else { return REFUSED };
        let access = Access { region, offset, width, op };
        let Some(verdict) = self.call(machine, controller, |mediator, cx| mediator.on_access(cx, access)) else {
            return REFUSED;
        };
        if self.work.is_empty() {
            match verdict {
                Ok(Verdict::Passthrough) => return Answered::Perform,
                Ok(Verdict::Value(value)) if op == Op::Read => return Answered::Settled(value),
                Ok(Verdict::Done) if op != Op::Read => return Answered::Settled(0),
                _ => {}
            }
        }
        self.follow(machine, controller, op, verdict, &|mediator, cx| mediator.on_access(cx, access))
    }

    pub(crate) fn ask_config<M: Machine>(
        &mut self,
        machine: &mut M,
        controller: usize,
        access: ConfigAccess,
    ) -> Answered {
        if self.controllers.get(controller).is_none_or(|controller| controller.refusals.is_quarantined()) {
            return REFUSED;
        }
        let question: Question<'_> = &|mediator, cx| mediator.on_config(cx, access);
        match self.call(machine, controller, question) {
            Some(verdict) => self.follow(machine, controller, access.op, verdict, question),
            None => REFUSED,
        }
    }

    /// Asks again until there is an answer; work that was pushed is performed before the access is.
    #[cold]
    fn follow<M: Machine>(
        &mut self,
        machine: &mut M,
        controller: usize,
        op: Op,
        first: Result<Verdict, Violation>,
        question: Question<'_>,
    ) -> Answered {
        let mut verdict = first;
        for _ in 0..ASK_LIMIT {
            let performed = self.settle(machine, controller);
            let violation = match (verdict, op) {
                (Ok(Verdict::Passthrough), _) => return Answered::Perform,
                (Ok(Verdict::Value(value)), Op::Read) => return Answered::Settled(value),
                (Ok(Verdict::Done), Op::Write(_)) => return Answered::Settled(0),
                (Ok(Verdict::Again), _) if performed > 0 => {
                    let Some(next) = self.call(machine, controller, question) else { return REFUSED };
                    verdict = next;
                    continue;
                }
                (Ok(_), _) => MISFIT,
                (Err(violation), _) => violation,
            };
            self.refuse(controller, violation);
            return REFUSED;
        }
        self.settle(machine, controller);
        self.refuse(controller, ENDLESS);
        REFUSED
    }

    pub(crate) fn read_region_string<M: Machine>(
        &mut self,
        machine: &mut M,
        owner: u8,
        port: u16,
        width: Width,
        data: &mut [u8],
    ) {
        let io = StringIo::In { width, data: &mut *data };
        let done = self.ask_string(machine, owner, port, io);
        data.iter_mut().skip(done).for_each(|byte| *byte = 0xff);
    }

    pub(crate) fn write_region_string<M: Machine>(
        &mut self,
        machine: &mut M,
        owner: u8,
        port: u16,
        width: Width,
        data: &[u8],
    ) {
        self.ask_string(machine, owner, port, StringIo::Out { width, data });
    }

    /// Offers the data, and then what is left of it, until all is transferred or refused. Gives the bytes transferred.
    fn ask_string<M: Machine>(&mut self, machine: &mut M, owner: u8, port: u16, mut io: StringIo<'_>) -> usize {
        let Some(Register { controller, region, offset }) = self.register(owner, port) else { return 0 };
        let mut done = 0_usize;
        let mut idle = 0_usize;
        loop {
            let (rest, left_bytes, element_bytes) = rest(&mut io, done);
            if left_bytes == 0 {
                return done;
            }
            let answer = self.call(machine, controller, |mediator, cx| mediator.on_string(cx, region, offset, rest));
            let performed = self.settle(machine, controller);
            let violation = match answer {
                None => return done,
                Some(Err(violation)) => violation,
                Some(Ok(0)) if performed > 0 && idle < ASK_LIMIT => {
                    idle = idle.wrapping_add(1);
                    continue;
                }
                Some(Ok(elements)) => match elements.checked_mul(element_bytes) {
                    Some(bytes @ 1..) if bytes <= left_bytes => {
                        done = done.wrapping_add(bytes);
                        idle = 0;
                        continue;
                    }
                    _ => MISFIT,
                },
            };
            self.refuse(controller, violation);
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
