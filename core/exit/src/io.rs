//! IN and OUT.

use crate::sleep::Written;
use crate::{Cpu, ExitKind, Gpr, IoExit, Machine, Outcome, Vcpu, gpr, string};
use mediator::Width;

#[inline(always)]
pub(crate) fn on_io<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Outcome {
    let io = vcpu.io();
    if io.string {
        // It asks for the details again: handed over, they would go through memory in every exit.
        return string::on_string(cpu, vcpu, machine).unwrap_or_else(|exception| {
            vcpu.inject(exception);
            Outcome::Resume
        });
    }
    cpu.counters.count(ExitKind::Port);
    // Each width by itself: where it is known, half of the instructions fall away.
    let outcome = match io.width {
        Width::Byte => on_port(cpu, vcpu, machine, io, Width::Byte),
        Width::Word => on_port(cpu, vcpu, machine, io, Width::Word),
        _ => on_port(cpu, vcpu, machine, io, Width::Dword),
    };
    vcpu.skip_io();
    outcome
}

/// A single value.
#[inline(always)]
fn on_port<V: Vcpu, M: Machine>(cpu: &Cpu<'_>, vcpu: &mut V, machine: &mut M, io: IoExit, width: Width) -> Outcome {
    if io.input {
        let value = cpu.guest.bus.read(machine, io.port, width);
        gpr::set_low(vcpu, Gpr::Rax, width, u64::from(value));
    } else {
        let value = vcpu.gpr(Gpr::Rax) as u32;
        return cpu.guest.bus.write(machine, io.port, width, value).into();
    }
    Outcome::Resume
}

impl From<Written> for Outcome {
    #[inline(always)]
    fn from(written: Written) -> Self {
        match written {
            Written::Done => Self::Resume,
            Written::Sleep => Self::Sleep,
            Written::Reset => Self::Reset,
        }
    }
}
