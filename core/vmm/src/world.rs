//! What all CPUs of the machine share, and the life of each: its virtual CPU, and the loop that answers for it.

use crate::failure::{self, Failure};
use crate::machine::{RealMachine, Shared};
use crate::sleep::Sleep;
use crate::tasks::Tasks;
use crate::vendor::{self, Vendor};
use crate::{cpus, reset};
use core::convert::Infallible;
use exit::{Guest, Outcome, Vcpu};
use hw::cpus::Cpu;

pub const NO_MEMORY: &str = "the memory kept for Shoji does not suffice; raise `reserve` in [memory]";

/// Lives as long as the VMM.
pub struct World<V: Vendor> {
    pub features: V::Features,
    pub guest: Guest,
    pub memory: &'static V::Memory,
    pub machine: &'static Shared,
    /// `None`: the guest has no way to let the machine sleep.
    pub sleep: Option<Sleep>,
}

impl<V: Vendor> World<V> {
    /// A virtual CPU for the CPU that runs this, in real mode at `segment`:0.
    pub fn make_vcpu(&self, segment: u16) -> Result<V::Vcpu, Failure> {
        let kicks = hw::cpus::all().len() > 1;
        let vcpu = V::vcpu(&self.features, self.memory, self.machine.io_permissions(), segment, kicks);
        Ok(vcpu.ok_or(NO_MEMORY)?)
    }

    /// The life of a CPU that another one has started. It comes back to leave the VMM.
    pub fn join(&self, cpu: &Cpu) -> Result<(), Failure> {
        V::enable(&self.features)?;
        let mut vcpu = self.make_vcpu(0)?;
        let mut machine = RealMachine::new(self.machine, cpu.number());
        // Before its first INIT, which finds it by this.
        self.guest.adopt_local_apic(&mut machine);
        cpu.arrive();
        let Waited { page: Some(page), .. } = self.wait(cpu, &mut vcpu, &mut machine, || cpu.wait_for_start())? else {
            vendor::disable();
            return Ok(());
        };
        vcpu.start(page);
        match self.serve(cpu, &mut vcpu) {
            Ok(never) => match never {},
            Err(failure) => failure::stop(failure),
        }
    }

    /// The exit loop.
    pub fn serve(&self, cpu: &Cpu, vcpu: &mut V::Vcpu) -> Result<Infallible, Failure> {
        let mut machine = RealMachine::new(self.machine, cpu.number());
        let mut guest_cpu = exit::Cpu::new(&self.guest, cpu.number());
        let mut tasks = Tasks::new(cpu);
        self.heed(cpu, vcpu, &mut machine, &mut guest_cpu)?;
        tasks.plan_anew(vcpu, &mut guest_cpu);
        tasks.look_after(vcpu, &mut machine, &mut guest_cpu);
        loop {
            let exit = vcpu.run();
            let outcome = guest_cpu.on_exit(vcpu, &mut machine, exit);
            if outcome != Outcome::Resume {
                self.attend(outcome, cpu, vcpu, &mut machine, &mut guest_cpu)?;
                // The CPU may have stood still, or time.
                tasks.plan_anew(vcpu, &mut guest_cpu);
            }
            tasks.look_after(vcpu, &mut machine, &mut guest_cpu);
        }
    }

    /// After an exit that is more than the guest's own matter. Out of the loop, which is the faster the less it holds.
    #[cold]
    #[inline(never)]
    fn attend(
        &self,
        outcome: Outcome,
        cpu: &Cpu,
        vcpu: &mut V::Vcpu,
        machine: &mut RealMachine,
        guest_cpu: &mut exit::Cpu<'_>,
    ) -> Result<(), Failure> {
        match outcome {
            Outcome::Resume => Ok(()),
            Outcome::Signal => self.heed(cpu, vcpu, machine, guest_cpu),
            Outcome::Sleep => self.sleep(cpu, vcpu, machine, guest_cpu),
            Outcome::Reset => reset::machine(),
            Outcome::Stop => Err("the guest cannot go on; the log tells why".into()),
        }
    }

    /// Does what other CPUs have asked for. A kick that comes while NMIs are admitted leaves no trace, so what it was for is looked
    /// for once more when none can come unseen.
    fn heed(
        &self,
        cpu: &Cpu,
        vcpu: &mut V::Vcpu,
        machine: &mut RealMachine,
        guest_cpu: &mut exit::Cpu<'_>,
    ) -> Result<(), Failure> {
        while cpu.is_asked() {
            let waited = self.wait(cpu, vcpu, machine, || cpu.serve())?;
            if waited.was_reset {
                guest_cpu.forget_memory_types();
            }
            if let Some(page) = waited.page {
                vcpu.start(page);
                self.guest.reset_local_apic(machine);
            }
        }
        Ok(())
    }

    /// Waits in the host for others; one of them may let the machine sleep meanwhile. Then the CPU waits for a startup IPI.
    fn wait(
        &self,
        cpu: &Cpu,
        vcpu: &mut V::Vcpu,
        machine: &mut RealMachine,
        wait: impl Fn() -> Option<u8>,
    ) -> Result<Waited, Failure> {
        vcpu.put_away();
        let mut has_slept = false;
        loop {
            let mut page = None;
            // SAFETY: `cpus::start` goes to the return point after a reset of this CPU, which comes only while it waits for others.
            // Nobody touches its stack.
            let was_reset = unsafe {
                entry::leave(|back| {
                    cpu.set_return_point(back.stack, back.entry);
                    page = V::while_nmis_come(&wait);
                })
            };
            cpu.clear_return_point();
            if !was_reset {
                vcpu.take_up();
                if has_slept {
                    vcpu.set_tsc_offset(0);
                }
                return Ok(Waited { page, was_reset: has_slept });
            }
            has_slept = true;
            cpus::settle()?;
            V::enable(&self.features)?;
            self.guest.adopt_local_apic(machine);
            cpu.arrive();
        }
    }

    /// The guest puts the machine to sleep.
    #[cold]
    fn sleep(
        &self,
        cpu: &Cpu,
        vcpu: &mut V::Vcpu,
        machine: &mut RealMachine,
        guest_cpu: &mut exit::Cpu<'_>,
    ) -> Result<(), Failure> {
        if let Some(sleep) = &self.sleep
            && sleep.perform(self, cpu, vcpu, machine)?
        {
            guest_cpu.forget_memory_types();
            vcpu.set_tsc_offset(0);
        }
        Ok(())
    }
}

/// How a wait for others has ended.
struct Waited {
    /// Of a startup IPI, if one has come.
    page: Option<u8>,
    /// The machine has slept meanwhile.
    was_reset: bool,
}
