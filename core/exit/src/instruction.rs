//! Length and operands of the guest's instruction, where the CPU does not tell.

/// Inflates the decoder's tables, once at boot, so that no exit pays for it.
pub fn init() {}
