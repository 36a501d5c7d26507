//! The loader's information, the same for both versions.

use crate::bytes::{u8_at, u32_at, u64_at};
use crate::{BootError, Entry, MAX_MAP_ENTRIES, MAX_MODULES};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

/// What the loader told. Owned: nothing of it lies in memory that the guest gets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BootInfo {
    /// Name of the loader, or empty.
    pub loader: String,
    /// Arguments of the image, or empty. Version 1 begins with the image's own name.
    pub command_line: String,
    /// As the loader gave it: perhaps unsorted or overlapping, see [`crate::map::normalise`]. No entry is empty and
    /// none wraps round. Never empty itself after [`crate::parse`].
    pub memory_map: Vec<Entry>,
    /// Conventional memory from address 0 on, in KiB.
    pub lower_kib: Option<u32>,
    pub boot_drive: Option<BootDrive>,
    pub modules: Vec<Module>,
    /// Copy of the ACPI root pointer, 20 bytes (ACPI 1.0) or longer. Version 1 has none, nor has GRUB always.
    pub rsdp: Option<Vec<u8>>,
    /// What the screen shows now. `None`: not told, or of a kind that Shoji cannot draw on.
    pub console: Option<Console>,
}

/// Where the loader came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootDrive {
    /// BIOS drive number, 0x80 the first hard disk.
    pub drive: u8,
    /// Top-level partition, counted from 0.
    pub partition: Option<u32>,
}

/// A file that the loader put into memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    pub start: u64,
    /// First byte behind it; not below `start`.
    pub end: u64,
    pub command_line: String,
}

impl Module {
    /// What follows `prefix` in the first word of the command line that begins with it. Some loaders put the file's name
    /// in front, as a word of its own.
    #[must_use]
    pub fn argument(&self, prefix: &str) -> Option<&str> {
        self.command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(prefix))
    }

    /// Where it lies.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// The screen (Multiboot 0.6.96 s. 3.3 `framebuffer_*`, Multiboot2 2.0 s. 3.6.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Console {
    /// Characters and attributes, two bytes each.
    Text { at: u64, pitch_bytes: u32, columns: u32, rows: u32 },
    /// Direct colour.
    Framebuffer {
        at: u64,
        pitch_bytes: u32,
        width: u32,
        height: u32,
        bits_per_pixel: u8,
        red: Channel,
        green: Channel,
        blue: Channel,
    },
}

/// Where a colour lies in a pixel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Number of the lowest bit.
    pub shift: u8,
    pub bits: u8,
}

/// Nothing that draws needs more than an 8K screen of 32 bits.
const MAX_SCREEN_BYTES: u64 = 256 << 20;

impl BootInfo {
    /// An entry of length zero is dropped; one that wraps round ends at the end of the address space.
    pub(crate) fn add_range(&mut self, base: u64, len_bytes: u64, kind: u32) -> Result<(), BootError> {
        if self.memory_map.len() >= MAX_MAP_ENTRIES {
            return Err(BootError::TooMany { what: "memory map entries", limit: MAX_MAP_ENTRIES });
        }
        let len_bytes = len_bytes.min(u64::MAX.saturating_sub(base));
        if len_bytes != 0 {
            self.memory_map.push(Entry { base, len_bytes, kind: kind.into() });
        }
        Ok(())
    }

    pub(crate) fn add_module(&mut self, module: Module) -> Result<(), BootError> {
        if self.modules.len() >= MAX_MODULES {
            return Err(BootError::TooMany { what: "modules", limit: MAX_MODULES });
        }
        if module.end < module.start {
            return Err(BootError::Malformed { what: "list of modules", why: "a module ends before it starts" });
        }
        self.modules.push(module);
        Ok(())
    }
}

impl Console {
    /// The block that begins with `framebuffer_addr`; it is the same in both versions but for the place of the colour
    /// information. `None` for palettes, unknown types and anything that does not fit together: a screen is a comfort
    /// and no reason to refuse a boot.
    pub(crate) fn decode(block: &[u8], colour_at: usize) -> Option<Self> {
        let at = u64_at(block, 0)?;
        let (pitch_bytes, width, height) = (u32_at(block, 8)?, u32_at(block, 12)?, u32_at(block, 16)?);
        let (bits_per_pixel, kind) = (u8_at(block, 20)?, u8_at(block, 21)?);
        let cell_bytes = match kind {
            1 => u64::from(bits_per_pixel.div_ceil(8)),
            2 => 2,
            _ => return None,
        };
        let line = u64::from(width).checked_mul(cell_bytes)?;
        let len_bytes = u64::from(pitch_bytes).checked_mul(u64::from(height))?;
        at.checked_add(len_bytes)?;
        if line == 0 || line > u64::from(pitch_bytes) || len_bytes == 0 || len_bytes > MAX_SCREEN_BYTES {
            return None;
        }
        if kind == 2 {
            return Some(Self::Text { at, pitch_bytes, columns: width, rows: height });
        }
        let colour = block.get(colour_at..)?;
        let (red, green, blue) = (channel(colour, 0)?, channel(colour, 2)?, channel(colour, 4)?);
        let fits = |c: Channel| c.bits <= 16 && c.shift.checked_add(c.bits).is_some_and(|end| end <= bits_per_pixel);
        if bits_per_pixel > 32 || ![red, green, blue].into_iter().all(fits) {
            return None;
        }
        Some(Self::Framebuffer { at, pitch_bytes, width, height, bits_per_pixel, red, green, blue })
    }
}

fn channel(colour: &[u8], at: usize) -> Option<Channel> {
    Some(Channel { shift: u8_at(colour, at)?, bits: u8_at(colour, at.checked_add(1)?)? })
}
