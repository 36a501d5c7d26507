//! Every GiB of physical addresses that the CPU has, up to 4 TiB, and one of each 512 GiB beyond: tables that a hypervisor makes on
//! demand must end somewhere; reserved address bits in entries at every level.
//!
//! Safe: reads give whatever the bare machine gives, or an exception; memory that is there keeps what it holds; the guest goes on.

use crate::frame::How;
use tiny::machine::cpu;
use tiny::machine::exceptions::catch;
use tiny::machine::memory::{Remapped, buffer_address, peek, poke};

const GIB: u64 = 1 << 30;
const WINDOW: u64 = 486;
const KEPT: usize = 39;

pub fn run() {
    let bits = u64::from(cpu::cpuid(0x8000_0008).eax & 0xff).clamp(36, 52);
    let end = 1u64 << bits;
    poke(buffer_address(KEPT), 0x600d_600du64);
    let near = (8 * GIB..end.min(4096 * GIB)).step_by(GIB as usize);
    let far = (end.min(4096 * GIB)..end).step_by(512 * GIB as usize).take(4096);
    let (mut done, mut raised) = (0u32, 0u32);
    for at in near.chain(far) {
        let window = Remapped::new(WINDOW, Some(at));
        match catch(&mut || _ = peek::<u64>(window.linear() + 8)) {
            Ok(()) => done += 1,
            Err(_) => raised += 1,
        }
        let _ = catch(&mut || poke(window.linear() + 16, 0u64));
    }
    seen!("{bits} bits: {done} places are read, {raised} raise an exception");
    for bit in bits..52 {
        let window = Remapped::new(WINDOW, Some(1 << bit));
        let result = catch(&mut || _ = peek::<u64>(window.linear()));
        seen!("address bit {bit}: {}", How(result));
    }
    check_eq!(peek::<u64>(buffer_address(KEPT)), 0x600d_600d, "memory that is there");
    cpu::cpuid(0);
}
