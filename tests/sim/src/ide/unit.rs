//! What hangs on a channel.

use super::Taskfile;
use crate::Platter;
use std::ops::Range;

/// One unit of a channel.
pub struct Unit {
    pub kind: Kind,
    pub taskfile: Taskfile,
    /// Interrupt pending in the unit.
    pub intrq: bool,
}

/// The device, if any.
pub enum Kind {
    Empty,
    Disk(Box<Disk>),
    Cdrom(Cdrom),
}

/// A hard disk.
pub struct Disk {
    pub platter: Platter,
    /// Sectors per DRQ block of the MULTIPLE commands; 0: disabled.
    pub multiple: u8,
    /// Heads and sectors per track as INITIALIZE DEVICE PARAMETERS set them.
    pub geometry: (u64, u64),
    /// The oracle: these sectors of the disk may only be reached through the arena.
    pub bounced: Range<u64>,
    /// First sector and number of sectors of every range that was trimmed. Its contents stay.
    pub trimmed: Vec<(u64, u64)>,
}

/// A CD drive with a disc whose block `n` is filled with `n`, as 16-bit words.
pub struct Cdrom {
    pub blocks: u32,
    pub sense: (u8, u8),
}

impl Kind {
    /// A disk of so many sectors, none written.
    pub fn disk(sectors: u64) -> Self {
        Self::with_platter(Platter::new(sectors))
    }

    /// A disk with these contents.
    pub fn with_platter(platter: Platter) -> Self {
        Self::Disk(Box::new(Disk { platter, multiple: 0, geometry: (16, 63), bounced: 0..0, trimmed: Vec::new() }))
    }

    /// A CD drive with a disc.
    pub fn cdrom() -> Self {
        Self::Cdrom(Cdrom { blocks: 1000, sense: (0, 0) })
    }

    /// As after power-on.
    pub fn lose_settings(&mut self) {
        if let Self::Disk(disk) = self {
            (disk.multiple, disk.geometry) = (0, (16, 63));
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub fn is_cdrom(&self) -> bool {
        matches!(self, Self::Cdrom(_))
    }
}

impl Unit {
    pub fn new(kind: Kind) -> Self {
        let mut unit = Self { kind, taskfile: Taskfile::default(), intrq: false };
        unit.reset();
        unit
    }

    /// After power-on, SRST or DEVICE RESET: signature, no interrupt, defaults.
    pub fn reset(&mut self) {
        self.intrq = false;
        match &mut self.kind {
            Kind::Empty => self.taskfile = Taskfile::default(),
            Kind::Disk(_) => {
                self.taskfile.sign(0, 0);
                self.taskfile.status = super::status::DRDY | super::status::DSC;
            }
            Kind::Cdrom(_) => self.taskfile.sign(0x14, 0xeb),
        }
    }
}
