//! x87, MXCSR, XMM, YMM and, where the CPU has them, opmask and ZMM registers stay what they are while encrypted disk I/O
//! runs, whatever XCR0, CR0 and CR4 say and with an x87 exception pending; what was not in use is not in use afterwards.
//! AMD64 APM Vol. 2 (publication 24593) 11.4.4 (FXSAVE image), 11.5 (XSAVE); Vol. 5 (26569). SDM Vol. 1, 13.5 and 13.6.

use crate::boot;
use crate::machine::ata::{self, SECTOR};
use crate::machine::cpu::{
    self, CR0_EM, CR0_MP, CR0_NE, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, cpuid, cpuid_count,
};
use crate::machine::exceptions::{MF, catch};
use crate::machine::memory::buffer;
use core::arch::asm;
use core::ops::Range;

/// XSAVE image in standard format: legacy region, header, upper halves of YMM, what AVX-512 adds.
#[repr(C, align(64))]
struct State([u8; STATE_BYTES]);

const STATE_BYTES: usize = 2816;

const CONTROL_WORD: usize = 0;
const STATUS_WORD: usize = 2;
const TAGS: usize = 4;
const MXCSR: usize = 24;
const ST: usize = 32;
const XMM: usize = 160;
const HEADER: usize = 512;
const YMM: usize = 576;

/// Components of XCR0.
const X87_SSE: u64 = 0b011;
const AVX_HALVES: u64 = 0b100;
const AVX_512: u64 = 0b1110_0000;
/// All that the guest loads, where the CPU has it.
const ALL: u64 = X87_SSE | AVX_HALVES | AVX_512;

const AVX: u32 = 1 << 28; // leaf 1 ECX
const XSAVE: u32 = 1 << 26; // leaf 1 ECX

const ZERO_DIVIDE: u16 = 1 << 2;
const ERROR_SUMMARY: u16 = 1 << 7;
const BUSY: u16 = 1 << 15;

/// How the guest's control registers stand while the disk works.
struct Setting {
    name: &'static str,
    /// Less what the CPU has not.
    xcr0: u64,
    /// Components that are not in their initial state.
    in_use: u64,
    cr0: u64,
    cr4: u64,
    pending: bool,
}

const CR4_USUAL: u64 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
const USUAL: Setting =
    Setting { name: "usual", xcr0: 7, in_use: ALL, cr0: CR0_MP | CR0_NE, cr4: CR4_USUAL, pending: false };
const SETTINGS: [Setting; 14] = [
    Setting { name: "XCR0 = all", xcr0: ALL, ..USUAL },
    Setting { name: "XCR0 = all, no ZMM register in use", xcr0: ALL, in_use: X87_SSE | AVX_HALVES, ..USUAL },
    Setting { name: "XCR0 = all, no YMM register in use", xcr0: ALL, in_use: X87_SSE, ..USUAL },
    Setting { name: "XCR0 = 7", ..USUAL },
    Setting { name: "XCR0 = 3", xcr0: 3, ..USUAL },
    Setting { name: "XCR0 = 1", xcr0: 1, ..USUAL },
    Setting { name: "XCR0 = 7, TS", cr0: CR0_MP | CR0_NE | CR0_TS, ..USUAL },
    Setting { name: "XCR0 = 1, TS", xcr0: 1, cr0: CR0_MP | CR0_NE | CR0_TS, ..USUAL },
    Setting { name: "EM", cr0: CR0_NE | CR0_EM, ..USUAL },
    Setting { name: "no OSXSAVE", cr4: CR4_OSFXSR, ..USUAL },
    Setting { name: "no OSFXSR, no OSXSAVE", cr4: 0, ..USUAL },
    Setting { name: "x87 exception pending", pending: true, ..USUAL },
    Setting { name: "XCR0 = 1, x87 exception pending", xcr0: 1, pending: true, ..USUAL },
    Setting { name: "x87 exception pending, TS", cr0: CR0_MP | CR0_NE | CR0_TS, pending: true, ..USUAL },
];

