//! IN and OUT.

use crate::cpu::Answer;
use crate::{Cpu, ExitKind, Gpr, IoExit, Machine, Vcpu, gpr, string};
use mediator::Width;

#[inline(always)]
pub(crate) fn on_io<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Answer {
    let io = vcpu.io();
    if io.string {
        // It asks for the details again: handed over, they would go through memory in every exit.
        return string::on_string(cpu, vcpu, machine);
    }
    on_port(cpu, vcpu, machine, io);
    Ok(())
}

/// A single value.
#[inline(always)]
fn on_port<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M, io: IoExit) {
    cpu.counters.count(ExitKind::Port);
    if io.input {
        match io.width {
            // Of its own: with the width known this is half of the instructions.
            Width::Byte => read(cpu, vcpu, machine, io.port, Width::Byte),
            width => read(cpu, vcpu, machine, io.port, width),
        }
    } else {
        let value = vcpu.gpr(Gpr::Rax) & io.width.ones();
        cpu.guest.bus.write(machine, io.port, io.width, value as u32);
    }
    vcpu.skip_instruction(io.instruction_len);
}

#[inline(always)]
fn read<V: Vcpu, M: Machine>(cpu: &Cpu<'_>, vcpu: &mut V, machine: &mut M, port: u16, width: Width) {
    let value = cpu.guest.bus.read(machine, port, width);
    gpr::set_low(vcpu, Gpr::Rax, width, u64::from(value));
}
