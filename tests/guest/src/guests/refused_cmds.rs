//! Commands that a disk with an encrypted range refuses as a drive would: ABRT, with an interrupt; those that must
//! pass; and IDENTIFY DEVICE without the features that are refused.
//! ATA/ATAPI-7 Vol. 1 (T13/1532D) s. 6; ATA8-ACS (T13/1699D) for the commands that came later.

use super::shoji;
use crate::boot;
use crate::machine::ata::{self, ABRT, BUSY, Command, DRQ, ERR, SECTOR};
use crate::machine::cpu;
use crate::machine::irq::with_lines;
use crate::machine::memory::buffer;
use crate::machine::port::in8;

/// Code, features, name.
const REFUSED: &[(u8, u16, &str)] = &[
    (0x06, 1, "DATA SET MANAGEMENT (TRIM)"),
    (0x22, 0, "READ LONG"),
    (0x23, 0, "READ LONG without retries"),
    (0x26, 0, "READ DMA QUEUED EXT"),
    (0x32, 0, "WRITE LONG"),
    (0x33, 0, "WRITE LONG without retries"),
    (0x36, 0, "WRITE DMA QUEUED EXT"),
    (0x37, 0, "SET MAX ADDRESS EXT"),
    (0x38, 0, "CFA WRITE SECTORS WITHOUT ERASE"),
    (0x3a, 0, "WRITE STREAM DMA EXT"),
    (0x3b, 0, "WRITE STREAM EXT"),
    (0x3f, 0, "WRITE LOG EXT"),
    (0x45, 0x55, "WRITE UNCORRECTABLE EXT"),
    (0x50, 0, "FORMAT TRACK"),
    (0x57, 0, "WRITE LOG DMA EXT"),
    (0x5c, 0, "TRUSTED RECEIVE"),
    (0x5d, 0, "TRUSTED RECEIVE DMA"),
    (0x5e, 0, "TRUSTED SEND"),
    (0x5f, 0, "TRUSTED SEND DMA"),
    (0x60, 0, "READ FPDMA QUEUED"),
    (0x61, 0, "WRITE FPDMA QUEUED"),
    (0x80, 0, "vendor specific 80h"),
    (0x8f, 0, "vendor specific 8Fh"),
    (0x92, 0, "DOWNLOAD MICROCODE"),
    (0x93, 0, "DOWNLOAD MICROCODE DMA"),
    (0x9a, 0, "vendor specific 9Ah"),
    (0xb1, 0xc0, "DEVICE CONFIGURATION RESTORE"),
    (0xb1, 0xc3, "DEVICE CONFIGURATION SET"),
    (0xb4, 0x12, "SANITIZE"),
    (0xc0, 0, "CFA ERASE SECTORS"),
    (0xc7, 0, "READ DMA QUEUED"),
    (0xcc, 0, "WRITE DMA QUEUED"),
    (0xcd, 0, "CFA WRITE MULTIPLE WITHOUT ERASE"),
    (0xef, 0x01, "SET FEATURES, 8-bit data"),
    (0xf0, 0, "vendor specific F0h"),
    (0xf1, 0, "SECURITY SET PASSWORD"),
    (0xf2, 0, "SECURITY UNLOCK"),
    (0xf3, 0, "SECURITY ERASE PREPARE"),
    (0xf4, 0, "SECURITY ERASE UNIT"),
    (0xf6, 0, "SECURITY DISABLE PASSWORD"),
    (0xf7, 0, "vendor specific F7h"),
    (0xf9, 0, "SET MAX ADDRESS"),
    (0xfa, 0, "vendor specific FAh"),
    (0xff, 0, "vendor specific FFh"),
];
/// SMART (B0h) subcommands that write: features; the signature C2h 4Fh goes into LBA mid and high.
const REFUSED_SMART: &[(u16, u64, &str)] =
    &[(0xd6, 0x01, "SMART WRITE LOG"), (0xd6, 0xe0, "SMART WRITE LOG to SCT"), (0xe0, 0, "SMART vendor specific E0h")];
const SMART_SIGNATURE: u64 = 0xc2_4f00;

const PASSED: &[(u8, u16, &str)] = &[
    (0x40, 0, "READ VERIFY SECTORS"),
    (0xe0, 0, "STANDBY IMMEDIATE"),
    (0xe1, 0, "IDLE IMMEDIATE"),
    (0xe5, 0, "CHECK POWER MODE"),
    (0xe7, 0, "FLUSH CACHE"),
    (0xea, 0, "FLUSH CACHE EXT"),
    (0xef, 0x02, "SET FEATURES, write cache on"),
];
const WAIT_TICKS: u64 = 20_000_000_000;

