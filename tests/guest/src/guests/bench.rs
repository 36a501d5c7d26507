//! Costs in instructions, for a bare machine and Shoji alike: `BENCH name value`.
//!
//! Only where the time stamp counter counts instructions, of the VMM too: in QEMU under `-icount shift=0`, in Bochs
//! always. Each value is the least of several rounds, the cost of the measurement taken off; time spent
//! in HLT does not count.
//!
//! Intel SDM (335592) Vol. 4, chapter 2; AMD64 APM Vol. 2 (24593) s. 16.3 (local APIC registers).

use super::shoji;
use crate::boot;
use crate::machine::ata::{self, SECTOR, Wait, dma_command, prds};
use crate::machine::cpu::{self, rdtsc};
use crate::machine::irq::with_lines;
use crate::machine::memory::{buffer, buffer_address, poke};
use crate::machine::modes::{Registers, bios};
use crate::machine::pci::Function;
use abi::hypercall::{LOOKUP, VERSION, name};
use core::arch::asm;
use core::fmt;
use core::hint::black_box;

pub(super) const ROUNDS: usize = 20;
const FEATURE_CONTROL: u32 = 0x3a;
const APIC_BASE: u32 = 0x1b;
/// Registers of the local APIC that may be read and written at any time.
const APIC_VERSION: u64 = 0xfee0_0030;
const APIC_EOI: u64 = 0xfee0_00b0;
/// Address packet and data of INT 13h, in memory that real mode reaches.
const PACKET: u64 = 0x640;
const LOW_DATA: u64 = 0x1000;
const BIOS_SECTORS: u64 = 32;
/// Class and subclass of an IDE controller: the function that Shoji guards.
const IDE: u16 = 0x0101;
/// An AHCI controller, and its base address register.
const AHCI: u16 = 0x0106;
const AHCI_BASE: u8 = 0x24;
const HOST_BRIDGE: Function = Function { device: 0, function: 0 };
/// Vendor and device of a Q35's host bridge, and its register that places configuration space in memory (Intel 316966,
/// s. 5.1.16): bit 0 enables, bits 35:28 are the address.
const Q35: u32 = 0x29c0_8086;
const PCIEXBAR: u8 = 0x60;
/// x2APIC mode (SDM Vol. 3A s. 11.12): CPUID's bit in leaf 1 ECX, the mode's bit, the ICR.
const X2APIC: u32 = 1 << 21;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const X2APIC_ICR: u32 = 0x830;
/// A fixed interrupt for a CPU that is not there.
const TO_NOBODY: u64 = 0xffff_ff00 << 32 | 0x40;

pub fn run() {
    instructions();
    let Some((first, count)) = boot::encrypted_range() else {
        crate::report::fail(format_args!("the image names no encrypted range"))
    };
    ata::settle();
    let bm = ata::bus_master();
    with_lines(1 << ata::LINE, || {
        super::bench_disks::measure(|write, lba, address, sectors| {
            let pieces = prds(address, sectors * SECTOR);
            ata::must(ata::dma_at(bm, dma_command(lba, sectors, write), !write, Wait::Interrupt, pieces), "DMA");
        });
    });
    ata::settle();
    for (place, lba) in [("encrypted", first), ("plain", first + count)] {
        bios_read(place, u64::from(lba));
    }
}

/// Only what depends on the machine: on one that may have more CPUs, or has configuration space in memory.
pub fn registers() {
    instructions();
    memory_mapped_configuration();
    x2apic();
}

pub(super) fn report(name: fmt::Arguments<'_>, value: u64) {
    say!("BENCH {name} {value}");
}

/// The least that the code took, idle time taken off.
pub(super) fn least(rounds: usize, mut code: impl FnMut()) -> u64 {
    (0..rounds)
        .map(|_| {
            let (idle, start) = (cpu::idle_ticks(), rdtsc());
            code();
            rdtsc() - start - (cpu::idle_ticks() - idle)
        })
        .min()
        .unwrap_or(0)
}

