//! One guest and the dispatcher: one `match` from an exit to the file that answers it.

use crate::counters::{ExitKind, Notices};
use crate::hypercall::Firmware;
use crate::instruction::CodePage;
use crate::walk::PagingFeatures;
use crate::{Bus, Counters, Exception, Exit, FirmwareCall, Machine, Policy, Vcpu};
use crate::{cpuid, hypercall, instruction, io, msr, nested_fault, string, task_switch};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// What follows an exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The guest runs on.
    Resume,
    /// Triple fault: reset the machine as hardware would.
    Reset,
    /// The CPU refuses to run the guest, or left it for a cause nobody asked for; the log says which.
    Stop,
}

/// What a handler gives: the outcome, or the exception that the instruction raises instead.
pub(crate) type Answer = Result<(), Exception>;

/// The state of one guest; nothing of it is global.
pub struct Guest {
    pub bus: Bus,
    pub counters: Counters,
    pub(crate) policy: Policy,
    pub(crate) hypercalls: bool,
    pub(crate) defects: bool,
    pub(crate) firmware: Option<Firmware>,
    pub(crate) paging: PagingFeatures,
    /// Bits of EFER that the guest may set.
    pub(crate) efer_bits: u64,
    pub(crate) code: CodePage,
    /// One page of string I/O on its way between guest memory and ports.
    pub(crate) buffer: Vec<u8>,
    pub(crate) notices: Notices,
}

impl Guest {
    /// A guest on `machine` whose ports all pass. `policy`: that of the CPU's vendor. `hypercalls`: debug hypercalls are
    /// answered.
    pub fn new<M: Machine>(machine: &mut M, policy: Policy, hypercalls: bool) -> Self {
        Self {
            bus: Bus::new(),
            counters: Counters::default(),
            policy,
            hypercalls,
            defects: false,
            firmware: None,
            paging: PagingFeatures::detect(machine),
            efer_bits: msr::efer_bits(machine),
            code: CodePage::NONE,
            buffer: alloc::vec![0; string::PAGE_BYTES],
            notices: Notices::default(),
        }
    }

    /// Where debug hypercalls are answered, one of them provokes defects of the VMM.
    pub fn allow_defects(&mut self) {
        self.defects = true;
    }

    /// The hypercall instruction at the linear address `at` calls `handler`, whether or not debug hypercalls are answered.
    pub fn set_firmware_call(&mut self, at: u64, handler: Box<dyn FirmwareCall>) {
        self.firmware = Some(Firmware { at, handler });
    }

    /// Writes the exit counters to the log.
    pub fn log_counters(&self) {
        for (name, count) in self.counters.iter() {
            log::info!("exits: {name}: {count}");
        }
    }

    /// Answers one exit. Never waits and never panics, whatever the guest did.
    #[inline(always)]
    pub fn on_exit<V: Vcpu, M: Machine>(&mut self, vcpu: &mut V, machine: &mut M, exit: Exit) -> Outcome {
        let answer = match exit {
            Exit::Cpuid => cpuid::on_cpuid(self, vcpu, machine),
            Exit::Io => io::on_io(self, vcpu, machine),
            Exit::ReadMsr => msr::on_read(self, vcpu, machine),
            Exit::WriteMsr => msr::on_write(self, vcpu, machine),
            Exit::Hypercall => hypercall::on_hypercall(self, vcpu, machine),
            Exit::VirtualizationInstruction => self.on_virtualization_instruction(),
            Exit::Answered(kind) => {
                self.counters.count(kind);
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
