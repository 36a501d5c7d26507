//! Instructions that have touched a device: taken apart once, then remembered, and carried out.

use crate::instruction;

mod cache;
mod decode;
mod parted;
mod perform;
mod register;

pub(crate) use cache::{DecodeCache, current};
use decode::decode;
pub use decode::{Extension, MmioAccess, NotEmulated, Op, Operation, Place, Source, StringIndex};
pub(crate) use parted::{Parted, Target};
pub(crate) use perform::Operand;
pub use register::RegisterPart;

/// An instruction from its bytes alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// Of the instruction.
    pub len_bytes: u8,
    pub access: Result<MmioAccess, NotEmulated>,
}

/// Decodes as the exit handlers do, for comparison with other decoders. `bitness`: 16, 32 or 64; `rip`: of the instruction.
/// `None`: these bytes do not begin with an instruction.
pub fn decode_code(code: &[u8], bitness: u32, rip: u64) -> Option<Decoded> {
    let instruction = instruction::decode(code, bitness, rip)?;
    Some(Decoded { len_bytes: instruction.len() as u8, access: decode(&instruction) })
}
