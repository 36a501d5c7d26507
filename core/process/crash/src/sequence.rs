//! System calls that make no sense: chosen ones, and sequences by chance.

#[cfg(target_os = "none")]
use userlib::system_call::wild as call;

#[cfg(not(target_os = "none"))]
unsafe fn call(_: u64, _: [u64; 4]) -> [u64; 4] {
    [1, 0, 0, 0]
}

use abi::call::{END, EXIT, LEASE_READ, RECEIVE, UNREGISTER};

/// What system calls may write to.
static mut SCRATCH: [u8; 4096] = [0; 4096];

fn scratch() -> u64 {
    &raw mut SCRATCH as u64
}

/// Numbers that are at some border.
fn edges() -> [u64; 16] {
    let function: fn() -> u64 = wild;
    [
        0,
        1,
        3,
        16,
        4096,
        scratch(),
        scratch() + 4090,
        function as usize as u64,
        0x1000_0000,
        0x2000_0000 - 8,
        (1 << 47) - 8,
        1 << 47,
        0xffff_8000_0000_0000,
        0xffff_ffff_8000_0000,
        u64::MAX - 7,
        u64::MAX,
    ]
}

/// Every call with every border in every argument. Gives how many were refused.
pub fn wild() -> u64 {
    let mut refused = 0;
    let numbers = (0..END + 2).filter(|number| ![EXIT, RECEIVE, LEASE_READ, UNREGISTER].contains(number));
    for number in numbers.chain([1 << 32, u64::MAX]) {
        // A line of the log is a message, of which there are not that many.
        for &edge in
            edges().iter().filter(|_| ![abi::call::LOG, abi::call::SEND_INT, abi::call::SEND_PORT].contains(&number))
        {
            // SAFETY: none of these calls writes to the program's memory but by a lease, and there is none.
            let results = unsafe { [call(number, [edge, 8, 8, 8]), call(number, [0, edge, edge, edge])] };
            refused += results.iter().filter(|[status, ..]| *status != 0).count() as u64;
        }
    }
    refused
}

/// Numbers by chance (xorshift64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn argument(&mut self) -> u64 {
        let edges = edges();
        match self.next() % 4 {
            0 => self.next() % 20,
            1 => scratch() + self.next() % 4096,
            2 => self.next(),
            _ => edges[self.next() as usize % edges.len()],
        }
    }
}

/// Some system calls by chance. It may well not come back.
pub fn random(seed: u64) -> u64 {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..8 + chance.next() % 24 {
        let number = chance.next() % (END + 2);
        // Seldom: an end is a start.
        if number == EXIT && !chance.next().is_multiple_of(64) {
            continue;
        }
        let mut arguments = [(); 4].map(|()| chance.argument());
        if number == LEASE_READ {
            arguments[2] = scratch();
            arguments[3] %= 4096;
        }
        if number == UNREGISTER && arguments[0] == 0 {
            // It would live on, and nobody could call it.
            continue;
        }
        // SAFETY: what is written lies in `SCRATCH`; else only this program is broken.
        unsafe { call(number, arguments) };
    }
    0
}
