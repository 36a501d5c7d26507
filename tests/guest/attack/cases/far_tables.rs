//! Tables that the CPU reads itself, in the hypervisor's memory: GDT, LDT, IDT, TSS (stacks of other levels, I/O
//! permissions), page tables by CR3 and through PDPTEs; far jumps and calls to descriptors there; task switches in 64-bit
//! mode. Intel SDM Vol. 3A (325384) chapters 4, 6, 8.
//!
//! Safe: an exception, or a triple fault that resets the machine, after which the hypervisor is there again; nothing of its
//! memory is taken for a descriptor, a stack or a table.

use crate::frame::{How, hypervisor_memory, steps};
use core::arch::{asm, global_asm};
use tiny::machine::cpu;
use tiny::machine::exceptions::{Fault, catch, catch_user, load_ldt};
use tiny::machine::memory::peek;

global_asm!(".section .text.far_tables, \"ax\"", ".code64", "far_user: in al, 0x80", "ud2");

unsafe extern "C" {
    static far_user: u8;
    static mut gdt: [u64; 12];
}

fn shown(what: &str, result: Result<(), Fault>) {
    seen!("{what}: {}", How(result));
}

/// The register of a table, to come back.
fn with_gdt(base: u64, access: impl Fn()) -> Result<(), Fault> {
    let (mut old, new) = ([0u64; 2], [0xffff | base << 16, base >> 48]);
    // SAFETY: the table of before comes back whatever the access does.
    unsafe { asm!("sgdt [{}]", in(reg) &raw mut old) };
    // SAFETY: the exception's own segment is in that table too: a fault within the access ends in a triple fault.
    let result = catch(&mut || unsafe {
        asm!("lgdt [{}]", in(reg) &raw const new);
        access();
        asm!("lgdt [{}]", in(reg) &raw const old);
    });
    // SAFETY: as above.
    unsafe { asm!("lgdt [{}]", in(reg) &raw const old) };
    result
}

/// Loads a TSS at this address and enters the kernel from CPL 3 by an exception without a stack of its own.
fn task_state(base: u64) {
    // SAFETY: the descriptor of the task register; the old one comes back by `exceptions::init`.
    let loaded = catch(&mut || unsafe {
        (&raw mut gdt[8]).write(0x2000 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56);
        (&raw mut gdt[9]).write(base >> 32);
        asm!("ltr {:x}", in(reg) 0x40u16);
    });
    say!("LTR: {}", How(loaded));
    // I/O permissions first, then the stack of the exception; both lie there.
    // SAFETY: CPL 3 code that ends in an exception.
    let fault = catch_user((&raw const far_user) as u64);
    tiny::machine::exceptions::init();
    shown("an exception on a stack from there", Err(fault));
}

pub fn run() {
    let Some(vmm) = hypervisor_memory() else { return };
    let (at, middle) = (vmm.start, vmm.start + vmm.len / 2);
    steps::run(&[
        ("an LDT", &|| {
            load_ldt(at, 0xff);
            // SAFETY: FS is nobody's.
            let result = catch(&mut || unsafe { asm!("mov fs, {:e}", in(reg) 0x0cu32) });
            shown("a selector of an LDT", result);
        }),
        ("a far call through an LDT", &|| {
            load_ldt(at, 0xff);
            let target = [0u32, 0x0c];
            // SAFETY: a descriptor of all ones or zeros is none of code, gate or task.
            let result = catch(&mut || unsafe { asm!("call fword ptr [{}]", in(reg) &raw const target) });
            shown("a far call", result);
        }),
        ("a far jump to the TSS in 64-bit mode", &|| {
            let target = [0u32, 0x40];
            // SAFETY: no task switches in 64-bit mode: #GP.
            let result = catch(&mut || unsafe { asm!("jmp fword ptr [{}]", in(reg) &raw const target) });
            shown("a far jump to a task", result);
        }),
        ("a far jump into it", &|| {
            let target = [at as u32, 0x08];
            // SAFETY: nothing there can be executed.
            let result = catch(&mut || unsafe { asm!("jmp fword ptr [{}]", in(reg) &raw const target) });
            shown("a far jump into it", result);
        }),
        ("SYSEXIT and IRETQ into it", &|| {
            // SAFETY: nothing there can be executed, at any privilege level.
            let result = catch(&mut || unsafe {
                asm!("push 0x33", "push 0", "push 2", "push 0x3b", "push {}", "iretq", in(reg) at, options(noreturn))
            });
            shown("IRETQ into it", result);
        }),
        ("a GDT", &|| {
            // SAFETY: FS is nobody's.
            shown("a selector of a GDT", with_gdt(at, || unsafe { asm!("mov fs, {:e}", in(reg) 0x10u32) }));
        }),
        ("a TSS", &|| task_state(middle)),
        ("an IDT", &|| {
            let new = [0xfff | at << 16, at >> 48];
            // SAFETY: ends in a triple fault where the IDT cannot be read.
            unsafe { asm!("lidt [{}]", "int3", "int 0x80", in(reg) &raw const new) };
            tiny::machine::exceptions::init();
        }),
        ("an IDT and #PF", &|| {
            let new = [0xfff | middle << 16, middle >> 48];
            // SAFETY: as above.
            unsafe { asm!("lidt [{}]", in(reg) &raw const new) };
            peek::<u8>(1 << 40);
            tiny::machine::exceptions::init();
        }),
        ("page tables by CR3", &|| {
            let before = cpu::cr3();
            // SAFETY: ends in a triple fault: no code, no IDT and no stack are mapped.
            unsafe {
                cpu::set_cr3(at);
                cpu::set_cr3(before);
            }
        }),
        ("a page map that leads there", &|| {
            let entry = peek::<u64>(cpu::cr3() & !0xfff);
            tiny::machine::memory::poke(cpu::cr3() & !0xfff, middle | 7);
            // SAFETY: as above.
            unsafe { cpu::set_cr3(cpu::cr3()) };
            tiny::machine::memory::poke(cpu::cr3() & !0xfff, entry);
        }),
    ]);
}
