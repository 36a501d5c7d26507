//! IN and OUT.

use crate::sleep::Written;
use crate::{Cpu, Exception, ExitKind, Gpr, IoExit, Machine, Outcome, Vcpu, gpr, string};
use mediator::Width;

#[inline(always)]
pub(crate) fn on_io<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &mut V,
    machine: &mut M,
) -> Result<Outcome, Exception> {
    let io = vcpu.io();
    if io.string {
        // It asks for the details again: handed over, they would go through memory in every exit.
        return string::on_string(cpu, vcpu, machine).map(|()| Outcome::Resume);
    }
    Ok(on_port(cpu, vcpu, machine, io))
}

/// A single value.
#[inline(always)]
fn on_port<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M, io: IoExit) -> Outcome {
    cpu.counters.count(ExitKind::Port);
    let mut outcome = Outcome::Resume;
    if io.input {
        match io.width {
            // Of its own: with the width known this is half of the instructions.
            Width::Byte => read(cpu, vcpu, machine, io.port, Width::Byte),
            width => read(cpu, vcpu, machine, io.port, width),
        }
    } else {
        let value = vcpu.gpr(Gpr::Rax) & io.width.ones();
        if cpu.guest.bus.write(machine, io.port, io.width, value as u32) == Written::Sleep {
            outcome = Outcome::Sleep;
        }
    }
    vcpu.skip_instruction(io.instruction_len);
    outcome
}

#[inline(always)]
fn read<V: Vcpu, M: Machine>(cpu: &Cpu<'_>, vcpu: &mut V, machine: &mut M, port: u16, width: Width) {
    let value = cpu.guest.bus.read(machine, port, width);
    gpr::set_low(vcpu, Gpr::Rax, width, u64::from(value));
}
