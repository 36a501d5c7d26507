//! What can be wrong with the loader's information.

use core::fmt;

/// Why the loader's information cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BootError {
    /// EAX at the entry point.
    NotMultiboot(u32),
    /// A structure is not in memory.
    Unreadable {
        what: &'static str,
        at: u64,
    },
    /// A structure contradicts itself or the specification.
    Malformed {
        what: &'static str,
        why: &'static str,
    },
    /// More than `limit` of something.
    TooMany {
        what: &'static str,
        limit: usize,
    },
    NoMemoryMap,
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotMultiboot(magic) => write!(
                f,
                "Shoji was not started by a Multiboot loader (EAX is {magic:#010x}): use GRUB's command multiboot2 or multiboot."
            ),
            Self::Unreadable { what, at } => {
                write!(f, "The boot loader put its {what} at {at:#x}, where there is no memory.")
            }
            Self::Malformed { what, why } => write!(f, "The boot loader's {what} cannot be used: {why}."),
            Self::TooMany { what, limit } => write!(f, "The boot loader gave more than {limit} {what}."),
            Self::NoMemoryMap => {
                f.write_str("The boot loader gave no memory map, so Shoji cannot tell which memory is usable.")
            }
        }
    }
}

impl core::error::Error for BootError {}
