//! Programs as ELF files: what is to be mapped where.
//!
//! Source: System V ABI, AMD64 supplement 1.0, and gABI 4.1 ch. 5.

use crate::{HEAP, PAGE_BYTES, Rights};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use object::LittleEndian as Little;
use object::elf::{EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// Below it nothing is mapped, so that null pointers with an offset fault.
const IMAGE: u64 = 0x1_0000;

/// A part of a program that is mapped with one kind of rights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Where its bytes begin.
    pub at: u64,
    /// What stands at its begin; the rest is zero.
    pub data: &'a [u8],
    /// Addresses of its pages.
    pub pages: Range<u64>,
    pub rights: Rights,
}

/// A program, checked: its segments have no page in common and lie where programs may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image<'a> {
    pub entry: u64,
    pub segments: Vec<Segment<'a>>,
}

/// Why a file is no program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadElf {
    /// No ELF file for this CPU, linked at fixed addresses, or one that is cut off.
    Format,
    /// A segment lies where programs have no memory, or is larger than it can be.
    Place,
    /// Two segments have a page in common.
    Overlap,
    /// A segment could be written and executed.
    Rights,
    /// The entry lies in no segment that can be executed.
    Entry,
}

impl<'a> Image<'a> {
    /// # Errors
    /// See [`BadElf`].
    pub fn parse(file: &'a [u8]) -> Result<Self, BadElf> {
        let header = FileHeader64::<Little>::parse(file).map_err(|_| BadElf::Format)?;
        let is_program = header.e_machine(Little) == EM_X86_64 && header.e_type(Little) == ET_EXEC;
        if !is_program || !header.is_little_endian() {
            return Err(BadElf::Format);
        }
        let headers = header.program_headers(Little, file).map_err(|_| BadElf::Format)?;
        let mut segments: Vec<Segment<'a>> = Vec::new();
        for header in headers.iter().filter(|header| header.p_type(Little) == PT_LOAD && header.p_memsz(Little) != 0) {
            let segment = segment(header, file)?;
            let meets =
                |other: &Segment<'_>| segment.pages.start < other.pages.end && other.pages.start < segment.pages.end;
            if segments.iter().any(meets) {
                return Err(BadElf::Overlap);
            }
            segments.push(segment);
        }
        let entry = header.e_entry(Little);
        let image = Self { entry, segments };
        if image.text().any(|pages| pages.contains(&entry)) { Ok(image) } else { Err(BadElf::Entry) }
    }

    /// Addresses of what can be executed.
    pub fn text(&self) -> impl Iterator<Item = Range<u64>> {
        self.segments.iter().filter(|segment| segment.rights == Rights::Execute).map(|segment| segment.pages.clone())
    }
}

fn segment<'a>(
    header: &<FileHeader64<Little> as FileHeader>::ProgramHeader,
    file: &'a [u8],
) -> Result<Segment<'a>, BadElf> {
    let data = header.data(Little, file).map_err(|()| BadElf::Format)?;
    let (at, len) = (header.p_vaddr(Little), header.p_memsz(Little));
    let end = at.checked_add(len).filter(|&end| at >= IMAGE && end <= HEAP).ok_or(BadElf::Place)?;
    if data.len() as u64 > len {
        return Err(BadElf::Format);
    }
    let flags = header.p_flags(Little).0;
    let rights = match (flags & PF_W.0 != 0, flags & PF_X.0 != 0) {
        (false, false) => Rights::Read,
        (true, false) => Rights::Write,
        (false, true) => Rights::Execute,
        (true, true) => return Err(BadElf::Rights),
    };
    let last = end.checked_next_multiple_of(PAGE_BYTES).ok_or(BadElf::Place)?;
    Ok(Segment { at, data, pages: at & !PAGE_MASK..last, rights })
}

const PAGE_MASK: u64 = PAGE_BYTES - 1;

impl fmt::Display for BadElf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "no ELF program for x86-64 with fixed addresses, or not all of it",
            Self::Place => "a segment lies where programs have no memory",
            Self::Overlap => "two segments have a page in common",
            Self::Rights => "a segment could be written and executed",
            Self::Entry => "the entry lies in no segment that can be executed",
        })
    }
}
