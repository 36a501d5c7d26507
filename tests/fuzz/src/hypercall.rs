//! Hypercalls by name: any registers, any page tables, any parameters, against a model of what the border lets through.
//!
//! Input: a byte of which bit 0 is the caller's privilege level and bit 1 the width of its code; 16 bytes, one for each page that
//! the caller has (bits 0 to 2: present, writable, user; bits 7:4: which page of memory); then calls of 12 bytes each, whose
//! registers they tell, and whose parameters are what lies in memory.

mod machine;

use abi::hypercall::{Error, FIRST_NAMED, LOOKUP, MAX_ANSWER_BYTES, MAX_PARAMETER_BYTES, VERSION, VERSION_1, name};
use exit::{Call, Callers, Cpu, Exception, Exit, Gpr, Guest, Outcome, Vcpu, register};
use logs::{Level, Logs};
use machine::{Caller, FIRST_PAGE, Memory, PAGE, PAGES, RAM_PAGES, Small};
use std::sync::{LazyLock, Once};
use zeroize::Zeroizing;

/// Gives back what it gets, the bits of each byte turned over.
static ECHO: Call = Call {
    name: "echo",
    handler: |_, parameters, answer| {
        let room = answer.get_mut(..parameters.len()).ok_or(Error::BufferTooSmall)?;
        room.iter_mut().zip(parameters).for_each(|(to, from)| *to = !*from);
        Ok(parameters.len())
    },
};
static LOG: Call = Call {
    name: name::LOG,
    handler: |caller, parameters, answer| logs::answer(&LOGS, "the last run", caller.now.0, parameters, answer),
};
static SHELL: Call = Call {
    name: name::SHELL,
    handler: |caller, parameters, answer| {
        let request = postcard::from_bytes(parameters).map_err(|_| Error::Parameters)?;
        match SERVER.handle(caller.now.0, request) {
            dbgsh::Step::Answer(told) => {
                postcard::to_slice(&told, answer).map(|told| told.len()).map_err(|_| Error::BufferTooSmall)
            }
            dbgsh::Step::Run(line) => panic!("nobody knows the key, but {line:?} is carried out"),
        }
    },
};
static LOGS: LazyLock<Logs> = LazyLock::new(|| {
    let logs = Logs::new();
    assert!(logs.start(8192));
    for n in 0..500_u64 {
        logs.write(0, Level::ALL[n as usize % 4], || n, format_args!("{}", "x".repeat(n as usize % 600)));
    }
    logs
});
static SERVER: LazyLock<dbgsh::Server> = LazyLock::new(|| {
    let key = dbgsh::SharedKey::new(Zeroizing::new(vec![0x5a; 32])).expect("it is long enough");
    dbgsh::Server::new(key, [3; 40])
});
const CALL_BYTES: usize = 12;

/// Runs one input.
pub fn run(data: &[u8]) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| [&ECHO, &LOG, &SHELL].into_iter().for_each(|call| register(call).expect("there is room")));
    let Some((&[flags], rest)) = data.split_first_chunk::<1>() else { return };
    let Some((pages, calls)) = rest.split_first_chunk::<{ PAGES as usize }>() else { return };
    let mut machine = Small::new(pages, calls);
    let mut guest = Guest::new(&mut machine, exit::Policy::default(), false);
    for call in [&ECHO, &LOG, &SHELL] {
        assert!(guest.allow_call(call.name, Callers::Any));
    }
    let mut cpu = Cpu::new(&guest, 0);
    for call in calls.chunks_exact(CALL_BYTES).take(16) {
        let mut caller = Caller::new(flags & 1 == 0, flags & 2 == 0);
        set_registers(&mut caller, call);
        one(&mut cpu, &mut machine, &mut caller, pages);
    }
}

