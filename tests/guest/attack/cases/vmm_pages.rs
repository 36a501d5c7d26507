//! Every page of the hypervisor's memory, probed by reads, writes, execution, a descriptor, FXSAVE, INS and a page walk;
//! every 32nd by everything else that the CPU has.
//!
//! Safe: reads give the same nothing everywhere (all ones or zeros) or an exception; writes change nothing that can be
//! read, or raise an exception; nothing there is executed, walked or loaded.

use crate::frame::code::{self, Registers};
use crate::frame::{How, hypervisor_memory};
use core::arch::asm;
use tiny::machine::exceptions::{Fault, catch, load_ldt};
use tiny::machine::memory::{Remapped, peek, poke};

/// Code with RSI and RDI at the page, RCX = 4, RDX = port 92h; OUTS goes to port 80h.
const PROBES: [(&str, &[u8]); 16] = [
    ("INSB", &[0x6c]),
    ("FXSAVE", &[0x0f, 0xae, 0x07]),
    ("MOVSB from it", &[0x48, 0xc7, 0xc7, 0, 0, 0, 4, 0xa4]), // to 64 MiB, a buffer
    ("STOSQ", &[0x48, 0xab]),
    ("REP STOSB", &[0xf3, 0xaa]),
    ("REP MOVSB onto itself", &[0xf3, 0xa4]),
    ("REP INSB", &[0xf3, 0x6c]),
    ("REP OUTSB", &[0x66, 0xba, 0x80, 0, 0xf3, 0x6e]),
    ("FXRSTOR", &[0x0f, 0xae, 0x0e]),
    ("SGDT", &[0x0f, 0x01, 0x07]),
    ("LOCK INC", &[0xf0, 0xff, 0x07]),
    ("CMPXCHG16B", &[0xf0, 0x48, 0x0f, 0xc7, 0x0f]),
    ("INC", &[0xff, 0x07]),
    ("MOVNTI", &[0x0f, 0xc3, 0x07]),
    ("CLFLUSH", &[0x0f, 0xae, 0x3f]),
    ("CALL through it", &[0xff, 0x17]),
];

/// So many of the first are tried on every page.
const EVERYWHERE: usize = 2;

pub fn run() {
    let Some(vmm) = hypervisor_memory() else { return };
    let mut kinds = [[0u32; 2]; PROBES.len() + 4];
    for (i, page) in (vmm.start..vmm.end()).step_by(4096).enumerate() {
        let probes = if i % 32 == 0 { PROBES.len() } else { EVERYWHERE };
        nothing(page + ((i as u64 * 0x9e8) & 0xff8));
        for ((name, code), seen) in PROBES.into_iter().zip(&mut kinds).take(probes) {
            let registers = Registers { rsi: page, rdi: page, rcx: 4, rdx: 0x92, ..Registers::default() };
            let ended = code::run(code, registers);
            let executed = ended.fault.rip >= vmm.start && ended.fault.rip < vmm.end();
            check!(!executed, "{name} at {page:#x}: goes on at {:#x}", ended.fault.rip);
            seen[usize::from(ended.distance == code.len() as i64)] += 1;
        }
        for (probe, seen) in [execute, page_walk, descriptor, stack].iter().zip(&mut kinds[PROBES.len()..]) {
            seen[usize::from(probe(page).is_ok())] += 1;
        }
        nothing(page);
        if i % 1024 == 1023 {
            say!("{} pages", i + 1);
        }
    }
    segments(vmm.start);
    let names = PROBES.iter().map(|(name, _)| *name).chain(["execution", "a page walk", "a descriptor", "a stack"]);
    for (name, [refused, done]) in names.zip(kinds) {
        seen!("{name}: {refused} pages raise an exception, {done} do not");
    }
}

/// Memory that reads as nothing, before and after a store.
fn nothing(at: u64) {
    let mut values = [0u64; 2];
    let reads = catch(&mut || values[0] = peek(at));
    let _ = catch(&mut || poke(at, 0x5ec2_e75e_c2e7_5ec2u64));
    let again = catch(&mut || values[1] = peek(at));
    check!(values[0] == 0 || values[0] == u64::MAX, "{at:#x} reads {:#x}", values[0]);
    check_eq!((again.is_ok(), values[1]), (reads.is_ok(), values[0]), "{at:#x} after a store");
}

fn execute(page: u64) -> Result<(), Fault> {
    let result = code::call(page, Registers::default());
    check!(result.is_err(), "code at {page:#x} is carried out");
    result
}

fn page_walk(page: u64) -> Result<(), Fault> {
    let walked = Remapped::through_table(510, page);
    let mut value = 0u64;
    let result = catch(&mut || value = peek(walked.linear()));
    check!(result.is_err() || value == 0 || value == u64::MAX, "a walk through {page:#x} reads {value:#x}");
    result
}

/// A descriptor of an LDT that lies there.
fn descriptor(page: u64) -> Result<(), Fault> {
    load_ldt(page, 0xfff);
    // SAFETY: FS is used by nobody; selector 8 of the LDT.
    catch(&mut || unsafe { asm!("mov fs, {0:e}", "mov fs, {1:e}", in(reg) 0xcu32, in(reg) 0u32) })
}

fn stack(page: u64) -> Result<(), Fault> {
    // SAFETY: an exception leaves the stack alone; else the old one comes back.
    catch(&mut || unsafe {
        asm!("mov r8, rsp", "mov rsp, {}", "push rax", "pop rax", "mov rsp, r8", in(reg) page + 64, out("r8") _,
            out("rax") _)
    })
}

/// Registers that the CPU itself loads from there.
fn segments(at: u64) {
    let mut old = [0u64; 2];
    let mut idt = [0u64; 2];
    // SAFETY: memory of all ones is no table that LGDT or LIDT would take, and the tables of before come back below.
    let mut lgdt = || unsafe { asm!("lgdt [{}]", in(reg) at) };
    // SAFETY: as above.
    let mut lidt = || unsafe { asm!("lidt [{}]", in(reg) at) };
    // SAFETY: nothing of this program lies there.
    let mut fxsave = || unsafe { asm!("fxsave64 [{}]", in(reg) at) };
    for (name, load) in [("LGDT", &mut lgdt as &mut dyn FnMut()), ("LIDT", &mut lidt), ("FXSAVE64", &mut fxsave)] {
        // SAFETY: writes the registers as they are to two variables.
        unsafe { asm!("sgdt [{}]", "sidt [{}]", in(reg) &raw mut old, in(reg) &raw mut idt) };
        let result = catch(load);
        // SAFETY: the tables of before.
        unsafe { asm!("lgdt [{}]", "lidt [{}]", in(reg) &raw const old, in(reg) &raw const idt) };
        seen!("{name} from it: {}", How(result));
    }
}
