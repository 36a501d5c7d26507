//! One CPU of a guest and the dispatcher: one `match` from an exit to the file that answers it.

use crate::counters::ExitKind;
use crate::hooks::Owners;
use crate::instruction::CodePage;
use crate::mmio::DecodeCache;
use crate::{Counters, Exception, Exit, Guest, Machine, Vcpu};
use crate::{cpuid, hypercall, instruction, io, msr, nested_fault, string, task_switch};
use alloc::sync::Arc;
use alloc::vec::Vec;
use x86::mtrr::MtrrRegisters;

/// What follows an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The guest runs on.
    Resume,
    /// Another CPU of the VMM wants something of this one; the run loop looks what, and then the guest runs on.
    Signal,
    /// The guest puts the machine to sleep; [`crate::Bus::take_sleep`] tells more.
    Sleep,
    /// Triple fault: reset the machine as hardware would.
    Reset,
    /// The CPU refuses to run the guest, or left it for a cause nobody asked for; the log says which.
    Stop,
}

/// What a handler gives: the outcome, or the exception that the instruction raises instead.
pub(crate) type Answer = Result<(), Exception>;

/// One CPU of a guest, as the dispatcher keeps it.
pub struct Cpu<'g> {
    pub guest: &'g Guest,
    /// Of this CPU; the guest sums them up.
    pub counters: Arc<Counters>,
    pub(crate) code: CodePage,
    /// The MTRRs, once the guest has asked for one.
    pub(crate) memory_types: Option<MtrrRegisters>,
    pub(crate) decoded: DecodeCache,
    pub(crate) owners: Owners,
    /// One page on its way from or to guest memory: string I/O, parameters of a hypercall.
    pub(crate) buffer: Vec<u8>,
    /// Interrupts leave the guest for the sake of controllers.
    pub(crate) watches: bool,
    /// Of a hypercall, on its way to the guest; empty before the first.
    pub(crate) answer: Vec<u8>,
}

impl<'g> Cpu<'g> {
    /// CPU `number` of `guest`.
    pub fn new(guest: &'g Guest, number: usize) -> Self {
        Self {
            guest,
            counters: guest.add_counters(number),
            code: CodePage::NONE,
            memory_types: None,
            decoded: DecodeCache::EMPTY,
            owners: Owners::NONE,
            buffer: alloc::vec![0; string::PAGE_BYTES],
            watches: false,
            answer: Vec::new(),
        }
    }

    /// The firmware has set this CPU's MTRRs anew, and the guest is to see its values: after a resume from S3.
    pub fn forget_memory_types(&mut self) {
        self.memory_types = None;
    }

    /// Answers one exit. Never waits and never panics, whatever the guest did.
    #[inline(always)]
    pub fn on_exit<V: Vcpu, M: Machine>(&mut self, vcpu: &mut V, machine: &mut M, exit: Exit) -> Outcome {
        let answer = match exit {
            Exit::Cpuid => cpuid::on_cpuid(self, vcpu, machine),
            Exit::Io => return io::on_io(self, vcpu, machine),
            Exit::ReadMsr => msr::on_read(self, vcpu, machine),
            Exit::WriteMsr => msr::on_write(self, vcpu, machine),
            Exit::Hypercall => hypercall::on_hypercall(self, vcpu, machine),
            Exit::VirtualizationInstruction => self.on_virtualization_instruction(),
            Exit::Answered(kind) => {
                self.counters.count(kind);
                self.before_interrupts(machine);
                return Outcome::Resume;
            }
            Exit::NestedFault => match nested_fault::on_nested_fault(self, vcpu, machine) {
                Ok(Outcome::Resume) => Ok(()),
                Ok(end) => return end,
                Err(exception) => Err(exception),
            },
            Exit::TaskSwitch => match task_switch::on_task_switch(self, vcpu, machine) {
                Some(outcome) => return outcome,
                // The CPU crate contradicts itself.
                None => return self.on_refusal(vcpu, 0),
            },
            Exit::Halt => instruction::on_hlt(self, vcpu, machine),
            Exit::InvalidateCaches => instruction::on_invd(self, vcpu, machine),
            Exit::Signal => {
                self.counters.count(ExitKind::Signal);
                self.before_interrupts(machine);
                return Outcome::Signal;
            }
            Exit::Shutdown => return self.on_shutdown(vcpu),
            Exit::Init => return self.on_init(vcpu),
            Exit::InvalidState => return self.on_invalid_state(vcpu),
            Exit::Unexpected(code) => return self.on_refusal(vcpu, code),
        };
        if let Err(exception) = answer {
            vcpu.inject(exception);
        }
        Outcome::Resume
    }

    /// VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA and their like: the guest is told that it has none.
    #[cold]
    fn on_virtualization_instruction(&mut self) -> Answer {
        self.counters.count(ExitKind::VirtualizationInstruction);
        Err(Exception::InvalidOpcode)
    }

    #[cold]
    pub(crate) fn on_shutdown<V: Vcpu>(&mut self, vcpu: &V) -> Outcome {
        self.counters.count(ExitKind::Shutdown);
        log::warn!("triple fault at {:#x}: the machine is reset", vcpu.rip());
        Outcome::Reset
    }

    /// An INIT that the CPU took would restart it at the reset vector outside of the virtual machine, with all of VMM
    /// memory still there; so it is made a reset of the machine, which is what guests want of it.
    #[cold]
    fn on_init<V: Vcpu>(&mut self, vcpu: &V) -> Outcome {
        self.counters.count(ExitKind::Init);
        log::warn!("INIT at {:#x}: the machine is reset", vcpu.rip());
        Outcome::Reset
    }

    /// A guest can bring itself there (CS.L with CS.D, then long mode), so it must not stop the VMM.
    #[cold]
    fn on_invalid_state<V: Vcpu>(&mut self, vcpu: &V) -> Outcome {
        self.counters.count(ExitKind::InvalidState);
        log::error!(
            "the CPU refuses the guest's state at {:#x}: {:x?}; the machine is reset",
            vcpu.rip(),
            vcpu.control()
        );
        Outcome::Reset
    }

    #[cold]
    fn on_refusal<V: Vcpu>(&mut self, vcpu: &V, code: u32) -> Outcome {
        self.counters.count(ExitKind::Unexpected);
        log::error!("the CPU left the guest for good at {:#x}: exit {code:#x}; {:x?}", vcpu.rip(), vcpu.control());
        Outcome::Stop
    }
}
