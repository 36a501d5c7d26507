//! What the VMM holds.

use crate::config::{Config, IOADDR, IODATA};
use crate::model::Model;
use crate::regs::REGISTERS;
use crate::spec::REGISTERS_BYTES;
use crate::traffic::Traffic;
use alloc::boxed::Box;
use alloc::string::String;
use mediator::net::{CardCounters, CardInfo, NetController, NetPolicy, PolicyError};
use mediator::{
    Access, Completions, ConfigAccess, Ctx, Instant, Mediator, Op, RegionId, StringIo, Verdict, Violation, Width, Work,
    WorkError,
};

/// A card, guarded.
pub struct E1000 {
    pub name: String,
    pub config: Config,
    pub model: Model,
    pub traffic: Traffic,
    /// The register that the ports lead to.
    pub io_addr: u32,
}

impl E1000 {
    fn read(&mut self, cx: &mut Ctx<'_>, offset: u32) -> u32 {
        self.traffic.before_read(cx, &mut self.model, offset);
        let value = self.model.read(offset);
        self.traffic.signal(cx, &self.model);
        value
    }

    fn write(&mut self, cx: &mut Ctx<'_>, offset: u32, value: u32) {
        self.traffic.before_write(cx, &mut self.model, offset);
        self.model.write(offset, value);
        self.traffic.after_write(cx, &mut self.model, offset);
    }

    /// An access by the ports (SDM s. 13.2.2).
    fn port(&mut self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        let Access { offset, width, op, .. } = access;
        let value = match (offset, width, op) {
            (IOADDR, Width::Dword, Op::Write(value)) => {
                self.io_addr = value as u32;
                0
            }
            (IOADDR, Width::Dword, Op::Read) => self.io_addr,
            (IODATA, Width::Dword, _) if self.io_addr < REGISTERS_BYTES => self.dword(cx, self.io_addr & !3, op),
            (_, _, Op::Read) => u32::MAX,
            _ => 0,
        };
        Ok(match op {
            Op::Read => Verdict::Value(u64::from(value) & width.ones()),
            Op::Write(_) => Verdict::Done,
        })
    }

    /// A dword of the registers, by which all of it goes.
    fn dword(&mut self, cx: &mut Ctx<'_>, offset: u32, op: Op) -> u32 {
        match op {
            Op::Read => self.read(cx, offset),
            Op::Write(value) => {
                self.write(cx, offset, value as u32);
                0
            }
        }
    }
}

impl Mediator for E1000 {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_access(&mut self, cx: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        let Access { region, offset, width, op } = access;
        let answer = |value| match op {
            Op::Read => Verdict::Value(value),
            Op::Write(_) => Verdict::Done,
        };
        let ports = self.config.is_ports(region);
        if ports && self.config.decodes_ports() {
            return self.port(cx, access);
        }
        if ports || !self.config.guard.decodes() {
            return Ok(answer(width.ones()));
        }
        if region != REGISTERS {
            return self.config.on_other(cx, access);
        }
        match (op, width) {
            (_, Width::Dword) => Ok(answer(self.dword(cx, offset, op).into())),
            (Op::Read, Width::Qword) => {
                let low = self.dword(cx, offset, op);
                let high = self.dword(cx, offset.saturating_add(4), op);
                Ok(answer(u64::from(low) | u64::from(high) << 32))
            }
            (Op::Write(value), Width::Qword) => {
                self.dword(cx, offset, op);
                self.dword(cx, offset.saturating_add(4), Op::Write(value >> 32));
                Ok(Verdict::Done)
            }
            (Op::Read, _) => {
                let value = self.dword(cx, offset & !3, op);
                let shift = (offset & 3).wrapping_mul(8);
                Ok(answer(u64::from(value.wrapping_shr(shift)) & width.ones()))
            }
            // The cards take dwords (SDM s. 13.2).
            (Op::Write(_), _) => Err(Violation { what: "e1000: register written in a part", detail: offset.into() }),
        }
    }

    fn on_string(&mut self, _: &mut Ctx<'_>, _: RegionId, offset: u32, _: StringIo<'_>) -> Result<usize, Violation> {
        Err(Violation { what: "e1000: string access", detail: offset.into() })
    }

    fn on_config(&mut self, cx: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation> {
        self.config.on_config(cx, access, true)
    }

    fn completions(&self) -> Completions {
        Completions::TrappedRegister
    }

    fn on_interrupt(&mut self, cx: &mut Ctx<'_>) {
        self.traffic.after_access(cx, &mut self.model);
    }

    fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        self.config.on_resume(cx);
        self.model.reset();
        self.model.phy.reset();
        self.io_addr = 0;
        if !self.traffic.resume(cx, &mut self.model) {
            log::error!("{}: does not come back after sleep", self.name);
        }
    }

    fn on_work_done(&mut self, _: &mut Ctx<'_>, _: Work, _: Result<(), WorkError>) {}

    fn as_card(&mut self) -> Option<&mut dyn NetController> {
        Some(self)
    }
}

impl NetController for E1000 {
    fn card(&self) -> CardInfo {
        CardInfo { mac: self.traffic.card.mac, link_up: self.traffic.link_up }
    }

    fn set_policy(&mut self, cx: &mut Ctx<'_>, policy: NetPolicy) -> Result<(), PolicyError> {
        match policy {
            NetPolicy::Block => Ok(()),
            NetPolicy::Tunnel(tunnel) => self.traffic.begin(cx, &mut self.model, tunnel),
            NetPolicy::Pass => {
                // The guest's own filters decide, which are the model's.
                self.traffic.card.takes_all = true;
                self.traffic.begin(cx, &mut self.model, Box::new(net::Straight::default()))
            }
        }
    }

    fn poll(&mut self, cx: &mut Ctx<'_>) {
        self.traffic.poll(cx, &mut self.model);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.traffic.poll_timeout(&self.model)
    }

    fn counters(&self) -> CardCounters {
        self.traffic.counters
    }
}
