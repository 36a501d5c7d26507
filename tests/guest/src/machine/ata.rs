//! The primary ATA channel: commands by PIO and by bus-master DMA, polled or with interrupts.
//! ATA/ATAPI-7 (T13/1532D) Vol. 1 s. 6 (commands), Vol. 2 s. 5 (registers); "Programming Interface for Bus Master IDE
//! Controller", revision 1.0 (Intel, 1994).

use super::memory::poke;
use super::port::{in8, in16, out8, read_words, write_words};
use super::{cpu, irq, pci};

pub const DATA: u16 = 0x1f0;
pub const STATUS: u16 = 0x1f7;
pub const CONTROL: u16 = 0x3f6;
pub const LINE: u8 = 14;
pub const SECTOR: usize = 512;

pub const BUSY: u8 = 0x80;
pub const DEVICE_FAULT: u8 = 0x20;
pub const DRQ: u8 = 0x08;
pub const ERR: u8 = 0x01;
pub const ABRT: u8 = 0x04;

/// Bus-master registers, from the base in BAR4.
pub const BM_COMMAND: u16 = 0;
pub const BM_STATUS: u16 = 2;
pub const BM_PRD: u16 = 4;
pub const BM_START: u8 = 1;
pub const BM_TO_MEMORY: u8 = 8;
pub const BM_ACTIVE: u8 = 1;
pub const BM_ERROR: u8 = 2;
pub const BM_INTERRUPT: u8 = 4;

const IDE_CLASS: u16 = 0x0101;
/// The PRD table lies here, on its own 64 KiB.
pub const PRD_TABLE: u64 = 24 << 20;
/// A disk that has not answered by then never will: time stamp ticks, some seconds.
const TIMEOUT_TICKS: u64 = 20_000_000_000;

/// A command as the registers take it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Command {
    pub code: u8,
    pub features: u16,
    pub lba: u64,
    pub count: u16,
    /// LBA48: every register but device and command is written twice.
    pub ext: bool,
    /// Unit 1, the slave.
    pub slave: bool,
}

/// How a command failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtaError {
    pub status: u8,
    pub error: u8,
    /// Bus-master status; 0 where no DMA was asked for.
    pub bus_master: u8,
}

/// A piece of memory of a DMA transfer; 0 bytes stand for 64 KiB, as in the table.
#[derive(Clone, Copy, Debug)]
pub struct Prd {
    pub address: u32,
    pub bytes: u16,
}

/// How the end of a DMA command is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Reading the bus-master status.
    Poll,
    /// HLT until IRQ 14; the line must be open (`irq::with_lines`), and the timer's, or a lost interrupt means no end.
    Interrupt,
}

pub fn function() -> pci::Function {
    match pci::Function::of_class(IDE_CLASS) {
        Some(f) => f,
        None => crate::report::fail(format_args!("no IDE controller on bus 0")),
    }
}

/// Base of the primary channel's bus-master registers, from BAR4; bus mastering is switched on.
pub fn bus_master() -> u16 {
    let f = function();
    let command = f.read16(pci::COMMAND);
    f.write16(pci::COMMAND, command | pci::COMMAND_IO | pci::COMMAND_BUS_MASTER);
    (f.read32(pci::BAR4) & 0xfff0) as u16
}

/// Waits until the drive is not busy; the alternate status, which acknowledges nothing.
pub fn wait_ready() -> u8 {
    let start = cpu::rdtsc();
    loop {
        let status = in8(CONTROL);
        if status & BUSY == 0 {
            return status;
        }
        check!(cpu::rdtsc().wrapping_sub(start) < TIMEOUT_TICKS, "the disk stays busy (status {status:#x})");
    }
}

/// Writes the command block.
pub fn issue(c: Command) {
    wait_ready();
    let device = 0xe0 | u8::from(c.slave) << 4 | if c.ext { 0 } else { (c.lba >> 24) as u8 & 0xf };
    out8(DATA + 6, device);
    wait_ready();
    if c.ext {
        out8(DATA + 1, (c.features >> 8) as u8);
        out8(DATA + 2, (c.count >> 8) as u8);
        for (i, shift) in [24, 32, 40].into_iter().enumerate() {
            out8(DATA + 3 + i as u16, (c.lba >> shift) as u8);
        }
    }
    out8(DATA + 1, c.features as u8);
    out8(DATA + 2, c.count as u8);
    for (i, shift) in [0, 8, 16].into_iter().enumerate() {
        out8(DATA + 3 + i as u16, (c.lba >> shift) as u8);
    }
    out8(STATUS, c.code);
}

