//! Reset of the machine, as hardware does it after a triple fault.

use hw::port;
use mediator::Width;
use sleep::control;

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

/// Switches the machine off (ACPI Specification 6.5 s. 16.1.5), before the guest has run; resets it where the firmware does not tell how.
pub fn power_off() -> ! {
    let way = hw::acpi::sleep().ok().and_then(|way| Some((way.control, way.types.off()?)));
    if let Some(((a, b), (type_a, type_b))) = way {
        crate::home::wipe_heap();
        hw::cpu::write_back_caches();
        let off = |register: u16, sleep_type| {
            // SAFETY: the VMM ends here.
            unsafe {
                let before = port::read(register, Width::Word) as u16;
                port::write(register, Width::Word, control::request(before, sleep_type).into());
            }
        };
        off(a, type_a);
        if let Some(b) = b {
            off(b, type_b);
        }
        hw::time::wait_ms(PATIENCE_MS);
    }
    machine()
}

/// A machine is off within this time.
const PATIENCE_MS: u64 = 10_000;

/// For [`hw::cpus::set_silence_handler`].
pub fn on_silence(cpu: usize) -> ! {
    log::error!("CPU {cpu} does not leave the guest within seconds: the machine is reset");
    machine()
}
