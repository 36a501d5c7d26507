//! Guest accesses to what a mediator guards: asked, answered, and refused where they break its rules.

use crate::bus::owner;
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

/// Reads give all ones, writes vanish.
const REFUSED: Answered = Answered::Settled(u64::MAX);

/// A register of a mediated controller.
#[derive(Clone, Copy)]
struct Register {
    controller: usize,
    region: RegionId,
    offset: u16,
}

impl Bus {
    #[inline]
    fn register(&self, region_owner: u8, port: u16) -> Option<Register> {
        let region = self.regions.get(usize::from(region_owner.wrapping_sub(owner::FIRST_REGION)))?;
        let offset = port.wrapping_sub(region.base.get()?);
        Some(Register { controller: region.controller, region: region.id, offset })
    }

    #[inline]
    pub(crate) fn read_region<M: Machine>(&mut self, machine: &mut M, owner: u8, port: u16, width: Width) -> u32 {
        match self.ask_access(machine, owner, port, width, Op::Read) {
            Answered::Perform => machine.ports().read(port, width),
            Answered::Settled(value) => (value & width.ones()) as u32,
        }
    }

    #[inline]
    pub(crate) fn write_region<M: Machine>(&mut self, machine: &mut M, owner: u8, port: u16, width: Width, value: u32) {
        let op = Op::Write(u64::from(value) & width.ones());
        if self.ask_access(machine, owner, port, width, op) == Answered::Perform {
            machine.ports().write(port, width, value);
        }
    }

    #[inline]
    fn ask_access<M: Machine>(&mut self, machine: &mut M, owner: u8, port: u16, width: Width, op: Op) -> Answered {
        let Some(Register { controller, region, offset }) = self.register(owner, port) else { return REFUSED };
        let access = Access { region, offset, width, op };
        self.ask(machine, controller, op, |mediator, cx| mediator.on_access(cx, access))
    }

    pub(crate) fn ask_config<M: Machine>(
        &mut self,
        machine: &mut M,
        controller: usize,
        access: ConfigAccess,
    ) -> Answered {
        self.ask(machine, controller, access.op, |mediator, cx| mediator.on_config(cx, access))
    }

    /// Asks until there is an answer; work that was pushed is performed before the access is.
    #[inline]
    fn ask<M: Machine>(
        &mut self,
        machine: &mut M,
        controller: usize,
        op: Op,
        question: impl Fn(&mut dyn DiskController, &mut Ctx<'_>) -> Result<Verdict, Violation>,
    ) -> Answered {
        if self.is_quarantined(controller) {
            return REFUSED;
        }
        let mut violation = ENDLESS;
        for _ in 0..ASK_LIMIT {
            let Some(verdict) = self.call(machine, controller, &question) else { return REFUSED };
            let performed = self.settle(machine, controller);
            violation = match (verdict, op) {
                (Ok(Verdict::Value(value)), Op::Read) => return Answered::Settled(value),
                (Ok(Verdict::Done), Op::Write(_)) => return Answered::Settled(0),
                (Ok(Verdict::Passthrough), _) => return Answered::Perform,
                (Ok(Verdict::Again), _) if performed > 0 => continue,
                (Ok(_), _) => MISFIT,
                (Err(violation), _) => violation,
            };
            break;
        }
        self.refuse(controller, violation);
        REFUSED
    }

    #[inline]
    fn is_quarantined(&self, controller: usize) -> bool {
        self.controllers.get(controller).is_none_or(|controller| controller.refusals.is_quarantined())
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
        if self.is_quarantined(controller) {
            return 0;
        }
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
