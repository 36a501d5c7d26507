//! IN and OUT of a single value.

use crate::guest::Answer;
use crate::{ExitKind, Gpr, Guest, Machine, Vcpu, gpr};

#[inline(always)]
pub(crate) fn on_port<V: Vcpu, M: Machine>(guest: &mut Guest, vcpu: &mut V, machine: &mut M) -> Answer {
    let io = vcpu.io();
    guest.counters.count(ExitKind::Port);
    if io.input {
        let value = guest.bus.read(machine, io.port, io.width);
        gpr::set_low(vcpu, Gpr::Rax, io.width, u64::from(value));
    } else {
        let value = vcpu.gpr(Gpr::Rax) & io.width.ones();
        guest.bus.write(machine, io.port, io.width, value as u32);
    }
    vcpu.skip_instruction(io.instruction_len);
    Ok(())
}
