//! Instructions that have touched a device: taken apart once, then remembered, and carried out.

mod cache;
mod decode;
mod perform;
mod register;

pub(crate) use cache::{DecodeCache, current};
pub use decode::{Extension, MmioAccess, NotEmulated, Op, Operation, Place, Source, StringIndex, decode};
pub(crate) use perform::Operand;
pub use register::RegisterPart;