fn verdict(status: u8) -> Result<(), AtaError> {
    if status & (ERR | DEVICE_FAULT) == 0 {
        return Ok(());
    }
    Err(AtaError { status, error: in8(DATA + 1), bus_master: 0 })
}

/// A command without data.
pub fn non_data(c: Command) -> Result<(), AtaError> {
    issue(c);
    wait_ready();
    verdict(in8(STATUS))
}

fn wait_data() -> Result<(), AtaError> {
    wait_ready();
    let status = in8(STATUS); // acknowledges the interrupt
    verdict(status)?;
    if status & DRQ == 0 {
        return Err(AtaError { status, error: in8(DATA + 1), bus_master: 0 });
    }
    Ok(())
}

/// A PIO data-in command; the drive asks for `block` sectors at a time.
pub fn pio_in(c: Command, block: usize, data: &mut [u8]) -> Result<(), AtaError> {
    issue(c);
    for chunk in data.chunks_mut(block * SECTOR) {
        wait_data()?;
        read_words(DATA, chunk);
    }
    verdict(wait_ready())
}

/// A PIO data-out command; the drive asks for `block` sectors at a time.
pub fn pio_out(c: Command, block: usize, data: &[u8]) -> Result<(), AtaError> {
    issue(c);
    for chunk in data.chunks(block * SECTOR) {
        wait_data()?;
        write_words(DATA, chunk);
    }
    wait_ready();
    verdict(in8(STATUS))
}

/// Reads sectors by PIO, READ SECTORS or READ SECTORS EXT as the size asks.
pub fn read_pio(lba: u64, data: &mut [u8]) -> Result<(), AtaError> {
    let count = data.len() / SECTOR;
    let ext = count > 256;
    pio_in(
        Command { code: if ext { 0x24 } else { 0x20 }, lba, count: count as u16, ext, ..Command::default() },
        1,
        data,
    )
}

/// Writes sectors by PIO, WRITE SECTORS or WRITE SECTORS EXT as the size asks.
pub fn write_pio(lba: u64, data: &[u8]) -> Result<(), AtaError> {
    let count = data.len() / SECTOR;
    let ext = count > 256;
    pio_out(
        Command { code: if ext { 0x34 } else { 0x30 }, lba, count: count as u16, ext, ..Command::default() },
        1,
        data,
    )
}

/// READ or WRITE DMA (EXT) for this many sectors.
pub fn dma_command(lba: u64, sectors: usize, write: bool) -> Command {
    let ext = sectors > 256;
    let code = match (write, ext) {
        (false, false) => 0xc8,
        (false, true) => 0x25,
        (true, false) => 0xca,
        (true, true) => 0x35,
    };
    Command { code, lba, count: sectors as u16, ext, ..Command::default() }
}

/// Writes the PRD table; the last entry carries the end mark.
pub fn write_prds(prds: impl IntoIterator<Item = Prd>) {
    let mut at = PRD_TABLE;
    for prd in prds {
        poke(at, prd.address);
        poke(at + 4, u32::from(prd.bytes));
        at += 8;
    }
    check!(at > PRD_TABLE, "an empty PRD table");
    poke(at - 4, super::memory::peek::<u32>(at - 4) | 1 << 31);
}

/// PRDs over one stretch of memory, in pieces that cross no 64 KiB border.
pub fn prds(address: u64, bytes: usize) -> impl Iterator<Item = Prd> {
    let end = address + bytes as u64;
    let mut at = address;
    core::iter::from_fn(move || {
        let next = ((at | 0xffff) + 1).min(end);
        let prd = Prd { address: at as u32, bytes: (next - at) as u16 };
        let more = at < end;
        at = next;
        more.then_some(prd)
    })
}

/// Sets the bus master up for a table and issues the command; the engine is started last.
pub fn start_dma(bm: u16, c: Command, to_memory: bool, table: u32) {
    let direction = if to_memory { BM_TO_MEMORY } else { 0 };
    out8(bm + BM_COMMAND, 0);
    out8(bm + BM_COMMAND, direction);
    super::port::out32(bm + BM_PRD, table);
    out8(bm + BM_STATUS, BM_INTERRUPT | BM_ERROR);
    issue(c);
    out8(bm + BM_COMMAND, direction | BM_START);
}