/// One instruction between two RDTSC, in line: nothing else is measured but the second of these.
macro_rules! ticks {
    ($line:literal, $a:expr, $c:expr, $d:expr) => {{
        let mut best = u64::MAX;
        // The number is hidden: unrolled, each round would be another instruction, and none is met again.
        for _ in 0..black_box(ROUNDS) {
            let (start, end): (u64, u64);
            // SAFETY: what the instruction writes was there before, or has no effect; RBX is kept, as CPUID changes it.
            unsafe {
                asm!(
                    "mov r10, rbx", "mov r11, rax", "mov r8, rdx", "rdtsc", "shl rdx, 32", "lea r9, [rax + rdx]",
                    "mov rax, r11", "mov rdx, r8", $line, "rdtsc", "shl rdx, 32", "add rax, rdx", "mov rbx, r10",
                    inout("rax") $a as u64 => end, inout("rcx") $c as u64 => _, inout("rdx") $d as u64 => _,
                    out("r8") _, out("r9") start, out("r10") _, out("r11") _,
                )
            };
            best = best.min(end - start);
        }
        best
    }};
}

fn instructions() {
    let nothing = ticks!("", 0, 0, 0);
    // Not the CPU's value but another one is read: EFER under AMD-V, FEATURE_CONTROL under VT-x.
    let msr = if cpu::is_intel() { FEATURE_CONTROL } else { cpu::EFER };
    let Ok(apic_base) = cpu::rdmsr(APIC_BASE) else { crate::report::fail(format_args!("no local APIC")) };
    for (name, taken) in [
        ("rdtsc", ticks!("rdtsc", 0, 0, 0)),
        ("cpuid", ticks!("cpuid", 0, 0, 0)),
        ("rdmsr_intercepted", ticks!("rdmsr", 0, msr, 0)),
        ("wrmsr_intercepted", ticks!("wrmsr", apic_base as u32, APIC_BASE, apic_base >> 32)),
        ("in_port_92", ticks!("in al, dx", 0, 0, 0x92)),
        ("in_ata_alt_status", ticks!("in al, dx", 0, 0, ata::CONTROL)),
        ("in_ata_count", ticks!("in al, dx", 0, 0, ata::DATA + 2)),
        ("out_ata_count", ticks!("out dx, al", 1, 0, ata::DATA + 2)),
        ("in_unhooked", ticks!("in al, dx", 0, 0, 0x21)),
        ("out_port_80", ticks!("out dx, al", 0, 0, 0x80)),
        ("apic_read", ticks!("mov eax, [rcx]", 0, APIC_VERSION, 0)),
        ("apic_write", ticks!("mov [rcx], eax", 0, APIC_EOI, 0)),
        ("mov_from_cr3", ticks!("mov rax, cr3", 0, 0, 0)),
        ("mov_to_cr3", ticks!("mov cr3, rax", cpu::cr3(), 0, 0)),
    ] {
        report(format_args!("{name}"), taken - nothing);
    }
    if shoji() {
        hypercalls(nothing);
    }
    for (name, function) in [("unguarded", Some(HOST_BRIDGE)), ("guarded", Function::of_class(IDE))] {
        let Some(function) = function else { continue };
        let address = 1 << 31 | address(function);
        let taken = ticks!("out dx, eax; mov edx, 0xcfc; in eax, dx", address, 0, 0xcf8);
        report(format_args!("config_read_{name}"), taken - nothing);
    }
}

/// The shortest one, and one with parameters.
fn hypercalls(nothing: u64) {
    let name = name::STATUS.as_bytes();
    let at = buffer_address(0);
    buffer(0)[..name.len()].copy_from_slice(name);
    let [shortest, with_parameters] = if cpu::is_intel() {
        let lookup = ticks!("push rsi; xor esi, esi; mov rbx, rdx; vmcall; pop rsi", LOOKUP, name.len(), at);
        [ticks!("vmcall", VERSION, 0, 0), lookup]
    } else {
        let lookup = ticks!("push rsi; xor esi, esi; mov rbx, rdx; vmmcall; pop rsi", LOOKUP, name.len(), at);
        [ticks!("vmmcall", VERSION, 0, 0), lookup]
    };
    report(format_args!("hypercall"), shortest - nothing);
    report(format_args!("hypercall_parameters"), with_parameters - nothing);
}

