//! What CPUID tells about VMX and about what VT-x needs (SDM Vol. 2A, CPUID).

/// Leaf with the bits [`VMX`], [`SMX`] in ECX and [`MTRR`], [`PAT`] in EDX.
pub const FEATURES: u32 = 1;
/// `FEATURES` ECX bit: the VMX instructions are there (Vol. 3C 24.6).
pub const VMX: u32 = 1 << 5;
/// `FEATURES` ECX bit: safer mode extensions (GETSEC).
pub const SMX: u32 = 1 << 6;
/// `FEATURES` EDX bit: memory type range registers.
pub const MTRR: u32 = 1 << 12;
/// `FEATURES` EDX bit: page attribute table.
pub const PAT: u32 = 1 << 16;
/// Leaf with the address widths: EAX bits 7:0 physical, 15:8 linear.
pub const ADDRESS_WIDTHS: u32 = 0x8000_0008;
