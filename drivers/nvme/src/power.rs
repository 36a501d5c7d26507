//! Enabling, disabling and sleep (NVMe s. 7.3, 7.6.1).

use crate::controller::{Nvme, no_queues};
use crate::queues::{ADMIN, Cq, Sq};
use crate::registers::{self, Power, Registers};
use crate::ring::CQ_ENTRIES;
use crate::spec::{cc, reg};
use mediator::{Ctx, Violation};

impl Nvme {
    /// The guest writes the controller configuration.
    ///
    /// # Errors
    /// A [`Violation`]: what it wants is not offered, or comes too early.
    pub fn on_configuration(&mut self, cx: &mut Ctx<'_>, value: u32) -> Result<(), Violation> {
        let was = self.registers.cc & cc::EN != 0;
        let is = value & cc::EN != 0;
        match (was, is) {
            (false, true) => self.enable(cx, value)?,
            // Each time: the first write may have come while the function decoded nothing.
            (_, false) if self.registers.power != Power::Off => self.disable(cx),
            _ => {}
        }
        self.registers.cc = value;
        // A shutdown is the device's business.
        let now = registers::read(cx.device, reg::CC);
        if now & cc::SHN != value & cc::SHN {
            registers::write(cx.device, reg::CC, now & !cc::SHN | value & cc::SHN);
        }
        Ok(())
    }

    fn enable(&mut self, cx: &mut Ctx<'_>, value: u32) -> Result<(), Violation> {
        let refused = |what| Err(Violation { what, detail: u64::from(value) });
        if value & cc::FIXED_TO_0 != 0 {
            return refused("NVMe: enabled with a command set, page size or arbitration that is not offered");
        }
        if !self.forget_if_disabled(cx) {
            return refused("NVMe: enabled before it was disabled");
        }
        let (sq_ring, cq_ring) = self.registers.admin_rings();
        if sq_ring.entries < 2 || cq_ring.entries < 2 {
            return refused("NVMe: enabled with an admin queue of one entry");
        }
        let Some(sq) = Sq::new(cx.arena, Some(sq_ring), ADMIN) else {
            return refused("NVMe: no DMA memory for the admin queues");
        };
        let Some(cq) = Cq::new(cx.arena, Some(cq_ring), true, CQ_ENTRIES) else {
            sq.free(cx.arena);
            return refused("NVMe: no DMA memory for the admin queues");
        };
        self.start_with(cx, sq, cq);
        self.registers.power = Power::On;
        Ok(())
    }

    /// Enables the disabled controller with these admin queues.
    pub fn start_with(&mut self, cx: &mut Ctx<'_>, sq: Sq, cq: Cq) {
        self.registers.enable(cx.device, sq.shadow.bus_addr(), cq.shadow.bus_addr());
        if let (Some(place_sq), Some(place_cq)) = (self.sqs.first_mut(), self.cqs.first_mut()) {
            (*place_sq, *place_cq) = (Some(sq), Some(cq));
        }
    }

    /// The controller begins to forget all its queues. Until it is disabled it may still reach them.
    pub fn disable(&mut self, cx: &mut Ctx<'_>) {
        registers::disable(cx.device);
        for sq in self.sqs.iter_mut().flatten() {
            sq.stopped = true;
            sq.polled_until = None;
        }
        self.forget_if_disabled(cx);
    }

    /// Takes the queues back once the controller is disabled. False: it is not.
    pub fn forget_if_disabled(&mut self, cx: &mut Ctx<'_>) -> bool {
        let disabled = self.guard.decodes() && registers::is_disabled(cx.device);
        if disabled && self.registers.power != Power::Off {
            self.forget(cx);
        }
        disabled
    }

    fn forget(&mut self, cx: &mut Ctx<'_>) {
        self.registers.power = Power::Off;
        self.last_queue = ADMIN;
        self.open.clear();
        self.block.cancel(cx, |_| true);
        self.lose_own(cx, |_, _| true);
        core::mem::replace(&mut self.sqs, no_queues()).into_iter().flatten().for_each(|sq| sq.free(cx.arena));
        core::mem::replace(&mut self.cqs, no_queues()).into_iter().flatten().for_each(|cq| cq.free(cx.arena));
        self.busy = false;
    }

    /// The guest sees the controller for the first time: disabled, as we got it or would have liked to.
    pub fn hand_over(&mut self, cx: &mut Ctx<'_>) {
        if self.registers.power == Power::Ours {
            self.registers.power = Power::On;
            self.disable(cx);
        }
    }

    /// The function has lost its addresses and got them back: it was exchanged perhaps. It moves no sectors until it has told, as the
    /// guest asks it to, that it is the same one.
    ///
    /// # Errors
    /// A [`Violation`]: it is another one, and was switched off again.
    pub fn on_reset(&mut self, cx: &mut Ctx<'_>) -> Result<(), Violation> {
        log::warn!("{}: was reset or exchanged; no sectors until it has told which one it is", self.name);
        self.lose_everything(cx);
        self.is_known = false;
        self.namespaces.iter_mut().for_each(|ns| ns.is_known = false);
        if Registers::read(cx.device).is_some_and(|now| now.is_like(&self.registers)) {
            return Ok(());
        }
        self.guard.distrust(cx);
        Err(Violation {
            what: "NVMe: another controller than the one that was taken over; it is switched off",
            detail: 0,
        })
    }

    /// The machine has slept.
    pub fn resume(&mut self, cx: &mut Ctx<'_>) {
        self.guard.on_resume(cx);
        self.lose_everything(cx);
    }

    fn lose_everything(&mut self, cx: &mut Ctx<'_>) {
        (self.registers.cc, self.registers.aqa, self.registers.asq, self.registers.acq) = (0, 0, 0, 0);
        // It has lost its power and with it every address, and may not master the bus.
        self.forget(cx);
    }
}
