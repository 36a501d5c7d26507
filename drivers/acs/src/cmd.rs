//! The command table: what a command does to the disk, and so what becomes of it.

use crate::spec::code;
use crate::taskfile::{Form, Request};

/// How the data of a transfer moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// By the data port, one sector for each DRQ.
    Pio,
    /// By the data port, as many sectors for each DRQ as SET MULTIPLE MODE said.
    PioMultiple,
    Dma,
}

/// A command that moves sectors between the guest and the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transfer {
    pub mode: Mode,
    /// The guest writes the disk.
    pub write: bool,
    /// 48-bit address, 16-bit count.
    pub ext: bool,
}

/// What becomes of a command of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Transfer(Transfer),
    /// A transfer of native command queuing: the count is in the features, the tag in the count. Serial only.
    Queued {
        write: bool,
    },
    /// Names sectors, moves none.
    Verify {
        ext: bool,
    },
    /// The answer is edited.
    Identify,
    SetFeatures,
    SetMultiple,
    InitializeParameters,
    Smart,
    /// READ LOG EXT. Logs are only read.
    ReadLog,
    /// DMA from the guest: which sectors are unused.
    DataSetManagement,
    /// Both units are reset; unit 0 is selected afterwards.
    Diagnostic,
    /// Touches no sector and hides nothing: passes on every disk. PIO in or no data.
    Pass,
    /// Passes on disks without protected ranges, is refused on others (`deny-unknown`).
    PlainOnly,
    /// Refused on every disk: it moves data in a way that this mediator does not follow (queued, stream and buffer
    /// DMA), or changes how data moves.
    Refused,
}

/// The class of a command of a disk.
pub fn classify(command: u8) -> Class {
    use Mode::{Dma, Pio, PioMultiple};
    let transfer = |mode, write, ext| Class::Transfer(Transfer { mode, write, ext });
    match command {
        // The odd code of a pair is the obsolete form "without retry".
        code::READ_SECTORS | 0x21 => transfer(Pio, false, false),
        code::READ_SECTORS_EXT => transfer(Pio, false, true),
        code::WRITE_SECTORS | 0x31 | code::WRITE_VERIFY => transfer(Pio, true, false),
        code::WRITE_SECTORS_EXT => transfer(Pio, true, true),
        code::READ_MULTIPLE => transfer(PioMultiple, false, false),
        code::READ_MULTIPLE_EXT => transfer(PioMultiple, false, true),
        code::WRITE_MULTIPLE => transfer(PioMultiple, true, false),
        code::WRITE_MULTIPLE_EXT | code::WRITE_MULTIPLE_FUA_EXT => transfer(PioMultiple, true, true),
        code::READ_DMA | 0xc9 => transfer(Dma, false, false),
        code::READ_DMA_EXT => transfer(Dma, false, true),
        code::WRITE_DMA | 0xcb => transfer(Dma, true, false),
        code::WRITE_DMA_EXT | code::WRITE_DMA_FUA_EXT => transfer(Dma, true, true),
        code::READ_FPDMA_QUEUED => Class::Queued { write: false },
        code::WRITE_FPDMA_QUEUED => Class::Queued { write: true },
        code::READ_VERIFY | 0x41 => Class::Verify { ext: false },
        code::READ_VERIFY_EXT => Class::Verify { ext: true },
        code::IDENTIFY_DEVICE => Class::Identify,
        code::SET_FEATURES => Class::SetFeatures,
        code::SET_MULTIPLE_MODE => Class::SetMultiple,
        code::INITIALIZE_DEVICE_PARAMETERS => Class::InitializeParameters,
        code::SMART => Class::Smart,
        code::DATA_SET_MANAGEMENT => Class::DataSetManagement,
        code::EXECUTE_DEVICE_DIAGNOSTIC => Class::Diagnostic,
        other => classify_rest(other),
    }
}

fn classify_rest(command: u8) -> Class {
    match command {
        // NOP, RECALIBRATE, SEEK: no data.
        code::NOP | 0x10..=0x1f | 0x70 => Class::Pass,
        // Power management, new and old codes: STANDBY, IDLE, CHECK POWER MODE, SLEEP.
        0x94..=0x99 | 0xe0..=0xe3 | 0xe5 | 0xe6 => Class::Pass,
        code::FLUSH_CACHE | code::FLUSH_CACHE_EXT => Class::Pass,
        // SMART FREEZE LOCK's namesake keeps others from locking the disk.
        code::SECURITY_FREEZE_LOCK => Class::Pass,
        code::READ_LOG_EXT => Class::ReadLog,
        // Queued: READ and WRITE DMA QUEUED (+EXT, +FUA), SERVICE, the FPDMA family but for READ and WRITE.
        0x26 | 0x36 | 0x3e | 0xa2 | 0xc7 | 0xcc | 0x62..=0x65 => Class::Refused,
        // Stream DMA and PIO, log DMA, buffer DMA, IDENTIFY DEVICE DMA, DATA SET MANAGEMENT XL, TRUSTED DMA,
        // DOWNLOAD MICROCODE DMA.
        0x2a | 0x2b | 0x3a | 0x3b | 0x47 | 0x57 | 0xe9 | 0xeb | 0xee | 0x07 | 0x5d | 0x5f | 0x93 => Class::Refused,
        // PACKET, IDENTIFY PACKET DEVICE and DEVICE RESET: a disk aborts them itself, with the signature.
        code::PACKET | code::IDENTIFY_PACKET_DEVICE | code::DEVICE_RESET => Class::Refused,
        // READ and WRITE LONG, HPA, DCO, TRUSTED, security, DOWNLOAD MICROCODE, WRITE LOG, SANITIZE, FORMAT TRACK,
        // buffers, CFA, vendor and all that is not known.
        _ => Class::PlainOnly,
    }
}

