//! Reset of the machine, as hardware does it after a triple fault.

use hw::port;
use mediator::Width;

/// Reset control register of PIIX and ICH: bit 1 full reset, bit 2 go.
const RESET_CONTROL: u16 = 0xcf9;
/// Keyboard controller, command FEh: pulse the reset line.
const KEYBOARD_COMMAND: u16 = 0x64;

pub fn machine() -> ! {
    hw::cpus::halt_others();
    // Memory often survives a reset: the keys must not.
    crate::home::wipe_heap();
    // SAFETY: the VMM ends here.
    unsafe {
        port::write(RESET_CONTROL, Width::Byte, 0x02);
        port::write(RESET_CONTROL, Width::Byte, 0x06);
        port::write(KEYBOARD_COMMAND, Width::Byte, 0xfe);
        // A triple fault of the host, should neither be there.
        core::arch::asm!("push 0", "push 0", "lidt [rsp]", "int3", options(noreturn));
    }
}

/// For [`hw::cpus::set_silence_handler`].
pub fn on_silence(cpu: usize) -> ! {
    log::error!("CPU {cpu} does not leave the guest within seconds: the machine is reset");
    machine()
}
