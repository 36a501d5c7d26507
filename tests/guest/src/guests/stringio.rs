//! Data transfers on a hooked port, the disk's data port, by every form of IN, OUT, INS and OUTS, in every mode.
//! AMD64 APM Vol. 3 (publication 24594), IN, OUT, INS, OUTS, REP.

use crate::machine::ata::{self, Command, DATA, SECTOR};
use crate::machine::exceptions::{PF, catch};
use crate::machine::memory::{Remapped, buffer, buffer_address};
use crate::machine::modes::{run16, run32};
use crate::machine::port::in8;
use core::arch::{asm, global_asm};

/// A sector of this program, so not of one value.
const SOURCE: u64 = 5;
/// A sector that nobody else uses.
const SCRATCH: u64 = 4096;
const WORDS: u64 = SECTOR as u64 / 2;

pub fn run() {
    let mut reference = [0u8; SECTOR];
    ata::settle();
    ata::must(ata::read_dma(SOURCE, &mut buffer(0)[..SECTOR]), "READ DMA");
    reference.copy_from_slice(&buffer(0)[..SECTOR]);
    input(&reference);
    zero_count(&reference);
    across_a_remapped_page(&reference);
    page_fault_midway(&reference);
    other_modes(&reference);
    output();
}

/// Asks for one sector and waits until the drive offers it.
fn begin(write: bool, lba: u64) {
    ata::issue(Command { code: if write { 0x30 } else { 0x20 }, lba, count: 1, ..Command::default() });
    let status = ata::wait_ready();
    in8(ata::STATUS);
    check!(status & (ata::DRQ | ata::ERR) == ata::DRQ, "the drive offers no data (status {status:#x})");
}

macro_rules! transfer {
    ($pointer:ident, $($line:literal),+) => {
        // SAFETY: moves one sector at the pointer; all other registers that it uses are given up.
        unsafe {
            asm!($($line),+, inout("rdi") $pointer => _, inout("rsi") $pointer => _, in("dx") DATA, out("rax") _,
                out("rcx") _, out("r8") _)
        }
    };
}

