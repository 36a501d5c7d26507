//! The ways in which a guest can move sectors.

use mediator::Width;
use sim::guest::{Command, Entry, Style, scatter};

/// How a request is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// READ/WRITE SECTOR(S), (EXT).
    Pio { style: Style, ext: bool },
    /// READ/WRITE MULTIPLE, (EXT), with this many sectors per block.
    Multiple { style: Style, ext: bool, per_block: u8 },
    /// READ/WRITE DMA, (EXT), over memory in pieces of these lengths in turn.
    Dma { ext: bool, sizes: &'static [u64] },
}

impl Way {
    /// DMA as Linux does it: whole pages.
    pub const LINUX: Self = Self::Dma { ext: true, sizes: &[4096] };
    /// Memory in odd pieces.
    pub const ODD: Self = Self::Dma { ext: true, sizes: &[2, 510, 6, 4090, 65534, 1026, 30] };
    /// PIO as a BIOS does it.
    pub const BIOS: Self = Self::Pio { style: Style { width: Width::Word, rep: true, polled: true }, ext: false };
    /// PIO as Linux does it.
    pub const PIO: Self = Self::Pio { style: Style { width: Width::Word, rep: true, polled: false }, ext: true };
    /// Every word an instruction of its own.
    pub const WORDS: Self = Self::Pio { style: Style { width: Width::Word, rep: false, polled: false }, ext: false };
    /// READ/WRITE MULTIPLE EXT.
    pub const MULTIPLE: Self =
        Self::Multiple { style: Style { width: Width::Dword, rep: true, polled: false }, ext: true, per_block: 16 };

    /// One of each kind.
    pub const ALL: [Self; 6] = [Self::LINUX, Self::ODD, Self::BIOS, Self::PIO, Self::WORDS, Self::MULTIPLE];

    /// Is the address 48 bits wide?
    pub fn is_ext(&self) -> bool {
        let (Self::Pio { ext, .. } | Self::Multiple { ext, .. } | Self::Dma { ext, .. }) = self;
        *ext
    }

    fn code(&self, write: bool) -> u8 {
        match (self, self.is_ext(), write) {
            (Self::Pio { .. }, false, false) => 0x20,
            (Self::Pio { .. }, false, true) => 0x30,
            (Self::Pio { .. }, true, false) => 0x24,
            (Self::Pio { .. }, true, true) => 0x34,
            (Self::Multiple { .. }, false, false) => 0xc4,
            (Self::Multiple { .. }, false, true) => 0xc5,
            (Self::Multiple { .. }, true, false) => 0x29,
            (Self::Multiple { .. }, true, true) => 0x39,
            (Self::Dma { .. }, false, false) => 0xc8,
            (Self::Dma { .. }, false, true) => 0xca,
            (Self::Dma { .. }, true, false) => 0x25,
            (Self::Dma { .. }, true, true) => 0x35,
        }
    }
}

/// The command that moves `sectors` from `lba` on.
pub fn command(way: Way, write: bool, lba: u64, sectors: u64) -> Command {
    Command { command: way.code(write), count: sectors as u16, lba, ext: way.is_ext(), ..Command::default() }
}

/// Pieces of guest memory from `at` on, together `len` bytes, none of them across a 64 KiB border, with gaps between.
pub fn pieces(at: u64, len: u64, sizes: &[u64]) -> Vec<Entry> {
    let (mut at, mut left, mut pieces) = (at, len, Vec::new());
    let contiguous = sizes.len() == 1;
    for size in sizes.iter().cycle() {
        if left == 0 {
            break;
        }
        let size = (*size).min(left);
        pieces.push((at, size));
        at += size + if contiguous { 0 } else { 14 };
        left -= size;
    }
    scatter(&pieces)
}