/// Registers near what makes sense, or far from it.
fn set_registers(caller: &mut Caller, call: &[u8]) {
    let word = |at: usize| u64::from(u16::from_le_bytes([call[at], call[at + 1]]));
    let number = [VERSION, LOOKUP, FIRST_NAMED, FIRST_NAMED + 1, FIRST_NAMED + 2, FIRST_NAMED + 3, word(1), !word(1)];
    let address = |at: usize, how: u8| match how & 3 {
        3 => word(at).wrapping_shl(48) | word(at),
        _ => FIRST_PAGE + word(at) % ((PAGES + 1) * PAGE),
    };
    let length = |at: usize, how: u8| match how & 3 {
        0 => word(at) % 32,
        1 => word(at) % 5000,
        2 => word(at),
        _ => !word(at),
    };
    let how = call[11];
    caller.set_gpr(Gpr::Rax, number[usize::from(call[0] & 7)]);
    caller.set_gpr(Gpr::Rbx, address(3, how));
    caller.set_gpr(Gpr::Rcx, length(5, how >> 2));
    caller.set_gpr(Gpr::Rdx, address(7, how >> 4));
    caller.set_gpr(Gpr::Rsi, length(9, how >> 6));
}

/// One call, and what it may have done.
fn one(cpu: &mut Cpu<'_>, machine: &mut Small, caller: &mut Caller, pages: &[u8; PAGES as usize]) {
    let get = |register| caller.gpr(register) & caller.mask();
    let [number, from, from_bytes, to, to_bytes] = [Gpr::Rax, Gpr::Rbx, Gpr::Rcx, Gpr::Rdx, Gpr::Rsi].map(get);
    let view = View { pages, caller };
    let expected = match number {
        VERSION => Ok(Ok(VERSION_1)),
        LOOKUP | FIRST_NAMED..=0x112 if from_bytes > MAX_PARAMETER_BYTES as u64 => Ok(Err(Error::TooLong)),
        LOOKUP | FIRST_NAMED..=0x112 => {
            let to_bytes = to_bytes.min(MAX_ANSWER_BYTES as u64);
            let reached =
                view.reach(from, from_bytes, false).and_then(|from| Ok((from, view.reach(to, to_bytes, true)?)));
            reached.map(|(from, to)| expected(number, &machine.memory, &from, &to))
        }
        _ => Ok(Err(Error::Unknown)),
    };
    let mask = caller.mask();
    let before = machine.memory.bytes.clone();
    assert_eq!(cpu.on_exit(caller, machine, Exit::Hypercall), Outcome::Resume);
    let raised = caller.take_raised();
    match expected {
        Err(exception) => {
            assert_eq!(raised, Some(exception));
            assert!(machine.memory.same_data(&before), "something has happened before the exception");
        }
        Ok(expected) => {
            assert_eq!(raised, None);
            let rax = caller.gpr(Gpr::Rax);
            let result = Error::result(if mask == u64::MAX { rax } else { rax as u32 as i32 as i64 as u64 });
            if number <= FIRST_NAMED || result.is_err() {
                let wanted = expected.map_err(|error| error.code() & mask).unwrap_or_else(|code| code);
                let is_free = number > FIRST_NAMED && expected == Ok(u64::MAX);
                assert!(is_free || rax == wanted & mask, "{number:#x} gives {rax:#x} instead of {wanted:#x}");
            }
            changed_only(machine, &before, &View { pages, caller }, number, (to, to_bytes), result);
        }
    }
}

/// What RAX is; `Ok(u64::MAX)`: the call's own affair.
fn expected(number: u64, memory: &Memory, from: &[Place], to: &[Place]) -> Result<u64, Error> {
    let is_ram = |places: &[Place]| places.iter().all(|place| place.page < RAM_PAGES);
    if !is_ram(from) || !is_ram(to) {
        return Err(Error::NoRam);
    }
    let parameters: Vec<u8> = from.iter().map(|place| memory.bytes[place.offset()]).collect();
    let calls = [ECHO.name, LOG.name, SHELL.name];
    match number {
        LOOKUP => {
            let index = calls.iter().position(|name| name.as_bytes() == parameters).ok_or(Error::Unknown)?;
            Ok(FIRST_NAMED + index as u64)
        }
        FIRST_NAMED if parameters.len() > to.len() => Err(Error::BufferTooSmall),
        FIRST_NAMED => Ok(parameters.len() as u64),
        _ => Ok(u64::MAX),
    }
}

/// Nothing but the answer was written, where it belongs.
fn changed_only(
    machine: &Small,
    before: &[u8],
    view: &View<'_>,
    number: u64,
    answer: (u64, u64),
    result: Result<u64, Error>,
) {
    let written = match result {
        Ok(len) if number >= FIRST_NAMED => len,
        _ => 0,
    };
    assert!(written <= answer.1.min(MAX_ANSWER_BYTES as u64), "{written} bytes of {}", answer.1);
    let places = view.reach(answer.0, written, true).expect("it was reached");
    let mut bytes = machine.memory.bytes.clone();
    places.iter().for_each(|place| bytes[place.offset()] = before[place.offset()]);
    assert!(machine::same_data(&bytes, before), "memory that is not the answer's has changed");
}