type Form = (&'static str, fn(*mut u8));

const INPUT: [Form; 9] = [
    ("REP INSW", |p| transfer!(p, "mov ecx, 256", "rep insw")),
    ("REP INSD", |p| transfer!(p, "mov ecx, 128", "rep insd")),
    ("INSW", |p| transfer!(p, "mov ecx, 256", "2: insw", "dec ecx", "jnz 2b")),
    ("IN AX", |p| transfer!(p, "mov ecx, 256", "2: in ax, dx", "stosw", "dec ecx", "jnz 2b")),
    ("IN EAX", |p| transfer!(p, "mov ecx, 128", "2: in eax, dx", "stosd", "dec ecx", "jnz 2b")),
    ("REP INSW downwards", |p| transfer!(p, "std", "add rdi, 510", "mov ecx, 256", "rep insw", "cld")),
    // F2h repeats INS as F3h does; REX.W changes nothing; the order of prefixes is free.
    ("REPNE REX.W INSD", |p| transfer!(p, "mov ecx, 128", ".byte 0xf2, 0x48, 0x6d")),
    // ECX counts, whatever the upper half of RCX holds.
    ("REP INSW with 32-bit addresses", |p| transfer!(p, "mov rcx, 0x7700000100", ".byte 0x67, 0xf3, 0x66, 0x6d")),
    ("REP INSW in three parts", |p| {
        transfer!(p, "mov ecx, 3", "rep insw", "mov ecx, 250", "rep insw", "mov ecx, 3", "rep insw")
    }),
];

const OUTPUT: [Form; 7] = [
    ("REP OUTSW", |p| transfer!(p, "mov ecx, 256", "rep outsw")),
    ("REP OUTSD", |p| transfer!(p, "mov ecx, 128", "rep outsd")),
    ("OUTSW", |p| transfer!(p, "mov ecx, 256", "2: outsw", "dec ecx", "jnz 2b")),
    ("OUT AX", |p| transfer!(p, "mov ecx, 256", "2: lodsw", "out dx, ax", "dec ecx", "jnz 2b")),
    ("REP OUTSW downwards", |p| transfer!(p, "std", "add rsi, 510", "mov ecx, 256", "rep outsw", "cld")),
    ("REP OUTSW with 32-bit addresses", |p| transfer!(p, "mov rcx, 0x7700000100", ".byte 0x67, 0xf3, 0x66, 0x6f")),
    // FS has a base of 10000h.
    ("REP FS OUTSD", |p| {
        transfer!(
            p,
            "mov r8d, edx",
            "mov ecx, 0xc0000100",
            "mov eax, 0x10000",
            "xor edx, edx",
            "wrmsr",
            "mov edx, r8d",
            "sub rsi, 0x10000",
            "mov ecx, 128",
            ".byte 0x64, 0xf3, 0x6f"
        )
    }),
];

/// With DF = 1 the drive's first word is the last in memory.
fn reverse_if_downwards(form: &str, data: &mut [u8]) {
    if form.contains("downwards") {
        data.as_chunks_mut::<2>().0.reverse();
    }
}

fn input(reference: &[u8]) {
    for (form, transfer) in INPUT {
        let data = &mut buffer(1)[..4 * SECTOR];
        data.fill(0xee);
        begin(false, SOURCE);
        transfer(data[100..].as_mut_ptr());
        check_eq!(in8(ata::CONTROL) & ata::DRQ, 0, "DRQ after {form}");
        reverse_if_downwards(form, &mut data[100..][..SECTOR]);
        check!(data[100..][..SECTOR] == *reference, "{form}: other data than READ DMA");
        check!(data[..100].iter().chain(&data[100 + SECTOR..]).all(|&b| b == 0xee), "{form} writes outside");
    }
    say!("{} forms of input agree with READ DMA", INPUT.len());
}

fn output() {
    for (generation, (form, transfer)) in OUTPUT.into_iter().enumerate() {
        let data = &mut buffer(1)[..SECTOR];
        ata::fill_pattern(SCRATCH, generation as u32, data);
        reverse_if_downwards(form, data);
        begin(true, SCRATCH);
        transfer(data.as_mut_ptr());
        ata::wait_ready();
        check_eq!(in8(ata::STATUS) & (ata::DRQ | ata::ERR), 0, "status after {form}");
        let back = &mut buffer(0)[..SECTOR];
        ata::must(ata::read_dma(SCRATCH, back), form);
        check!(ata::pattern_mismatch(SCRATCH, generation as u32, back).is_none(), "{form}: other data on the disk");
    }
    say!("{} forms of output reach the disk", OUTPUT.len());
}

fn zero_count(reference: &[u8]) {
    let data = &mut buffer(1)[..SECTOR];
    data.fill(0xee);
    let pointer = data.as_mut_ptr();
    begin(false, SOURCE);
    transfer!(pointer, "xor ecx, ecx", "rep insw", "rep insd");
    check!(data.iter().all(|&b| b == 0xee), "REP INS with a count of 0 writes");
    INPUT[0].1(pointer);
    check!(data == reference, "the sector after REP INS with a count of 0");
}

/// The two linear pages of the destination lie apart in physical memory.
fn across_a_remapped_page(reference: &[u8]) {
    let pages = [Remapped::new(510, Some(buffer_address(2))), Remapped::new(511, Some(buffer_address(4)))];
    let at = pages[1].linear() - 100;
    begin(false, SOURCE);
    INPUT[0].1(at as *mut u8);
    drop(pages);
    let end = buffer(2).len();
    check!(buffer(2)[end - 100..] == reference[..100], "REP INSW: the part before the page border");
    check!(buffer(4)[..412] == reference[100..], "REP INSW: the part behind the page border");
}

/// A page fault in the middle leaves the registers at the word that faulted, and that word in the drive.
fn page_fault_midway(reference: &[u8]) {
    let first = Remapped::new(510, Some(buffer_address(2)));
    let absent = Remapped::new(511, None);
    let border = absent.linear();
    let at = border - 100;
    begin(false, SOURCE);
    let fault = catch(&mut || INPUT[0].1(at as *mut u8));
    let Err(f) = fault else { crate::report::fail(format_args!("REP INSW into an absent page raises nothing")) };
    check_eq!((f.vector, f.error, f.cr2), (PF, 2, border), "vector, error code and CR2 of the fault");
    check_eq!((f.rdi, f.rcx), (border, WORDS - 50), "RDI and RCX at the fault");
    drop(absent);
    drop(first);
    // SAFETY: the rest of the sector into the next buffer.
    unsafe { asm!("rep insw", in("dx") DATA, inout("rdi") buffer_address(4) => _, inout("rcx") f.rcx => _) };
    let end = buffer(2).len();
    check!(buffer(2)[end - 100..] == reference[..100], "the words before the fault");
    check!(buffer(4)[..412] == reference[100..], "the words behind the fault");
}

// To 2000h: segment 100h and offset 1000h in real mode.
global_asm!(
    ".section .text16, \"ax\"",
    ".code16",
    "insw_in_real_mode:",
    "push es",
    "mov ax, 0x100",
    "mov es, ax",
    "mov di, 0x1000",
    "mov dx, 0x1f0",
    "mov ecx, 0x5500ff", // CX counts
    "rep insw",
    "insw",
    "pop es",
    ".byte 0xc3",
    ".code32",
    "insd_in_protected_mode:",
    "mov edi, 0x2000",
    "mov dx, 0x1f0",
    "mov ecx, 64",
    "rep insd",
    "mov cx, 64",
    ".byte 0xf3, 0x67, 0x6d", // 16-bit addresses
    "ret",
    ".code64",
);

unsafe extern "C" {
    fn insw_in_real_mode();
    fn insd_in_protected_mode();
}

fn other_modes(reference: &[u8]) {
    // SAFETY: memory below the real-mode stack that nothing else uses.
    let data = unsafe { core::slice::from_raw_parts_mut(0x2000 as *mut u8, SECTOR) };
    for real in [true, false] {
        data.fill(0xee);
        begin(false, SOURCE);
        // SAFETY: the routines write the sector to 2000h.
        unsafe { if real { run16(insw_in_real_mode) } else { run32(insd_in_protected_mode) } };
        check!(*data == *reference, "string input in another mode (real: {real})");
    }
}
