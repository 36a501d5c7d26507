//! INS and OUTS on intercepted and free ports in every unlikely shape: count 0, downwards, over the end of the address
//! space and of 32-bit addresses, from and to missing pages, with huge counts, from and to memory of the hypervisor.
//! AMD64 APM Vol. 3 (24594), INS, OUTS, REP.
//!
//! Safe: no transfer with count 0; an exception in the guest with RCX, RSI and RDI as far as it came; no byte of the
//! hypervisor's memory is read or written, and no byte of the guest's but the one that was named.

use crate::frame::code::{self, Registers};
use crate::frame::{How, hypervisor_memory, qemu};
use tiny::machine::memory::{Remapped, buffer, buffer_address};
use tiny::machine::port::out32;

const BUFFER: usize = 24;
/// Intercepted: port 92h, the disk's data port, PCI data. Free: the diagnostics port.
const INPUTS: [u16; 4] = [0x92, 0x1f0, 0xcfc, 0x80];
/// Intercepted: COM1, the disk's data port, PCI data while CF8h selects nothing. Not 92h, where a 1 resets the machine.
/// The disk's comes last: Bochs panics when it asks for none.
const OUTPUTS: [u16; 4] = [0x3f8, 0xcfc, 0x80, 0x1f0];
const FORMS: [(&str, &[u8], bool); 10] = [
    ("REP INSB", &[0xf3, 0x6c], true),
    ("REP INSW", &[0x66, 0xf3, 0x6d], true),
    ("REP INSD", &[0xf3, 0x6d], true),
    ("REPNE INSB", &[0xf2, 0x6c], true),
    ("REP INSB with 32-bit addresses", &[0x67, 0xf3, 0x6c], true),
    ("REP OUTSB", &[0xf3, 0x6e], false),
    ("REP OUTSW", &[0x66, 0xf3, 0x6f], false),
    ("REP OUTSD", &[0xf3, 0x6f], false),
    ("REP OUTSB with 32-bit addresses", &[0x67, 0xf3, 0x6e], false),
    ("REP FS OUTSD", &[0x64, 0xf3, 0x6f], false),
];

pub fn run() {
    let vmm = hypervisor_memory();
    // The page behind the buffer is missing.
    let edge = Remapped::new(510, Some(buffer_address(BUFFER)));
    let missing = Remapped::new(511, None);
    let end = missing.linear();
    out32(0xcf8, 0);
    for (name, form, input) in FORMS {
        let ports = if input { &INPUTS[..] } else { &OUTPUTS[..if qemu() { 4 } else { 3 }] };
        for &port in ports {
            let run = |what: &str, address: u64, count: u64, down: bool| {
                one(name, form, input, port, what, address, count, down);
            };
            run("count 0", buffer_address(BUFFER), 0, false);
            run("count 0 at no page", end, 0, false);
            run("count 0 at a non-canonical address", 1 << 63, 0, true);
            run("downwards", buffer_address(BUFFER) + 0x1000, 16, true);
            run("downwards to address 0", 8, 0, true);
            run("into the missing page", end - 6, 16, false);
            run("downwards out of the missing page", end + 2, 16, true);
            run("non-canonical", 0x0000_8000_0000_0000, 4, false);
            run("over the canonical border", 0x0000_7fff_ffff_fffe, 4, false);
            run("over the end of all addresses", u64::MAX - 1, 4, false);
            run("a huge count into the missing page", end - 0x1000, u64::MAX, false);
            if let Some(vmm) = vmm {
                run("the hypervisor's memory", vmm.start + 0x10_0000, 16, false);
                run("downwards over its border", vmm.start + 2, 4, true);
                run("over its border", vmm.start - 2, 4, false);
            }
        }
    }
    drop((edge, missing));
    seen!("all forms");
}

#[expect(clippy::too_many_arguments, reason = "one line of a table")]
fn one(name: &str, form: &[u8], input: bool, port: u16, what: &str, address: u64, count: u64, down: bool) {
    // RAM that can be hit by no form but in its first and last pages.
    let guard = &mut buffer(BUFFER)[0x2000..0x3000];
    guard.fill(0xa5);
    let mut bytes = [0u8; 8];
    bytes[0] = if down { 0xfd } else { 0xfc }; // STD, CLD
    bytes[1..][..form.len()].copy_from_slice(form);
    bytes[1 + form.len()] = 0xfc;
    let registers = Registers { rcx: count, rdx: port.into(), rsi: address, rdi: address, ..Registers::default() };
    let ended = code::run(&bytes[..form.len() + 2], registers);
    let done = ended.distance > 1;
    let (result, moved) =
        (How(if done { Ok(()) } else { Err(ended.fault) }), if input { ended.fault.rdi } else { ended.fault.rsi });
    check!(guard.iter().all(|&byte| byte == 0xa5), "{name}, {what}: writes elsewhere");
    if count == 0 {
        check!(done, "{name}, port {port:#x}, {what}: {result}");
        // CPUs differ in what becomes of the upper half when the address has 32 bits.
        let mask = if name.contains("32-bit") { 0xffff_ffff } else { u64::MAX };
        check_eq!(moved & mask, address & mask, "{name}, port {port:#x}, {what}: the index");
    }
    if port != 0x1f0 {
        seen!("{name}, port {port:#x}, {what}: {result}, {:#x} left", ended.fault.rcx);
    }
}
