//! Hypercalls by name: which there are, who may make them, and how parameters and answers cross the border. The interface is
//! `abi::hypercall`'s.

use crate::string::{RFLAGS_AC, is_canonical};
use crate::walk::{self, PageAccess};
use crate::{Cpu, Exception, Gpr, Guest, Machine, Vcpu, instruction};
use abi::hypercall::{Error, FIRST_NAMED, LOOKUP, MAX_ANSWER_BYTES, MAX_PARAMETER_BYTES, VERSION, VERSION_1};
use alloc::vec::Vec;
use mediator::{Gpa, GuestMemory, Instant};
use spin::Once;

/// Who makes a call.
pub struct Caller<'a> {
    pub guest: &'a Guest,
    pub now: Instant,
    /// Number of the CPU that it runs on.
    pub cpu: usize,
}

/// Answers a call: writes to the buffer, and gives how many bytes. The parameters are a copy of its own; the buffer is as long as
/// the caller's, at most [`MAX_ANSWER_BYTES`]. It holds no lock when it returns, never waits for the guest, and never panics.
pub type Handler = fn(&Caller<'_>, parameters: &[u8], answer: &mut [u8]) -> Result<usize, Error>;

/// A hypercall with a name.
pub struct Call {
    /// Of `abi::hypercall::name`.
    pub name: &'static str,
    pub handler: Handler,
}

/// Which programs of the guest may make a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callers {
    /// Those at CPL 0.
    Kernel,
    Any,
}

