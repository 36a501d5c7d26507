//! Every page of the hypervisor's memory, probed by reads, writes, execution, descriptor tables, FXSAVE, INS, OUTS,
//! string moves, locked operations and page tables.
//!
//! Safe: reads give the same nothing everywhere (all ones or zeros) or an exception; writes change nothing that can be
//! read, or raise an exception; nothing there is executed, walked or loaded.

use super::super::frame::code::{self, Registers};
use super::super::frame::hypervisor_memory;
use core::arch::asm;
use tiny::machine::cpu;
use tiny::machine::exceptions::{Fault, catch, load_ldt};
use tiny::machine::memory::{Remapped, buffer_address, peek, poke};

const SCRATCH: usize = 25;
const MEMORY: usize = SCRATCH;

/// Code with RSI and RDI at the page, RCX = 4, RDX = port 92h, R8 free.
const PROBES: [(&str, &[u8]); 16] = [
    ("MOVSB from it", &[0x48, 0xc7, 0xc7, 0, 0, 0, 4, 0xa4]), // to 64 MiB, a buffer
    ("STOSQ", &[0x48, 0xab]),
    ("REP STOSB", &[0xf3, 0xaa]),
    ("REP MOVSB onto itself", &[0xf3, 0xa4]),
    ("INSB", &[0x6c]),
    ("REP INSB", &[0xf3, 0x6c]),
    ("REP OUTSB", &[0xf3, 0x6e]),
    ("FXSAVE", &[0x0f, 0xae, 0x07]),
    ("FXRSTOR", &[0x0f, 0xae, 0x0e]),
    ("SGDT", &[0x0f, 0x01, 0x07]),
    ("LOCK INC", &[0xf0, 0xff, 0x07]),
    ("CMPXCHG16B", &[0xf0, 0x48, 0x0f, 0xc7, 0x0f]),
    ("INC", &[0xff, 0x07]),
    ("MOVNTI", &[0x0f, 0xc3, 0x07]),
    ("CLFLUSH", &[0x0f, 0xae, 0x3f]),
    ("CALL through it", &[0xff, 0x17]),
];

pub fn run() {
    let Some(vmm) = hypervisor_memory() else { return };
    let mut kinds = [[0u32; 2]; PROBES.len() + 4];
    // Everything that a probe may load or move is this program's again afterwards.
    for page in (vmm.start..vmm.end()).step_by(4096) {
        nothing(page, "before");
        for ((name, code), seen) in PROBES.into_iter().zip(&mut kinds) {
            let registers = Registers { rsi: page, rdi: page, rcx: 4, rdx: 0x92, ..Registers::default() };
            let ended = code::run(code, registers);
            let executed = ended.fault.rip >= vmm.start && ended.fault.rip < vmm.end();
            check!(!executed, "{name} at {page:#x}: goes on at {:#x}", ended.fault.rip);
            seen[usize::from(ended.distance != 0)] += 1;
        }
        for (probe, seen) in [execute, page_walk, lgdt, stack].iter().zip(&mut kinds[PROBES.len()..]) {
            seen[usize::from(probe(page).is_ok())] += 1;
        }
        nothing(page, "after");
    }
    segments(vmm.start);
    let names = PROBES.iter().map(|(name, _)| *name).chain(["execution", "a page walk", "a descriptor", "a stack"]);
    for (name, [refused, done]) in names.zip(kinds) {
        seen!("{name}: {refused} pages raise an exception, {done} do not");
    }
}

/// Both ends of the page read as nothing.
fn nothing(page: u64, when: &str) {
    for at in [page, page + 0xff8] {
        let mut value = 0u64;
        if catch(&mut || value = peek(at)).is_ok() {
            check!(value == 0 || value == u64::MAX, "{at:#x} reads {value:#x} {when} all probes");
        }
        let mut again = value;
        let _ = catch(&mut || poke(at, 0x5ec2_e75e_c2e7_5ec2u64));
        if catch(&mut || again = peek(at)).is_ok() {
            check_eq!(again, value, "{at:#x} after a store, {when} all probes");
        }
    }
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

/// A descriptor of an LDT there; LGDT itself of the page as operand is in `segments`.
fn lgdt(page: u64) -> Result<(), Fault> {
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
    for (name, load) in [
        ("LGDT", &mut (|| unsafe { asm!("lgdt [{}]", in(reg) at) }) as &mut dyn FnMut()),
        ("LIDT", &mut || unsafe { asm!("lidt [{}]", in(reg) at) }),
        ("FXSAVE64", &mut || unsafe { asm!("fxsave64 [{}]", in(reg) at) }),
    ] {
        // SAFETY: the registers as they are, to come back; what is loaded from memory of all ones refuses itself.
        unsafe { asm!("sgdt [{}]", in(reg) &raw mut old) };
        let mut idt = [0u64; 2];
        // SAFETY: as above.
        unsafe { asm!("sidt [{}]", in(reg) &raw mut idt) };
        let result = catch(load);
        // SAFETY: the tables of before.
        unsafe { asm!("lgdt [{}]", "lidt [{}]", in(reg) &raw const old, in(reg) &raw const idt) };
        seen!("{name} from it: {}", super::super::frame::How(result));
    }
    cpu::cpuid(0);
    let _: u64 = peek(buffer_address(MEMORY));
}
