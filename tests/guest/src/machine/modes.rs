//! Code in other modes, and BIOS calls.

/// Registers of a BIOS call, by value and result.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct Registers {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ebp: u32,
    /// Segment; DS is 0.
    pub es: u32,
    /// Result only.
    pub eflags: u32,
    /// Set by [`bios`].
    pub interrupt: u32,
}

impl Registers {
    pub fn carry(&self) -> bool {
        self.eflags & 1 != 0
    }
}

unsafe extern "C" {
    /// Runs a routine of real mode that lies in `.text16` and ends by a near RET; see `start/modes.s`.
    pub fn run16(routine: unsafe extern "C" fn());
    /// Runs a routine of 32-bit protected mode that ends by a near RET; see `start/modes.s`.
    pub fn run32(routine: unsafe extern "C" fn());
    fn bios_routine();
    static mut bios_registers: Registers;
}

/// Calls the BIOS in real mode.
pub fn bios(interrupt: u8, registers: Registers) -> Registers {
    // SAFETY: the routine takes its registers from `bios_registers` and leaves the results there; what a BIOS call
    // writes to memory is the caller's choice of buffer.
    unsafe {
        (&raw mut bios_registers).write_volatile(Registers { interrupt: u32::from(interrupt), ..registers });
        run16(bios_routine);
        (&raw const bios_registers).read_volatile()
    }
}