pub fn run() {
    let Some((first, _)) = boot::encrypted_range() else {
        crate::report::fail(format_args!("the image names no encrypted range"))
    };
    let features = cpuid(1).ecx;
    check!(features & XSAVE != 0 && features & AVX != 0, "the CPU has no AVX: choose one that has");
    let (cr0, cr4) = (cpu::cr0(), cpu::cr4());
    usable();
    check_eq!(cpuid_count(13, 2).ebx as usize, YMM, "place of the YMM halves in an XSAVE image");
    check!(cpuid_count(13, 0).ebx as usize <= STATE_BYTES, "the XSAVE image of all components is too large");
    say!("components of XCR0: {:x}", components());
    for (i, setting) in SETTINGS.iter().enumerate() {
        for round in 0..4 {
            one(setting, u64::from(first) + 64 * i as u64, i as u32 * 16 + round);
        }
        say!("{}: unchanged", setting.name);
    }
    // SAFETY: the values of before.
    unsafe {
        cpu::set_cr0(cr0);
        cpu::set_cr4(cr4);
    }
}

/// What the guest loads and looks at, of what the CPU has.
fn components() -> u64 {
    u64::from(cpuid_count(13, 0).eax) & ALL
}

/// Which components are in use, if the CPU tells.
fn in_use() -> u64 {
    const XGETBV_1: u32 = 1 << 2; // leaf 13, subleaf 1, EAX
    if cpuid_count(13, 1).eax & XGETBV_1 == 0 {
        return 0;
    }
    let in_use: u32;
    // SAFETY: CR4.OSXSAVE is set, and the CPU knows this number.
    unsafe { asm!("xgetbv", in("ecx") 1, out("eax") in_use, out("edx") _) };
    u64::from(in_use)
}

/// All of the FPU within reach of this guest.
fn usable() {
    // SAFETY: the program itself uses no FPU register.
    unsafe {
        cpu::set_cr0(cpu::cr0() & !(CR0_EM | CR0_TS) | CR0_MP | CR0_NE);
        cpu::set_cr4(cpu::cr4() | CR4_USUAL);
    }
    set_xcr0(components());
}

fn set_xcr0(value: u64) {
    // SAFETY: as above; x87 is always in the value.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") 0) };
}

fn one(setting: &Setting, lba: u64, seed: u32) {
    let wanted = image(seed, setting);
    let mut found = State([0; STATE_BYTES]);
    let all = components() as u32;
    let xcr0 = setting.xcr0 & components();
    usable();
    // SAFETY: loads and stores the FPU's registers, which the program does not use; FNINIT first, so that no exception
    // of the round before is pending.
    unsafe {
        asm!("fninit", "xrstor64 [{}]", in(reg) &wanted, in("eax") all, in("edx") 0);
        let in_use_before = in_use();
        set_xcr0(xcr0);
        cpu::set_cr0(cpu::cr0() & !(CR0_MP | CR0_EM | CR0_TS | CR0_NE) | setting.cr0);
        cpu::set_cr4(cpu::cr4() & !CR4_USUAL | setting.cr4);
        disk(lba, seed);
        check_eq!(cpu::cr0() & (CR0_EM | CR0_TS), setting.cr0 & (CR0_EM | CR0_TS), "{}: CR0.TS and EM", setting.name);
        if setting.cr4 & CR4_OSXSAVE != 0 {
            let found: u32;
            asm!("xgetbv", in("ecx") 0, out("eax") found, out("edx") _);
            check_eq!(u64::from(found), xcr0, "{}: XCR0", setting.name);
        }
        usable();
        check_eq!(in_use(), in_use_before, "{}: components in use", setting.name);
        asm!("xsave64 [{}]", in(reg) &mut found, in("eax") all, in("edx") 0);
    }
    compare(setting.name, &wanted, &found);
    // SAFETY: FWAIT raises what is pending.
    let fault = catch(&mut || unsafe { asm!("fwait") });
    match (setting.pending, fault) {
        (true, Err(f)) if f.vector == MF => {}
        (false, Ok(())) => {}
        (_, other) => crate::report::fail(format_args!("{}: FWAIT gives {other:x?}", setting.name)),
    }
}

