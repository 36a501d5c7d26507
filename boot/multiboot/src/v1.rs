//! Multiboot information (Multiboot Specification 0.6.96 s. 3.3).

use crate::bytes::{u32_at, u64_at};
use crate::{BootDrive, BootError, BootInfo, Console, MAX_MODULES, MAX_STRING_BYTES, Module, PhysicalMemory};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Which fields are there: bits of `flags`.
const HAS_MEMORY: u32 = 1 << 0;
const HAS_BOOT_DEVICE: u32 = 1 << 1;
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;
const HAS_LOADER_NAME: u32 = 1 << 9;
const HAS_FRAMEBUFFER: u32 = 1 << 12;

/// Offsets of the fields, in bytes.
mod field {
    pub const FLAGS: usize = 0;
    pub const MEM_LOWER: usize = 4;
    pub const BOOT_DEVICE: usize = 12;
    pub const CMDLINE: usize = 16;
    pub const MODS_COUNT: usize = 20;
    pub const MODS_ADDR: usize = 24;
    pub const MMAP_LENGTH: usize = 44;
    pub const MMAP_ADDR: usize = 48;
    pub const BOOT_LOADER_NAME: usize = 64;
    pub const FRAMEBUFFER: usize = 88;
}

/// Fields up to the frame buffer are always there.
const INFO_BYTES: usize = field::FRAMEBUFFER;
const FRAMEBUFFER_BYTES: usize = 28;
/// `color_info`, from the start of the frame buffer fields.
const COLOUR_AT: usize = 22;
const MODULE_BYTES: usize = 16;
/// An entry without its size field: base, length, type.
const MMAP_ENTRY_BYTES: u32 = 20;
/// Room for all entries that are taken, even with ACPI 3.0's extended attributes.
const MAX_MMAP_BYTES: u32 = 32 * 1024;

const INFO: &str = "Multiboot information";

/// Reads the information at `info`.
pub fn parse(info: u64, memory: &dyn PhysicalMemory) -> Result<BootInfo, BootError> {
    let fields = copy(memory, INFO, info, INFO_BYTES)?;
    let field = |at| u32_at(&fields, at).ok_or(BootError::Malformed { what: INFO, why: "it is cut off" });
    let flags = field(field::FLAGS)?;
    let has = |flag| flags & flag != 0;
    let mut boot = BootInfo::default();
    if has(HAS_MEMORY) {
        boot.lower_kib = Some(field(field::MEM_LOWER)?);
    }
    if has(HAS_BOOT_DEVICE) {
        boot.boot_drive = Some(boot_drive(field(field::BOOT_DEVICE)?));
    }
    if has(HAS_COMMAND_LINE) {
        boot.command_line = string(memory, "command line", field(field::CMDLINE)?)?;
    }
    if has(HAS_LOADER_NAME) {
        boot.loader = string(memory, "name", field(field::BOOT_LOADER_NAME)?)?;
    }
    if has(HAS_MODULES) {
        modules(memory, field(field::MODS_ADDR)?, field(field::MODS_COUNT)?, &mut boot)?;
    }
    if has(HAS_MEMORY_MAP) {
        memory_map(memory, field(field::MMAP_ADDR)?, field(field::MMAP_LENGTH)?, &mut boot)?;
    }
    if has(HAS_FRAMEBUFFER) {
        let at = info.saturating_add(field::FRAMEBUFFER as u64);
        boot.console = Console::decode(&copy(memory, INFO, at, FRAMEBUFFER_BYTES)?, COLOUR_AT);
    }
    Ok(boot)
}

fn copy(memory: &dyn PhysicalMemory, what: &'static str, at: u64, len_bytes: usize) -> Result<Vec<u8>, BootError> {
    let mut bytes = vec![0; len_bytes];
    if memory.read(at, &mut bytes) { Ok(bytes) } else { Err(BootError::Unreadable { what, at }) }
}

/// Byte by byte: where the string ends is only known there, and memory may end just behind it.
fn string(memory: &dyn PhysicalMemory, what: &'static str, start: u32) -> Result<String, BootError> {
    let mut bytes = Vec::new();
    let mut at = u64::from(start);
    loop {
        let mut byte = [0];
        if !memory.read(at, &mut byte) {
            return Err(BootError::Unreadable { what, at });
        }
        match byte {
            [0] => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            _ if bytes.len() >= MAX_STRING_BYTES => {
                return Err(BootError::Malformed { what, why: "it is longer than 4096 bytes" });
            }
            [byte] => bytes.push(byte),
        }
        at = at.saturating_add(1);
    }
}

/// BIOS drive in the high byte, then the top-level partition; FFh means none.
fn boot_drive(field: u32) -> BootDrive {
    let [_, _, partition, drive] = field.to_le_bytes();
    BootDrive { drive, partition: (partition != 0xff).then_some(u32::from(partition)) }
}

fn modules(memory: &dyn PhysicalMemory, start: u32, count: u32, boot: &mut BootInfo) -> Result<(), BootError> {
    const WHAT: &str = "list of modules";
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > MAX_MODULES {
        return Err(BootError::TooMany { what: "modules", limit: MAX_MODULES });
    }
    let list = copy(memory, WHAT, start.into(), count.saturating_mul(MODULE_BYTES))?;
    for module in list.chunks_exact(MODULE_BYTES) {
        let field = |at| u32_at(module, at).ok_or(BootError::Malformed { what: WHAT, why: "it is cut off" });
        // A module without arguments may have a null pointer.
        let command_line = match field(8)? {
            0 => String::new(),
            at => string(memory, "command line of a module", at)?,
        };
        boot.add_module(Module { start: field(0)?.into(), end: field(4)?.into(), command_line })?;
    }
    Ok(())
}

/// Each entry is led by its own size, which does not count itself.
fn memory_map(memory: &dyn PhysicalMemory, start: u32, len_bytes: u32, boot: &mut BootInfo) -> Result<(), BootError> {
    const WHAT: &str = "memory map";
    const CUT: BootError = BootError::Malformed { what: WHAT, why: "its last entry is cut off" };
    if len_bytes > MAX_MMAP_BYTES {
        return Err(BootError::Malformed { what: WHAT, why: "it is longer than 32 KiB" });
    }
    let map = copy(memory, WHAT, start.into(), usize::try_from(len_bytes).unwrap_or(usize::MAX))?;
    let mut rest = map.as_slice();
    while !rest.is_empty() {
        let size = u32_at(rest, 0).ok_or(CUT)?;
        if size < MMAP_ENTRY_BYTES {
            return Err(BootError::Malformed { what: WHAT, why: "an entry is shorter than 20 bytes" });
        }
        let end = usize::try_from(size).ok().and_then(|size| size.checked_add(4)).ok_or(CUT)?;
        let (entry, tail) = rest.split_at_checked(end).ok_or(CUT)?;
        let (base, len, kind) =
            (u64_at(entry, 4).ok_or(CUT)?, u64_at(entry, 12).ok_or(CUT)?, u32_at(entry, 20).ok_or(CUT)?);
        boot.add_range(base, len, kind)?;
        rest = tail;
    }
    Ok(())
}
