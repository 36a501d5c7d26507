//! A program in ring 3 that makes any system calls with any arguments, and answers calls as it likes; and any bytes as a program's
//! file.

use abi::call;
use domain::{Arguments, Domains, Fault, Image, Machine, PAGE_BYTES, Program, Registers, Rights, Space, Thread, Trap};
use message::Lease;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};

/// Pages of all programs together: a budget holds whatever they ask for.
const MOST_PAGES: usize = 64;

#[derive(Default)]
struct Pages(BTreeMap<u64, (Rights, Vec<u8>)>);

impl Pages {
    fn byte(&mut self, at: u64) -> Option<(Rights, &mut u8)> {
        let (rights, bytes) = self.0.get_mut(&(at & !(PAGE_BYTES - 1)))?;
        Some((*rights, &mut bytes[(at % PAGE_BYTES) as usize]))
    }
}

impl Space for Pages {
    fn map(&mut self, at: u64, pages: usize, rights: Rights) -> Option<()> {
        assert!(self.0.len() + pages <= MOST_PAGES, "a program has more memory than its budget");
        for page in 0..pages as u64 {
            let at = at.checked_add(page * PAGE_BYTES)?;
            assert!(at < domain::SPACE_END && at.is_multiple_of(PAGE_BYTES));
            assert!(self.0.insert(at, (rights, vec![0; PAGE_BYTES as usize])).is_none(), "mapped twice");
        }
        Some(())
    }

    fn read(&self, at: u64, data: &mut [u8]) -> Option<()> {
        for (done, to) in data.iter_mut().enumerate() {
            let at = at.checked_add(done as u64)?;
            *to = self.0.get(&(at & !(PAGE_BYTES - 1)))?.1[(at % PAGE_BYTES) as usize];
        }
        Some(())
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Option<()> {
        for (done, from) in data.iter().enumerate() {
            let (rights, to) = self.byte(at.checked_add(done as u64)?)?;
            (rights == Rights::Write).then(|| *to = *from)?;
        }
        Some(())
    }

    fn load(&mut self, at: u64, data: &[u8]) -> Option<()> {
        for (done, from) in data.iter().enumerate() {
            *self.byte(at.checked_add(done as u64)?)?.1 = *from;
        }
        Some(())
    }

    fn pages(&self) -> usize {
        self.0.len()
    }
}

/// What the programs do: they take from it one after another.
static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static NOW: AtomicU64 = AtomicU64::new(0);

fn take() -> Option<u8> {
    INPUT.lock().unwrap_or_else(|bad| bad.into_inner()).pop()
}

fn argument() -> u64 {
    const PLACES: [u64; 8] =
        [0x20_0000, 0x20_1000, domain::HEAP, domain::STACK_END - 16, domain::SPACE_END, u64::MAX - 4, 0, 1 << 63];
    let Some(byte) = take() else { return 0 };
    match byte >> 6 {
        0 => u64::from(byte & 63),
        1 => PLACES[usize::from(byte & 7)].wrapping_add(u64::from(byte >> 3 & 7)),
        2 => 1 << (byte & 63),
        _ => u64::from(take().unwrap_or(0)) * PAGE_BYTES,
    }
}

struct Script {
    arguments: Arguments,
    is_new: bool,
}

impl Thread for Script {
    type Space = Pages;

    fn run(&mut self, space: &mut Pages, until: u64) -> Trap {
        NOW.fetch_add(1000, SeqCst);
        if std::mem::take(&mut self.is_new) {
            space.write(0x20_1000, b"fuzz").unwrap_or_default();
            self.arguments = Arguments { number: call::REGISTER, values: [0x20_1000, 4, 0, 0] };
            return Trap::Call;
        }
        // Without input it waits for good.
        let number = take().map_or(call::RECEIVE, u64::from);
        match number {
            200 => return Trap::Fault(Fault { vector: 13, error: 0, address: 0 }),
            201 => {
                NOW.store(until, SeqCst);
                return Trap::TimeOut;
            }
            _ => {}
        }
        self.arguments = Arguments { number, values: [(); 4].map(|()| argument()) };
        Trap::Call
    }

    fn arguments(&self) -> Arguments {
        self.arguments
    }

    fn set_results(&mut self, results: [u64; 4]) {
        assert!(results[0] < 100, "a status is 0 or the number of an error");
    }

