//! Guest accesses to what a mediator guards: asked, answered, and refused where they break its rules.

use crate::mediated::Session;
use crate::port_table::RegionOwner;
use crate::{Bus, Machine, Ports};
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

impl Answered {
    /// Reads give all ones, writes vanish.
    pub const REFUSED: Self = Self::Settled(u64::MAX);
}

type Question<'q> = &'q dyn Fn(&mut dyn DiskController, &mut Ctx<'_>) -> Result<Verdict, Violation>;

impl Bus {
    #[inline(never)]
    pub(crate) fn read_region<M: Machine>(&self, machine: &mut M, owner: u8, port: u16, width: Width) -> u32 {
        let RegionOwner { controller, region } = RegionOwner::decode(owner);
        let value = self.with_session(machine, controller, |session, machine| {
            match session.ask_access(machine, region, port, width, Op::Read) {
                Answered::Perform => machine.ports().read(port, width),
                Answered::Settled(value) => value as u32,
            }
        });
        value.unwrap_or(u32::MAX)
    }

    #[inline]
    pub(crate) fn write_region<M: Machine>(&self, machine: &mut M, owner: u8, port: u16, width: Width, value: u32) {
        let RegionOwner { controller, region } = RegionOwner::decode(owner);
        let op = Op::Write(u64::from(value) & width.ones());
        self.with_session(machine, controller, |session, machine| {
            if session.ask_access(machine, region, port, width, op) == Answered::Perform {
                machine.ports().write(port, width, value);
            }
        });
    }

    pub(crate) fn read_region_string<M: Machine>(
        &self,
        machine: &mut M,
        owner: u8,
        port: u16,
        width: Width,
        data: &mut [u8],
    ) {
        let RegionOwner { controller, region } = RegionOwner::decode(owner);
        let io = StringIo::In { width, data: &mut *data };
        let done =
            self.with_session(machine, controller, |session, machine| session.ask_string(machine, region, port, io));
        data.iter_mut().skip(done.unwrap_or(0)).for_each(|byte| *byte = 0xff);
    }

    pub(crate) fn write_region_string<M: Machine>(
        &self,
        machine: &mut M,
        owner: u8,
        port: u16,
        width: Width,
        data: &[u8],
    ) {
        let RegionOwner { controller, region } = RegionOwner::decode(owner);
        self.with_session(machine, controller, |session, machine| {
            session.ask_string(machine, region, port, StringIo::Out { width, data })
        });
    }
}

impl Session<'_> {
    /// Offset of a port in a region. `None`: the controller is in quarantine.
    #[inline]
    fn offset(&self, region: usize, port: u16) -> Option<u32> {
        let base = self.state.wiring.region(region)?.base.get()?;
        if self.state.refusals.is_quarantined() { None } else { Some(port.wrapping_sub(base).into()) }
    }

    /// The first question is asked here, in line; what needs more than it is rare.
    #[inline(always)]
    fn ask_access<M: Machine>(&mut self, machine: &mut M, region: usize, port: u16, width: Width, op: Op) -> Answered {
        let Some(offset) = self.offset(region, port) else { return Answered::REFUSED };
        let access = Access { region: RegionId(region as u8), offset, width, op };
        let verdict = self.call(machine, |mediator, cx| mediator.on_access(cx, access));
        if self.state.work.is_empty() {
            match verdict {
                Ok(Verdict::Passthrough) => return Answered::Perform,
                Ok(Verdict::Value(value)) if op == Op::Read => return Answered::Settled(value),
                Ok(Verdict::Done) if op != Op::Read => return Answered::Settled(0),
                _ => {}
            }
        }
        self.follow(machine, op, verdict, &|mediator, cx| mediator.on_access(cx, access))
    }

    pub(crate) fn ask_config<M: Machine>(&mut self, machine: &mut M, access: ConfigAccess) -> Answered {
        if self.state.refusals.is_quarantined() {
            return Answered::REFUSED;
        }
        let question: Question<'_> = &|mediator, cx| mediator.on_config(cx, access);
        let verdict = self.call(machine, question);
        self.follow(machine, access.op, verdict, question)
    }

    /// Asks again until there is an answer; work that was pushed is performed before the access is.
    #[cold]
    fn follow<M: Machine>(
        &mut self,
        machine: &mut M,
        op: Op,
        first: Result<Verdict, Violation>,
        question: Question<'_>,
    ) -> Answered {
        let mut verdict = first;
        for _ in 0..ASK_LIMIT {
            let performed = self.settle(machine);
            let violation = match (verdict, op) {
                (Ok(Verdict::Passthrough), _) => return Answered::Perform,
                (Ok(Verdict::Value(value)), Op::Read) => return Answered::Settled(value),
                (Ok(Verdict::Done), Op::Write(_)) => return Answered::Settled(0),
                (Ok(Verdict::Again), _) if performed > 0 => {
                    verdict = self.call(machine, question);
                    continue;
                }
                (Ok(_), _) => MISFIT,
                (Err(violation), _) => violation,
            };
            self.refuse(violation);
            return Answered::REFUSED;
        }
        self.settle(machine);
        self.refuse(ENDLESS);
        Answered::REFUSED
    }

    /// Offers the data, and then what is left of it, until all is transferred or refused. Gives the bytes transferred.
    fn ask_string<M: Machine>(&mut self, machine: &mut M, region: usize, port: u16, mut io: StringIo<'_>) -> usize {
        let Some(offset) = self.offset(region, port) else { return 0 };
        let region = RegionId(region as u8);
        let mut done = 0_usize;
        let mut idle = 0_usize;
        loop {
            let (rest, left_bytes, element_bytes) = rest(&mut io, done);
            if left_bytes == 0 {
                return done;
            }
            let answer = self.call(machine, |mediator, cx| mediator.on_string(cx, region, offset, rest));
            let performed = self.settle(machine);
            let violation = match answer {
                Err(violation) => violation,
                Ok(0) if performed > 0 && idle < ASK_LIMIT => {
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
            self.refuse(violation);
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