/// A state in which every byte depends on the seed.
fn image(seed: u32, setting: &Setting) -> State {
    let mut state = State([0; STATE_BYTES]);
    let mut x = seed.wrapping_mul(0x9e37_79b1) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    state.0[XMM..XMM + 256].fill_with(&mut next);
    let in_use = setting.in_use & components();
    for (_, component) in UPPER {
        if in_use & 1 << component != 0 {
            state.0[place(component)].fill_with(&mut next);
        }
    }
    for register in state.0[ST..ST + 128].chunks_exact_mut(16) {
        register[..8].fill_with(&mut next);
        register[7] |= 0x80; // integer bit of a normal number
        register[8] = next();
        register[9] = 0x3f;
    }
    let (control, status) =
        if setting.pending { (0x37f & !ZERO_DIVIDE, ZERO_DIVIDE | ERROR_SUMMARY | BUSY) } else { (0x27f, 0x4100) };
    state.0[CONTROL_WORD..][..2].copy_from_slice(&u16::to_le_bytes(control));
    state.0[STATUS_WORD..][..2].copy_from_slice(&u16::to_le_bytes(status));
    state.0[TAGS] = 0xff; // all registers are in use
    let mxcsr = 0x1f80 | u32::from(next() & 0x3f) | u32::from(next() & 3) << 13 | 0x8000;
    state.0[MXCSR..][..4].copy_from_slice(&mxcsr.to_le_bytes());
    state.0[HEADER] = in_use as u8;
    state
}

/// Components beyond the legacy region, by their bits in XCR0.
const UPPER: [(&str, u32); 4] =
    [("upper halves of YMM", 2), ("opmasks", 5), ("upper halves of ZMM", 6), ("ZMM from 16 on", 7)];

/// Where a component lies in an XSAVE image; empty when the CPU has it not.
fn place(component: u32) -> Range<usize> {
    if components() & 1 << component == 0 {
        return 0..0;
    }
    let leaf = cpuid_count(13, component);
    leaf.ebx as usize..(leaf.ebx + leaf.eax) as usize
}

fn compare(setting: &str, wanted: &State, found: &State) {
    let registers = |base: usize, stride: usize, len: usize, count: usize| {
        (0..count).map(move |i| base + i * stride..base + i * stride + len)
    };
    let parts = [
        ("x87 control, status, tags", registers(0, 5, 5, 1)),
        ("MXCSR", registers(MXCSR, 4, 4, 1)),
        ("ST", registers(ST, 16, 10, 8)),
        ("XMM", registers(XMM, 16, 16, 16)),
    ];
    for (name, ranges) in parts {
        for (i, range) in ranges.enumerate() {
            check_eq!(&found.0[range.clone()], &wanted.0[range], "{setting}: {name} {i}");
        }
    }
    for (name, component) in UPPER {
        for (i, at) in place(component).step_by(8).enumerate() {
            check_eq!(&found.0[at..at + 8], &wanted.0[at..at + 8], "{setting}: {name}, 64-bit word {i}");
        }
    }
}

/// Encrypted sectors, written and read by DMA and PIO: so many at a time that the VMM takes its widest registers, even
/// where it must widen XCR0 for them, and so few that it does not.
fn disk(lba: u64, generation: u32) {
    const MANY: usize = 32;
    const FEW: usize = 4;
    let (data, back) = (&mut buffer(0)[..(MANY + FEW) * SECTOR], &mut buffer(1)[..(MANY + FEW) * SECTOR]);
    ata::fill_pattern(lba, generation, data);
    ata::must(ata::write_dma(lba, &data[..MANY * SECTOR]), "WRITE DMA");
    ata::must(ata::write_pio(lba + MANY as u64, &data[MANY * SECTOR..]), "WRITE SECTORS");
    back.fill(0);
    ata::must(ata::read_pio(lba, &mut back[..FEW * SECTOR]), "READ SECTORS");
    ata::must(ata::read_dma(lba + FEW as u64, &mut back[FEW * SECTOR..]), "READ DMA");
    check!(back == data, "wrong data from the disk");
}
