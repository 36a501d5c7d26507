//! A machine whose programs are scripts: what a program does is a function of what it gets.

use crate::{Arguments, Fault, Machine, PAGE_BYTES, Registers, Rights, Space, Thread, Trap};
use abi::call;
use std::boxed::Box;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::vec;
use std::vec::Vec;

/// Pages of all spaces; those of a space that is dropped are gone.
pub static PAGES: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
pub struct FakeSpace {
    pages: BTreeMap<u64, (Rights, Vec<u8>)>,
}

impl FakeSpace {
    fn each(&self, at: u64, len: usize, mut step: impl FnMut(u64, usize, usize) -> bool) -> Option<()> {
        for done in 0..len {
            let at = at.checked_add(done as u64)?;
            if !step(at & !(PAGE_BYTES - 1), (at % PAGE_BYTES) as usize, done) {
                return None;
            }
        }
        Some(())
    }
}

impl Space for FakeSpace {
    fn map(&mut self, at: u64, pages: usize, rights: Rights) -> Option<()> {
        for page in 0..pages as u64 {
            let new = (rights, vec![0; PAGE_BYTES as usize]);
            if self.pages.insert(at + page * PAGE_BYTES, new).is_some() {
                return None;
            }
            PAGES.fetch_add(1, SeqCst);
        }
        Some(())
    }

    fn read(&self, at: u64, data: &mut [u8]) -> Option<()> {
        self.each(at, data.len(), |page, offset, done| match self.pages.get(&page) {
            Some((_, bytes)) => {
                data[done] = bytes[offset];
                true
            }
            None => false,
        })
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Option<()> {
        for (done, &byte) in data.iter().enumerate() {
            let at = at.checked_add(done as u64)?;
            let (rights, bytes) = self.pages.get_mut(&(at & !(PAGE_BYTES - 1)))?;
            if *rights != Rights::Write {
                return None;
            }
            bytes[(at % PAGE_BYTES) as usize] = byte;
        }
        Some(())
    }

    fn load(&mut self, at: u64, data: &[u8]) -> Option<()> {
        for (done, &byte) in data.iter().enumerate() {
            let at = at.checked_add(done as u64)?;
            self.pages.get_mut(&(at & !(PAGE_BYTES - 1)))?.1[(at % PAGE_BYTES) as usize] = byte;
        }
        Some(())
    }

    fn pages(&self) -> usize {
        self.pages.len()
    }
}

impl Drop for FakeSpace {
    fn drop(&mut self) {
        PAGES.fetch_sub(self.pages.len(), SeqCst);
    }
}

/// What a script does next.
pub enum Step {
    Call(u64, [u64; 4]),
    Fault(Fault),
    /// Its time passes.
    Hang,
}

/// Is given the results of its last call and its memory.
pub type Script = Box<dyn FnMut([u64; 4], &mut FakeSpace) -> Step + Send>;

pub struct FakeThread {
    script: Script,
    arguments: Arguments,
    results: [u64; 4],
}

impl Thread for FakeThread {
    type Space = FakeSpace;

    fn run(&mut self, space: &mut FakeSpace, until: u64) -> Trap {
        advance(1000);
        match (self.script)(self.results, space) {
            Step::Call(number, values) => {
                self.arguments = Arguments { number, values };
                Trap::Call
            }
            Step::Fault(fault) => Trap::Fault(fault),
            Step::Hang => {
                NOW.fetch_max(until, SeqCst);
                Trap::TimeOut
            }
        }
    }

    fn arguments(&self) -> Arguments {
        self.arguments
    }

    fn set_results(&mut self, results: [u64; 4]) {
        self.results = results;
    }

    fn registers(&self) -> Registers {
        Registers::default()
    }
}

static NOW: AtomicU64 = AtomicU64::new(0);

pub fn advance(nanos: u64) {
    NOW.fetch_add(nanos, SeqCst);
}

pub fn now() -> u64 {
    NOW.load(SeqCst)
}

/// Which script a program is, by the last four bytes of its entry.
pub type Scripts = fn(entry: u64) -> Script;

pub struct FakeMachine {
    pub scripts: Scripts,
    pub failures: AtomicU64,
}

/// Of the one CPU.
pub static MAY_RUN: AtomicBool = AtomicBool::new(true);

impl Machine for FakeMachine {
    type Space = FakeSpace;
    type Thread = FakeThread;

    fn new_space(&self) -> Option<FakeSpace> {
        Some(FakeSpace::default())
    }

    fn new_thread(&self, entry: u64, _: u64) -> FakeThread {
        FakeThread {
            script: (self.scripts)(entry),
            arguments: Arguments { number: 0, values: [0; 4] },
            results: [0; 4],
        }
    }

    fn now(&self) -> u64 {
        now()
    }

    fn cpu_number(&self) -> usize {
        0
    }

    fn may_run(&self) -> bool {
        MAY_RUN.load(SeqCst)
    }

    fn rest(&self) {}

    fn on_failure(&self, _: u64) {
        self.failures.fetch_add(1, SeqCst);
    }
}

/// A program of one page of code at `entry` and one of data behind it.
pub fn elf(entry: u64) -> &'static [u8] {
    let mut file = vec![0; 64 + 2 * 56];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(20, &1u32.to_le_bytes());
    put(24, &entry.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &64u16.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &2u16.to_le_bytes());
    let page = entry & !(PAGE_BYTES - 1);
    for (n, (flags, at)) in [(5u32, page), (6, page + PAGE_BYTES)].into_iter().enumerate() {
        let base = 64 + n * 56;
        put(base, &1u32.to_le_bytes());
        put(base + 4, &flags.to_le_bytes());
        put(base + 16, &at.to_le_bytes());
        put(base + 40, &PAGE_BYTES.to_le_bytes());
        put(base + 48, &PAGE_BYTES.to_le_bytes());
    }
    file.leak()
}

/// Registers a service by its name, then answers calls by `answer`, whose first argument is the operation.
pub fn server(name: &'static str, mut answer: impl FnMut(u64, &mut FakeSpace) -> Next + Send + 'static) -> Script {
    let mut state = 0;
    let mut op = 0;
    Box::new(move |results, space| {
        state += 1;
        match state {
            1 => {
                let at = data(space);
                space.write(at, name.as_bytes()).unwrap();
                Step::Call(call::REGISTER, [at, name.len() as u64, 0, 0])
            }
            2 => {
                assert_eq!(results[0], 0, "{name} is registered");
                Step::Call(call::RECEIVE, [0; 4])
            }
            _ => {
                if state == 3 {
                    op = results[3];
                }
                match answer(if state == 3 { op } else { results[0] << 32 | results[1] }, space) {
                    Next::Reply(status, value) => {
                        state = 2;
                        Step::Call(call::RECEIVE, [status, value, 0, 0])
                    }
                    Next::Do(step) => step,
                }
            }
        }
    })
}

/// What a server does for a call.
pub enum Next {
    Reply(u64, u64),
    /// It is asked again with the status of it in the upper half and the first result in the lower one.
    Do(Step),
}

/// The program's page for data.
pub fn data(space: &FakeSpace) -> u64 {
    let mut own = space.pages.iter().filter(|(_, (rights, _))| *rights == Rights::Write);
    *own.next().unwrap().0
}