    fn registers(&self) -> Registers {
        Registers { rip: argument(), rsp: argument(), gprs: [argument(); 15], ..Registers::default() }
    }
}

struct Host;

impl Machine for Host {
    type Space = Pages;
    type Thread = Script;

    fn new_space(&self) -> Option<Pages> {
        Some(Pages::default())
    }

    fn new_thread(&self, _: u64, _: u64) -> Script {
        Script { arguments: Arguments { number: 0, values: [0; 4] }, is_new: true }
    }

    fn now(&self) -> u64 {
        NOW.fetch_add(1, SeqCst)
    }

    fn cpu_number(&self) -> usize {
        0
    }

    fn may_run(&self) -> bool {
        true
    }

    fn rest(&self) {}

    fn on_failure(&self, _: u64) {}
}

/// A program of one page of code and one of data.
fn file() -> Vec<u8> {
    let mut file = vec![0; 64 + 2 * 56];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 2_u16), (18, 62), (20, 1), (52, 64), (54, 56), (56, 2)] {
        put(at, &value.to_le_bytes());
    }
    put(24, &0x20_0000_u64.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    for (n, flags) in [5_u32, 6].into_iter().enumerate() {
        let base = 64 + n * 56;
        put(base, &1_u32.to_le_bytes());
        put(base + 4, &flags.to_le_bytes());
        put(base + 16, &(0x20_0000 + n as u64 * PAGE_BYTES).to_le_bytes());
        put(base + 40, &PAGE_BYTES.to_le_bytes());
    }
    file
}

fn domains() -> &'static Domains<Host> {
    static DOMAINS: OnceLock<&'static Domains<Host>> = OnceLock::new();
    DOMAINS.get_or_init(|| {
        let program = |name, services| Program { name, elf: file().leak(), services, manages: true, ..Program::USUAL };
        let programs: &'static [Program] = Box::leak(Box::new([program("fuzz", &["fuzz"]), program("other", &[])]));
        let domains: &'static _ = Box::leak(Box::new(Domains::new(Host, programs, 1)));
        message::set_starter(|name| self::domains().provide(name));
        domains
    })
}

/// Runs one input: as a file, and as what programs do while they are called.
pub fn run(data: &[u8]) {
    static ONE_CPU: Mutex<()> = Mutex::new(());
    let _cpu = ONE_CPU.lock();
    if let Ok(image) = Image::parse(data) {
        for segment in &image.segments {
            assert!(segment.pages.end <= domain::HEAP && segment.pages.start < segment.pages.end);
            assert!(segment.data.len() as u64 <= segment.pages.end - segment.at);
        }
    }
    *INPUT.lock().unwrap_or_else(|bad| bad.into_inner()) = data.iter().rev().copied().collect();
    let domains = domains();
    for op in 0..8 {
        // However often it has failed.
        NOW.fetch_add(60_000_000_000, SeqCst);
        let mut back = [0; 40];
        if let Ok(port) = message::open("fuzz") {
            let _any = port.call(op, &mut [Lease::Read(b"some bytes to read"), Lease::Write(&mut back)]);
            let _any = port.send_int(op);
        }
    }
    for status in domains.list().unwrap() {
        assert!(status.pages <= MOST_PAGES);
        if let Some(process) = status.process {
            domains.end(process).unwrap_or_else(|error| panic!("process {process} cannot be ended: {error}"));
        }
    }
    assert!(domains.list().unwrap().iter().all(|status| status.process.is_none()), "all have ended");
}

/// A file; a sequence with every call; calls of itself, and of the other program.
pub fn seeds() -> Vec<Vec<u8>> {
    let every = (0..=call::END as u8).flat_map(|number| [number, 0x48, 4, 0x49, 4]).collect();
    let open_and_call = vec![3, 0x49, 4, 0, 0, 7, 0, 1, 0x49, 1, 5, 0, 9, 0, 0, 6, 0, 0, 0, 0];
    let start_other = vec![14, 0x49, 5, 0, 0, 10, 0, 0, 0, 0, 15, 1, 0, 0, 0];
    vec![file(), every, open_and_call, start_other, vec![200], vec![201], vec![2, 0xc0, 200, 0, 0, 0]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_program() {
        assert_eq!(Image::parse(&file()).unwrap().segments.len(), 2);
    }
}
