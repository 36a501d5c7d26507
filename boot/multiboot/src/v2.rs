//! Multiboot2 information (Multiboot2 Specification 2.0 s. 3.6).

use crate::bytes::{u32_at, u64_at};
use crate::{BootDrive, BootError, BootInfo, Console, MAX_INFO_BYTES, MAX_STRING_BYTES, Module, PhysicalMemory};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Types of tags.
mod tag {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const LOADER_NAME: u32 = 2;
    pub const MODULE: u32 = 3;
    pub const BASIC_MEMORY: u32 = 4;
    pub const BOOT_DEVICE: u32 = 5;
    pub const MEMORY_MAP: u32 = 6;
    pub const FRAMEBUFFER: u32 = 8;
    pub const RSDP_V1: u32 = 14;
    pub const RSDP_V2: u32 = 15;
}

/// Total size and a reserved field.
const FIXED_BYTES: usize = 8;
/// Type and size of a tag.
const TAG_BYTES: usize = 8;
const ALIGN: usize = 8;
/// Base, length, type, reserved.
const MMAP_ENTRY_BYTES: usize = 24;
/// `color_info` from the start of the frame buffer fields, as GRUB's `multiboot2.h` aligns it.
const COLOUR_AT: usize = 24;
const MAX_RSDP_BYTES: usize = 256;

const INFO: &str = "Multiboot2 information";
const CUT: BootError = BootError::Malformed { what: INFO, why: "a tag is cut off" };

/// Copies the whole information: the only look at the loader's memory.
pub fn copy(info: u64, memory: &dyn PhysicalMemory) -> Result<Vec<u8>, BootError> {
    if !info.is_multiple_of(ALIGN as u64) {
        return Err(BootError::Malformed { what: INFO, why: "it is not aligned to 8 bytes" });
    }
    let mut size = [0; 4];
    if !memory.read(info, &mut size) {
        return Err(BootError::Unreadable { what: INFO, at: info });
    }
    let len_bytes = usize::try_from(u32::from_le_bytes(size)).unwrap_or(usize::MAX);
    if !(FIXED_BYTES..=MAX_INFO_BYTES).contains(&len_bytes) {
        return Err(BootError::Malformed { what: INFO, why: "its total size is not between 8 bytes and 256 KiB" });
    }
    let mut bytes = vec![0; len_bytes];
    if memory.read(info, &mut bytes) { Ok(bytes) } else { Err(BootError::Unreadable { what: INFO, at: info }) }
}

/// Reads a copy of the information. Its length stands for the total size field. Unknown tags are skipped; of a tag
/// that comes twice the last counts, but memory maps and modules add up.
pub fn parse(info: &[u8]) -> Result<BootInfo, BootError> {
    let mut boot = BootInfo::default();
    let mut at = FIXED_BYTES;
    loop {
        let rest = info.get(at..).unwrap_or_default();
        let (kind, size) = (u32_at(rest, 0).ok_or(CUT)?, u32_at(rest, 4).ok_or(CUT)?);
        if kind == tag::END {
            return Ok(boot);
        }
        let size = usize::try_from(size).map_err(|_| CUT)?;
        // A size below 8 would be a loop without end.
        let body = rest.get(TAG_BYTES..size).ok_or(CUT)?;
        read_tag(kind, body, &mut boot)?;
        at = at.checked_add(size).and_then(|end| end.checked_next_multiple_of(ALIGN)).ok_or(CUT)?;
    }
}

fn read_tag(kind: u32, body: &[u8], boot: &mut BootInfo) -> Result<(), BootError> {
    let field = |at| u32_at(body, at).ok_or(CUT);
    match kind {
        tag::COMMAND_LINE => boot.command_line = string("command line", body)?,
        tag::LOADER_NAME => boot.loader = string("name", body)?,
        tag::MODULE => {
            let command_line = string("command line of a module", body.get(8..).ok_or(CUT)?)?;
            boot.add_module(Module { start: field(0)?.into(), end: field(4)?.into(), command_line })?;
        }
        tag::BASIC_MEMORY => boot.lower_kib = Some(field(0)?),
        tag::BOOT_DEVICE => boot.boot_drive = boot_drive(field(0)?, field(4)?),
        tag::MEMORY_MAP => memory_map(body, boot)?,
        tag::FRAMEBUFFER => boot.console = Console::decode(body, COLOUR_AT),
        tag::RSDP_V1 if boot.rsdp.is_some() => {}
        tag::RSDP_V1 | tag::RSDP_V2 => boot.rsdp = body.get(..body.len().min(MAX_RSDP_BYTES)).map(Vec::from),
        _ => {}
    }
    Ok(())
}

fn string(what: &'static str, bytes: &[u8]) -> Result<String, BootError> {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.len() > MAX_STRING_BYTES {
        return Err(BootError::Malformed { what, why: "it is longer than 4096 bytes" });
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// A drive above FFh is none of the BIOS; FFFFFFFFh as partition means none (s. 3.6.4).
fn boot_drive(drive: u32, partition: u32) -> Option<BootDrive> {
    let drive = u8::try_from(drive).ok()?;
    Some(BootDrive { drive, partition: (partition != u32::MAX).then_some(partition) })
}

fn memory_map(body: &[u8], boot: &mut BootInfo) -> Result<(), BootError> {
    const WHAT: &str = "memory map";
    let entry_bytes = u32_at(body, 0).and_then(|size| usize::try_from(size).ok()).ok_or(CUT)?;
    if entry_bytes < MMAP_ENTRY_BYTES {
        return Err(BootError::Malformed { what: WHAT, why: "its entries are shorter than 24 bytes" });
    }
    // Entry size and version come first.
    let entries = body.get(8..).ok_or(CUT)?.chunks_exact(entry_bytes);
    if !entries.remainder().is_empty() {
        return Err(BootError::Malformed { what: WHAT, why: "its last entry is cut off" });
    }
    for entry in entries {
        let (base, len, kind) =
            (u64_at(entry, 0).ok_or(CUT)?, u64_at(entry, 8).ok_or(CUT)?, u32_at(entry, 16).ok_or(CUT)?);
        boot.add_range(base, len, kind)?;
    }
    Ok(())
}