/// Waits for the end of a DMA command that was started, and acknowledges it. `seen`: the disk's interrupts before the
/// start; the status is looked at only after a new one. `None`: polled.
pub fn finish_dma(bm: u16, seen: Option<u32>) -> Result<(), AtaError> {
    let start = cpu::rdtsc();
    let mut seen = seen;
    let bus_master = loop {
        if let Some(count) = &mut seen {
            while interrupts() == *count {
                cpu::wait_for_interrupt();
                check!(cpu::rdtsc().wrapping_sub(start) < TIMEOUT_TICKS, "the end of DMA raises no interrupt");
            }
            *count = interrupts();
        }
        let s = in8(bm + BM_STATUS);
        if s & BM_INTERRUPT != 0 || s & (BM_ACTIVE | BM_ERROR) == BM_ERROR {
            break s;
        }
        check!(cpu::rdtsc().wrapping_sub(start) < TIMEOUT_TICKS, "DMA does not end (bus-master status {s:#x})");
    };
    out8(bm + BM_COMMAND, 0);
    wait_ready();
    let result = verdict(in8(STATUS));
    out8(bm + BM_STATUS, BM_INTERRUPT | BM_ERROR);
    match result {
        Err(e) => Err(AtaError { bus_master, ..e }),
        Ok(()) if bus_master & BM_ERROR != 0 => Err(AtaError { status: 0, error: 0, bus_master }),
        Ok(()) => Ok(()),
    }
}

/// A DMA transfer over the given PRDs.
pub fn dma(c: Command, to_memory: bool, wait: Wait, pieces: impl IntoIterator<Item = Prd>) -> Result<(), AtaError> {
    dma_at(bus_master(), c, to_memory, wait, pieces)
}

/// As [`dma`], with the bus master's base found before.
pub fn dma_at(
    bm: u16,
    c: Command,
    to_memory: bool,
    wait: Wait,
    pieces: impl IntoIterator<Item = Prd>,
) -> Result<(), AtaError> {
    write_prds(pieces);
    let seen = (wait == Wait::Interrupt).then(|| {
        // What an earlier command left pending in the PIC comes now.
        cpu::enable_interrupts();
        cpu::disable_interrupts();
        interrupts()
    });
    start_dma(bm, c, to_memory, PRD_TABLE as u32);
    finish_dma(bm, seen)
}

/// Reads sectors by DMA, polled.
pub fn read_dma(lba: u64, data: &mut [u8]) -> Result<(), AtaError> {
    let pieces = prds(data.as_ptr() as u64, data.len());
    dma(dma_command(lba, data.len() / SECTOR, false), true, Wait::Poll, pieces)
}

/// Writes sectors by DMA, polled.
pub fn write_dma(lba: u64, data: &[u8]) -> Result<(), AtaError> {
    let pieces = prds(data.as_ptr() as u64, data.len());
    dma(dma_command(lba, data.len() / SECTOR, true), false, Wait::Poll, pieces)
}

/// IDENTIFY DEVICE of the master.
pub fn identify() -> [u16; 256] {
    let mut data = [0; 512];
    if let Err(e) = pio_in(Command { code: 0xec, ..Command::default() }, 1, &mut data) {
        crate::report::fail(format_args!("IDENTIFY DEVICE: {e:x?}"));
    }
    core::array::from_fn(|i| u16::from_le_bytes([data[2 * i], data[2 * i + 1]]))
}

/// Interrupts on (nIEN = 0), none pending, no command half done.
pub fn settle() {
    out8(CONTROL, 0);
    while wait_ready() & DRQ != 0 {
        in16(DATA);
    }
    in8(STATUS);
}

/// Software reset of the channel (s. 9.2), as a driver does after an error.
pub fn soft_reset() {
    out8(CONTROL, 4);
    for _ in 0..100 {
        in8(CONTROL);
    }
    out8(CONTROL, 0);
    settle();
}

/// Ends the guest unless the transfer succeeded.
pub fn must<T>(result: Result<T, AtaError>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(e) => crate::report::fail(format_args!("{what}: {e:x?}")),
    }
}

/// Interrupts that the drive has raised; see `irq`.
pub fn interrupts() -> u32 {
    irq::count(LINE)
}

/// Fills sectors with a pattern that tells sector, position and generation.
pub fn fill_pattern(lba: u64, generation: u32, data: &mut [u8]) {
    for (i, word) in data.chunks_exact_mut(4).enumerate() {
        word.copy_from_slice(&pattern(lba, generation, i).to_le_bytes());
    }
}

/// Index of the first sector that does not hold the pattern.
pub fn pattern_mismatch(lba: u64, generation: u32, data: &[u8]) -> Option<usize> {
    data.chunks_exact(4)
        .enumerate()
        .position(|(i, word)| word != pattern(lba, generation, i).to_le_bytes())
        .map(|word| word / 128)
}

fn pattern(lba: u64, generation: u32, dword: usize) -> u32 {
    let sector = lba as u32 + (dword / 128) as u32;
    sector.wrapping_mul(0x9e37_79b1) ^ generation.wrapping_mul(0x85eb_ca6b) ^ ((dword % 128) as u32 * 0x0101_0101)
}