/// A byte of memory.
struct Place {
    page: u64,
    offset: u64,
}

impl Place {
    fn offset(&self) -> usize {
        (self.page * PAGE + self.offset) as usize
    }
}

/// The caller's memory as the model knows it.
struct View<'a> {
    pages: &'a [u8; PAGES as usize],
    caller: &'a Caller,
}

impl View<'_> {
    fn reach(&self, linear: u64, len_bytes: u64, write: bool) -> Result<Vec<Place>, Exception> {
        if len_bytes == 0 {
            return Ok(Vec::new());
        }
        let is_canonical = |at: u64| !(1 << 47..!0 << 47).contains(&at);
        let is_address = |at: u64| if self.caller.long { is_canonical(at) } else { at <= u32::MAX.into() };
        let last = linear.checked_add(len_bytes - 1).filter(|last| is_address(*last));
        if last.is_none() || !is_address(linear) {
            return Err(Exception::GeneralProtection(0));
        }
        (0..len_bytes).map(|n| self.place(linear + n, write)).collect()
    }

    fn place(&self, linear: u64, write: bool) -> Result<Place, Exception> {
        let user = if self.caller.user { 4 } else { 0 };
        let fault = |present: u32| {
            Err(Exception::PageFault { error: present | if write { 2 } else { 0 } | user, address: linear })
        };
        let index = linear.checked_sub(FIRST_PAGE).map(|offset| offset / PAGE).filter(|index| *index < PAGES);
        let Some(page) = index.map(|index| self.pages[index as usize]) else { return fault(0) };
        if page & 1 == 0 {
            return fault(0);
        }
        if (self.caller.user && page & 4 == 0) || (write && page & 2 == 0) {
            return fault(1);
        }
        Ok(Place { page: u64::from(page >> 4), offset: linear % PAGE })
    }
}

/// A call of each kind by a program that may reach everything; a kernel's; pages that are not there.
pub fn seeds() -> Vec<Vec<u8>> {
    let call = |number: u8, from: u16, from_bytes: u16, to: u16, to_bytes: u16, how: u8| {
        let mut call = vec![number, 0, 0];
        [from, from_bytes, to, to_bytes].iter().for_each(|word| call.extend(word.to_le_bytes()));
        call.push(how);
        call
    };
    let all = |flags: u8, rights: u8| {
        let mut seed = vec![flags];
        seed.extend((0..PAGES as u8).map(|page| page << 4 | rights));
        for number in 0..8 {
            seed.extend(call(number, 0, 4, 0x1ffe, 100, 0b0100_0000));
            seed.extend(call(number, 0xffd, 2000, 0x3000, 4999, 0b0100_0100));
        }
        seed
    };
    vec![all(0, 7), all(1, 3), all(3, 7), all(0, 5), all(0, 3), all(2, 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model is worth something only if calls come through.
    #[test]
    fn a_call_of_the_seeds_echoes() {
        let pages: [u8; PAGES as usize] = std::array::from_fn(|page| (page as u8) << 4 | 7);
        run(&seeds()[0]);
        let mut machine = Small::new(&pages, b"abcd");
        let mut guest = Guest::new(&mut machine, exit::Policy::default(), false);
        assert!(guest.allow_call("echo", Callers::Any));
        let mut cpu = Cpu::new(&guest, 0);
        let mut caller = Caller::new(true, true);
        for (register, value) in [
            (Gpr::Rax, FIRST_NAMED),
            (Gpr::Rbx, FIRST_PAGE),
            (Gpr::Rcx, 4),
            (Gpr::Rdx, FIRST_PAGE + 0xffe),
            (Gpr::Rsi, 8),
        ] {
            caller.set_gpr(register, value);
        }
        cpu.on_exit(&mut caller, &mut machine, Exit::Hypercall);
        assert_eq!(caller.gpr(Gpr::Rax), 4);
        assert_eq!(machine.memory.bytes[0xffe..0x1002], [!b'a', !b'b', !b'c', !b'd']);
    }
}