/// A function's place in CF8h's format.
fn address(function: Function) -> u64 {
    u64::from(function.device) << 11 | u64::from(function.function) << 8
}

/// Where the machine has it: PCI Express Base 5.0, s. 7.2.2: 4 KiB a function.
fn memory_mapped_configuration() {
    let placed = HOST_BRIDGE.read32(PCIEXBAR);
    if HOST_BRIDGE.read32(0) != Q35 || placed & 1 == 0 {
        return;
    }
    let (nothing, base) = (ticks!("", 0, 0, 0), u64::from(placed & 0xf000_0000));
    for (name, function) in [("unguarded", Some(HOST_BRIDGE)), ("guarded", Function::of_class(IDE))] {
        let Some(function) = function else { continue };
        let at = base | address(function) << 4;
        let id: u32;
        // SAFETY: a read of configuration space has no effect.
        unsafe { asm!("mov {:e}, [{}]", out(reg) id, in(reg) at) };
        check!(id == function.read32(0), "configuration space in memory holds another {name} function");
        let taken = ticks!("mov eax, [rcx]", 0, at, 0);
        report(format_args!("ecam_read_{name}"), taken - nothing);
    }
    if let Some(function) = Function::of_class(AHCI) {
        ahci_registers(function, nothing);
    }
}

/// Registers of the controller in memory (AHCI 1.3.1 s. 3.1): CAP is read, and IS, where ones clear, is written with none.
fn ahci_registers(function: Function, nothing: u64) {
    let at = u64::from(function.read32(AHCI_BASE) & !0xf);
    check!(at != 0, "the AHCI controller has no address");
    report(format_args!("ahci_register_read"), ticks!("mov eax, [rcx]", 0, at, 0) - nothing);
    report(format_args!("ahci_register_write"), ticks!("mov [rcx], eax", 0, at + 8, 0) - nothing);
}

/// The last thing that a guest does: there is no way back to xAPIC mode but by switching the local APIC off.
fn x2apic() {
    if cpu::cpuid(1).ecx & X2APIC == 0 {
        return;
    }
    let Ok(base) = cpu::rdmsr(APIC_BASE) else { return };
    // SAFETY: nothing here uses the xAPIC page from now on.
    check!(unsafe { cpu::wrmsr(APIC_BASE, base | APIC_BASE_X2APIC) }.is_ok(), "no x2APIC mode");
    let nothing = ticks!("", 0, 0, 0);
    let taken = ticks!("wrmsr", TO_NOBODY as u32, X2APIC_ICR, TO_NOBODY >> 32);
    report(format_args!("x2apic_icr_write"), taken - nothing);
}

/// INT 13h AH=42h: the BIOS reads by PIO; per word, all of the call included.
fn bios_read(place: &str, lba: u64) {
    let taken = least(ROUNDS, || {
        poke(PACKET, 0x10u16);
        poke(PACKET + 2, BIOS_SECTORS as u16);
        poke(PACKET + 4, ((LOW_DATA / 16) << 16) as u32);
        poke(PACKET + 8, lba);
        let r = bios(
            0x13,
            Registers { eax: 0x4200, edx: u32::from(boot::drive()), esi: PACKET as u32, ..Registers::default() },
        );
        check!(!r.carry(), "INT 13h AH=42h fails: {r:x?}");
    });
    // SAFETY: memory below the real-mode stack that only the BIOS call wrote to.
    let data = unsafe { core::slice::from_raw_parts(LOW_DATA as *const u8, BIOS_SECTORS as usize * SECTOR) };
    check!(ata::pattern_mismatch(lba, 1, data).is_none(), "{place}: the BIOS reads other data than was written");
    report(format_args!("bios_read_per_word_{place}"), taken / (BIOS_SECTORS * SECTOR as u64 / 2));
}