pub fn run() {
    let Some((first, _)) = boot::encrypted_range() else {
        crate::report::fail(format_args!("the image names no encrypted range"))
    };
    let lba = u64::from(first) + 10;
    let sentinel = &mut buffer(0)[..SECTOR];
    ata::settle();
    ata::fill_pattern(lba, 5, sentinel);
    ata::must(ata::write_dma(lba, sentinel), "WRITE DMA");
    with_lines(1 << ata::LINE, || {
        for &(code, features, name) in PASSED {
            let result = answered(Command { code, features, lba, count: 1, ..Command::default() }, name);
            check!(result.is_ok(), "{name}: {result:x?}");
        }
        let smart = REFUSED_SMART.iter().map(|&(f, log, name)| (0xb0, f, SMART_SIGNATURE | log, name));
        let refused = REFUSED.iter().map(|&(code, features, name)| (code, features, lba, name));
        for (code, features, lba, name) in refused.chain(smart) {
            if shoji() {
                refuses(Command { code, features, lba, count: 1, ..Command::default() }, name);
            }
        }
        smart_reads();
    });
    let back = &mut buffer(1)[..SECTOR];
    ata::must(ata::read_dma(lba, back), "READ DMA");
    check!(back == sentinel, "a refused command changed the disk");
    identify();
}

/// Issues a command and waits for its interrupt; a drive that waits for data has taken it.
fn answered(c: Command, name: &str) -> Result<(), (u8, u8)> {
    in8(ata::STATUS);
    let before = ata::interrupts();
    ata::issue(c);
    let start = cpu::rdtsc();
    while ata::interrupts() == before {
        cpu::enable_interrupts();
        let status = in8(ata::CONTROL);
        cpu::disable_interrupts();
        check!(cpu::rdtsc() - start < WAIT_TICKS, "{name} ({:#x}) raises no interrupt (status {status:#x})", c.code);
        check!(status & (BUSY | DRQ) != DRQ, "{name} ({:#x}) asks for data", c.code);
    }
    let status = in8(ata::STATUS);
    if status & ERR == 0 { Ok(()) } else { Err((status, in8(ata::DATA + 1))) }
}

fn refuses(c: Command, name: &str) {
    match answered(c, name) {
        Ok(()) => crate::report::fail(format_args!("{name} ({:#x}) is carried out", c.code)),
        Err((status, error)) => {
            check_eq!(error & ABRT, ABRT, "{name}: ABRT in the error register");
            check_eq!(status & (BUSY | DRQ), 0, "{name}: BSY and DRQ");
        }
    }
}

/// SMART READ DATA and READ THRESHOLDS bring a sector, where the drive has SMART at all (IDENTIFY DEVICE word 82).
fn smart_reads() {
    if ata::identify()[82] & 1 == 0 {
        say!("the drive has no SMART");
        return;
    }
    for (features, name) in [(0xd0, "SMART READ DATA"), (0xd1, "SMART READ THRESHOLDS")] {
        let c = Command { code: 0xb0, features, lba: SMART_SIGNATURE, count: 1, ..Command::default() };
        ata::must(ata::pio_in(c, 1, &mut buffer(1)[..SECTOR]), name);
    }
}

/// Word, bits that must be clear, what they would promise.
const HIDDEN: &[(usize, u16, &str)] = &[
    (48, 1, "trusted computing"),
    (82, 1 << 1, "security"),
    (82, 1 << 10, "host protected area"),
    (83, 1, "download microcode"),
    (83, 1 << 1, "queued DMA"),
    (83, 1 << 8, "SET MAX security"),
    (83, 1 << 11, "device configuration overlay"),
    (85, 1 << 1, "security enabled"),
    (128, 1, "security supported"),
    (169, 1, "TRIM"),
    (206, 1, "SCT"),
];

fn identify() {
    let id = ata::identify();
    let sectors = u64::from(id[60]) | u64::from(id[61]) << 16;
    say!("IDENTIFY DEVICE: {sectors} sectors, words 82 to 87: {:04x?}", &id[82..88]);
    check!(sectors > 0, "IDENTIFY DEVICE tells of no sector");
    if id[255] & 0xff == 0xa5 {
        let sum = id.iter().flat_map(|w| w.to_le_bytes()).fold(0u8, u8::wrapping_add);
        check_eq!(sum, 0, "the checksum of IDENTIFY DEVICE");
    }
    if shoji() {
        for &(word, bits, what) in HIDDEN {
            check_eq!(id[word] & bits, 0, "IDENTIFY DEVICE word {word} ({what})");
        }
    }
}