const MOST_CALLS: usize = 16;
static CALLS: [Once<&'static Call>; MOST_CALLS] = [const { Once::new() }; MOST_CALLS];

/// Adds a call to those that a guest may be allowed. For init functions of the phase `vmmcall`.
///
/// # Errors
/// One sentence: there are too many.
pub fn register(call: &'static Call) -> Result<(), &'static str> {
    let is_taken = CALLS.iter().any(|place| {
        let mut is_ours = false;
        place.call_once(|| {
            is_ours = true;
            call
        });
        is_ours
    });
    if is_taken { Ok(()) } else { Err("too many hypercalls are linked") }
}

/// Those that a guest may make; the position of one is its number.
#[derive(Default)]
pub(crate) struct Allowed(Vec<(&'static Call, Callers)>);

impl Allowed {
    /// False: there is no such call.
    pub fn allow(&mut self, name: &str, callers: Callers) -> bool {
        let call = CALLS.iter().filter_map(Once::get).find(|call| call.name == name);
        self.0.extend(call.map(|call| (*call, callers)));
        call.is_some()
    }

    #[inline]
    pub fn any(&self, is_kernel: bool) -> bool {
        self.0.iter().any(|(_, callers)| is_kernel || *callers == Callers::Any)
    }

    /// The call of this number, if the caller may make it.
    fn get(&self, number: u64, is_kernel: bool) -> Option<&'static Call> {
        let index = usize::try_from(number.checked_sub(FIRST_NAMED)?).ok()?;
        let (call, callers) = self.0.get(index)?;
        (is_kernel || *callers == Callers::Any).then_some(*call)
    }

    fn lookup(&self, name: &[u8], is_kernel: bool) -> Result<u64, Error> {
        let numbers = FIRST_NAMED..FIRST_NAMED.saturating_add(MOST_CALLS as u64);
        let mut calls = numbers.filter_map(|number| Some((number, self.get(number, is_kernel)?)));
        calls.find(|(_, call)| call.name.as_bytes() == name).map(|(number, _)| number).ok_or(Error::Unknown)
    }
}

/// Carries out the call that the registers tell; gives what becomes of RAX.
///
/// # Errors
/// What the caller's access to its buffers raises; nothing has happened then.
pub(crate) fn perform<V: Vcpu, M: Machine>(cpu: &mut Cpu<'_>, vcpu: &mut V, machine: &mut M) -> Result<u64, Exception> {
    let registers = Registers::of(vcpu);
    let is_kernel = vcpu.cpl() == 0;
    let result = match registers.number {
        VERSION => Ok(VERSION_1),
        number => match (number == LOOKUP, cpu.guest.calls.get(number, is_kernel)) {
            (false, None) => Err(Error::Unknown),
            (_, call) => with_buffers(cpu, vcpu, machine, &registers, |caller, parameters, answer| match call {
                Some(call) => (call.handler)(caller, parameters, answer).map(|len_bytes| (0, len_bytes)),
                None => caller.guest.calls.lookup(parameters, is_kernel).map(|number| (number, 0)),
            })?,
        },
    };
    Ok(result.unwrap_or_else(Error::code) & registers.mask)
}

/// What a call says in registers.
struct Registers {
    number: u64,
    parameters: [u64; 2],
    answer: [u64; 2],
    mask: u64,
}

impl Registers {
    fn of<V: Vcpu>(vcpu: &V) -> Self {
        let mask = if instruction::is_64_bit(vcpu) { u64::MAX } else { u32::MAX.into() };
        let get = |register| vcpu.gpr(register) & mask;
        Self {
            number: get(Gpr::Rax),
            parameters: [Gpr::Rbx, Gpr::Rcx].map(get),
            answer: [Gpr::Rdx, Gpr::Rsi].map(get),
            mask,
        }
    }
}

/// Copies the parameters, lets `answer` look at them, and copies to the caller what it has answered: `(number, length of the
/// answer)`, of which one is 0.
fn with_buffers<V: Vcpu, M: Machine>(
    cpu: &mut Cpu<'_>,
    vcpu: &V,
    machine: &mut M,
    registers: &Registers,
    answer: impl FnOnce(&Caller<'_>, &[u8], &mut [u8]) -> Result<(u64, usize), Error>,
) -> Result<Result<u64, Error>, Exception> {
    let ([from, from_bytes], [to, to_bytes]) = (registers.parameters, registers.answer);
    if from_bytes > MAX_PARAMETER_BYTES as u64 {
        return Ok(Err(Error::TooLong));
    }
    let (from_bytes, to_bytes) = (from_bytes as usize, to_bytes.min(MAX_ANSWER_BYTES as u64) as usize);
    let from = Buffer::locate(cpu.guest, vcpu, machine, from, from_bytes, false)?;
    let to = Buffer::locate(cpu.guest, vcpu, machine, to, to_bytes, true)?;
    if to_bytes > 0 && cpu.answer.is_empty() {
        if cpu.answer.try_reserve_exact(MAX_ANSWER_BYTES).is_err() {
            return Ok(Err(Error::Unavailable));
        }
        cpu.answer.resize(MAX_ANSWER_BYTES, 0);
    }
    let caller = Caller { guest: cpu.guest, now: machine.now(), cpu: machine.cpu_number() };
    let (Some(parameters), Some(room)) = (cpu.buffer.get_mut(..from_bytes), cpu.answer.get_mut(..to_bytes)) else {
        return Ok(Err(Error::Unavailable));
    };
    let memory = machine.memory();
    let result = from.read(memory, parameters).and_then(|()| {
        to.check(memory)?;
        let (number, len_bytes) = answer(&caller, parameters, room)?;
        to.write(memory, room.get(..len_bytes).ok_or(Error::BufferTooSmall)?)?;
        Ok(number | len_bytes as u64)
    });
    // A line for the shell, or what it has led to, is nobody else's.
    parameters.fill(0);
    Ok(result)
}

/// A buffer of an answer reaches into so many pages at most.
const MOST_PIECES: usize = MAX_ANSWER_BYTES / PAGE_BYTES as usize + 1;
const PAGE_BYTES: u64 = 4096;

/// Where a buffer of the caller's lies.
struct Buffer {
    /// One a page; those that are not used are empty.
    pieces: [(Gpa, usize); MOST_PIECES],
}

impl Buffer {
    fn locate<V: Vcpu, M: Machine>(
        guest: &Guest,
        vcpu: &V,
        machine: &mut M,
        linear: u64,
        len_bytes: usize,
        write: bool,
    ) -> Result<Self, Exception> {
        let mut buffer = Self { pieces: [(Gpa(0), 0); MOST_PIECES] };
        if len_bytes == 0 {
            return Ok(buffer);
        }
        let last = linear.checked_add((len_bytes as u64).saturating_sub(1));
        let is_address = |last| match instruction::is_64_bit(vcpu) {
            true => is_canonical(vcpu, linear) && is_canonical(vcpu, last),
            false => last <= u32::MAX.into(),
        };
        if !last.is_some_and(is_address) {
            return Err(Exception::GeneralProtection(0));
        }
        let alignment_check = vcpu.rflags() & RFLAGS_AC != 0;
        let access = PageAccess { write, fetch: false, user: vcpu.cpl() == 3, alignment_check };
        let (mut at, mut left) = (linear, len_bytes);
        for piece in &mut buffer.pieces {
            if left == 0 {
                break;
            }
            let in_page = PAGE_BYTES.wrapping_sub(at & PAGE_BYTES.wrapping_sub(1)) as usize;
            let found = walk::translate(machine.memory(), guest.paging, vcpu.control(), access, at);
            let found = found.map_err(|error| Exception::PageFault { error, address: at })?;
            *piece = (found, left.min(in_page));
            left = left.saturating_sub(piece.1);
            at = at.wrapping_add(piece.1 as u64);
        }
        Ok(buffer)
    }

    fn read<G: GuestMemory>(&self, memory: &mut G, mut to: &mut [u8]) -> Result<(), Error> {
        for (at, len_bytes) in self.pieces {
            let Some((piece, rest)) = to.split_at_mut_checked(len_bytes) else { break };
            memory.read(at, piece).map_err(|_| Error::NoRam)?;
            to = rest;
        }
        Ok(())
    }

    /// Is it RAM, so that what the call does is not done for nothing?
    fn check<G: GuestMemory>(&self, memory: &mut G) -> Result<(), Error> {
        let used = self.pieces.iter().filter(|(_, len_bytes)| *len_bytes > 0);
        used.flat_map(|(at, len_bytes)| [at.0, at.0.saturating_add(*len_bytes as u64).saturating_sub(1)])
            .try_for_each(|at| memory.read(Gpa(at), &mut [0]).map_err(|_| Error::NoRam))
    }

    /// Writes to its beginning.
    fn write<G: GuestMemory>(&self, memory: &mut G, mut from: &[u8]) -> Result<(), Error> {
        for (at, len_bytes) in self.pieces {
            let (piece, rest) = from.split_at_checked(len_bytes).unwrap_or((from, &[]));
            if piece.is_empty() {
                break;
            }
            memory.write(at, piece).map_err(|_| Error::NoRam)?;
            from = rest;
        }
        Ok(())
    }
}
