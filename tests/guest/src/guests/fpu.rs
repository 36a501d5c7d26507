//! x87, MXCSR, XMM and YMM registers stay what they are while encrypted disk I/O runs, whatever XCR0, CR0 and CR4 say
//! and with an x87 exception pending.
//! AMD64 APM Vol. 2 (publication 24593) 11.4.4 (FXSAVE image), 11.5 (XSAVE); Vol. 5 (26569).

use crate::boot;
use crate::machine::ata::{self, SECTOR};
use crate::machine::cpu::{
    self, CR0_EM, CR0_MP, CR0_NE, CR0_TS, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_OSXSAVE, cpuid, cpuid_count,
};
use crate::machine::exceptions::{MF, catch};
use crate::machine::memory::buffer;
use core::arch::asm;

/// XSAVE image in standard format: legacy region, header, upper halves of YMM.
#[repr(C, align(64))]
struct State([u8; 832]);

const CONTROL_WORD: usize = 0;
const STATUS_WORD: usize = 2;
const TAGS: usize = 4;
const MXCSR: usize = 24;
const ST: usize = 32;
const XMM: usize = 160;
const HEADER: usize = 512;
const YMM: usize = 576;

const AVX: u32 = 1 << 28; // leaf 1 ECX
const XSAVE: u32 = 1 << 26; // leaf 1 ECX

const ZERO_DIVIDE: u16 = 1 << 2;
const ERROR_SUMMARY: u16 = 1 << 7;
const BUSY: u16 = 1 << 15;

/// How the guest's control registers stand while the disk works.
struct Setting {
    name: &'static str,
    xcr0: u64,
    cr0: u64,
    cr4: u64,
    pending: bool,
}

const CR4_USUAL: u64 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
const USUAL: Setting = Setting { name: "usual", xcr0: 7, cr0: CR0_MP | CR0_NE, cr4: CR4_USUAL, pending: false };
const SETTINGS: [Setting; 11] = [
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

/// All of the FPU within reach of this guest.
fn usable() {
    // SAFETY: the program itself uses no FPU register.
    unsafe {
        cpu::set_cr0(cpu::cr0() & !(CR0_EM | CR0_TS) | CR0_MP | CR0_NE);
        cpu::set_cr4(cpu::cr4() | CR4_USUAL);
    }
    set_xcr0(7);
}

fn set_xcr0(value: u64) {
    // SAFETY: as above; x87 is always in the value.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") 0) };
}

fn one(setting: &Setting, lba: u64, seed: u32) {
    let wanted = image(seed, setting.pending);
    let mut found = State([0; 832]);
    usable();
    // SAFETY: loads and stores the FPU's registers, which the program does not use; FNINIT first, so that no exception
    // of the round before is pending.
    unsafe {
        asm!("fninit", "xrstor64 [{}]", in(reg) &wanted, in("eax") 7, in("edx") 0);
        set_xcr0(setting.xcr0);
        cpu::set_cr0(cpu::cr0() & !(CR0_MP | CR0_EM | CR0_TS | CR0_NE) | setting.cr0);
        cpu::set_cr4(cpu::cr4() & !CR4_USUAL | setting.cr4);
        disk(lba, seed);
        check_eq!(cpu::cr0() & (CR0_EM | CR0_TS), setting.cr0 & (CR0_EM | CR0_TS), "{}: CR0.TS and EM", setting.name);
        if setting.cr4 & CR4_OSXSAVE != 0 {
            let xcr0: u32;
            asm!("xgetbv", in("ecx") 0, out("eax") xcr0, out("edx") _);
            check_eq!(u64::from(xcr0), setting.xcr0, "{}: XCR0", setting.name);
        }
        usable();
        asm!("xsave64 [{}]", in(reg) &mut found, in("eax") 7, in("edx") 0);
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
fn image(seed: u32, pending: bool) -> State {
    let mut state = State([0; 832]);
    let mut x = seed.wrapping_mul(0x9e37_79b1) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    state.0[XMM..XMM + 256].fill_with(&mut next);
    state.0[YMM..YMM + 256].fill_with(&mut next);
    for register in state.0[ST..ST + 128].chunks_exact_mut(16) {
        register[..8].fill_with(&mut next);
        register[7] |= 0x80; // integer bit of a normal number
        register[8] = next();
        register[9] = 0x3f;
    }
    let (control, status) =
        if pending { (0x37f & !ZERO_DIVIDE, ZERO_DIVIDE | ERROR_SUMMARY | BUSY) } else { (0x27f, 0x4100) };
    state.0[CONTROL_WORD..][..2].copy_from_slice(&u16::to_le_bytes(control));
    state.0[STATUS_WORD..][..2].copy_from_slice(&u16::to_le_bytes(status));
    state.0[TAGS] = 0xff; // all registers are in use
    let mxcsr = 0x1f80 | u32::from(next() & 0x3f) | u32::from(next() & 3) << 13 | 0x8000;
    state.0[MXCSR..][..4].copy_from_slice(&mxcsr.to_le_bytes());
    state.0[HEADER] = 7;
    state
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
        ("upper half of YMM", registers(YMM, 16, 16, 16)),
    ];
    for (name, ranges) in parts {
        for (i, range) in ranges.enumerate() {
            check_eq!(&found.0[range.clone()], &wanted.0[range], "{setting}: {name} {i}");
        }
    }
}

/// Encrypted sectors, written and read by DMA and PIO.
fn disk(lba: u64, generation: u32) {
    let (data, back) = (&mut buffer(0)[..16 * SECTOR], &mut buffer(1)[..16 * SECTOR]);
    ata::fill_pattern(lba, generation, data);
    ata::must(ata::write_dma(lba, &data[..8 * SECTOR]), "WRITE DMA");
    ata::must(ata::write_pio(lba + 8, &data[8 * SECTOR..]), "WRITE SECTORS");
    back.fill(0);
    ata::must(ata::read_pio(lba, &mut back[..8 * SECTOR]), "READ SECTORS");
    ata::must(ata::read_dma(lba + 8, &mut back[8 * SECTOR..]), "READ DMA");
    check!(back == data, "wrong data from the disk");
}
