//! What all CPUs of the machine share, and the life of each: its virtual CPU, and the loop that answers for it.

use crate::failure::{self, Failure};
use crate::machine::{RealMachine, Shared};
use crate::reset;
use crate::vendor::{self, Vendor};
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
        // Before its first INIT, which finds it by this.
        self.guest.adopt_local_apic(&mut RealMachine::new(self.machine, cpu.number()));
        cpu.arrive();
        let Some(page) = V::while_nmis_come(|| cpu.wait_for_start()) else {
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
        let mut guest_cpu = exit::Cpu::new(&self.guest);
        self.heed(cpu, vcpu, &mut machine);
        loop {
            let exit = vcpu.run();
            match guest_cpu.on_exit(vcpu, &mut machine, exit) {
                Outcome::Resume => {}
                Outcome::Signal => self.heed(cpu, vcpu, &mut machine),
                Outcome::Reset => reset::machine(),
                Outcome::Stop => return Err("the guest cannot go on; the log tells why".into()),
            }
        }
    }

    /// Does what other CPUs have asked for. A kick that comes while NMIs are admitted leaves no trace, so what it was for is looked
    /// for once more when none can come unseen.
    fn heed(&self, cpu: &Cpu, vcpu: &mut V::Vcpu, machine: &mut RealMachine) {
        while cpu.is_asked() {
            if let Some(page) = V::while_nmis_come(|| cpu.serve()) {
                vcpu.start(page);
                self.guest.reset_local_apic(machine);
            }
        }
    }
}