/// The 48-bit form of a command, for addresses that the guest's own form cannot carry.
pub fn ext_form(command: u8) -> Option<u8> {
    match command {
        code::READ_SECTORS | 0x21 => Some(code::READ_SECTORS_EXT),
        code::WRITE_SECTORS | 0x31 => Some(code::WRITE_SECTORS_EXT),
        code::READ_MULTIPLE => Some(code::READ_MULTIPLE_EXT),
        code::WRITE_MULTIPLE => Some(code::WRITE_MULTIPLE_EXT),
        code::READ_DMA | 0xc9 => Some(code::READ_DMA_EXT),
        code::WRITE_DMA | 0xcb => Some(code::WRITE_DMA_EXT),
        code::READ_VERIFY | 0x41 => Some(code::READ_VERIFY_EXT),
        _ => None,
    }
}

/// The command that reads what this one writes, in the same way.
pub fn read_form(command: u8) -> Option<u8> {
    match command {
        code::WRITE_SECTORS | 0x31 | code::WRITE_VERIFY => Some(code::READ_SECTORS),
        code::WRITE_SECTORS_EXT => Some(code::READ_SECTORS_EXT),
        code::WRITE_MULTIPLE => Some(code::READ_MULTIPLE),
        code::WRITE_MULTIPLE_EXT | code::WRITE_MULTIPLE_FUA_EXT => Some(code::READ_MULTIPLE_EXT),
        code::WRITE_DMA | 0xcb => Some(code::READ_DMA),
        code::WRITE_DMA_EXT | code::WRITE_DMA_FUA_EXT => Some(code::READ_DMA_EXT),
        code::WRITE_FPDMA_QUEUED => Some(code::READ_FPDMA_QUEUED),
        _ => None,
    }
}

/// May this SET FEATURES subcommand pass (ATA8-ACS table 92)?
pub fn set_features_passes(subcommand: u8, protected: bool) -> bool {
    match subcommand {
        // 8-bit data transfers, release and SERVICE interrupts: they change how data and interrupts come.
        0x01 | 0x81 | 0x5d | 0xdd | 0x5e | 0xde => false,
        // Write cache, transfer mode, APM, power-up in standby, SATA features, AAM, look-ahead, reverting to
        // power-on defaults.
        0x02 | 0x82 | 0x03 | 0x05 | 0x85 | 0x06 | 0x86 | 0x07 | 0x10 | 0x90 => true,
        0x42 | 0xc2 | 0x55 | 0xaa | 0x66 | 0xcc => true,
        _ => !protected,
    }
}

/// May this SMART subcommand pass (ATA8-ACS table 116)?
pub fn smart_passes(subcommand: u8, protected: bool) -> bool {
    match subcommand {
        // READ DATA, READ THRESHOLDS, attribute autosave, SAVE ATTRIBUTE VALUES, EXECUTE OFF-LINE IMMEDIATE, READ LOG,
        // ENABLE, DISABLE, RETURN STATUS, automatic off-line.
        0xd0..=0xd5 | 0xd8..=0xdb => true,
        // WRITE LOG (SCT commands come that way) and vendor subcommands.
        _ => !protected,
    }
}

/// The command by which sectors are moved by DMA, and how it names them; of no sectors: the one that flushes the disk's cache.
/// `None`: the disk has no command for it.
pub fn dma(lba48: bool, write: bool, lba: u64, sectors: u32) -> Option<(u8, Option<Request>)> {
    let command = match (sectors, write, lba48) {
        (0, ..) => return Some((code::FLUSH_CACHE, None)),
        (_, false, true) => code::READ_DMA_EXT,
        (_, true, true) => code::WRITE_DMA_EXT,
        (_, false, false) => code::READ_DMA,
        (_, true, false) => code::WRITE_DMA,
    };
    let (form, end, most) = if lba48 { (Form::Lba48, 1 << 48, 0x1_0000) } else { (Form::Lba28, 1 << 28, 0x100) };
    let fits = sectors <= most && lba.checked_add(sectors.into()).is_some_and(|last| last <= end);
    fits.then_some((command, Some(Request { form, lba, sectors })))
}
