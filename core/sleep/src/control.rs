//! The PM1 control and status registers (ACPI s. 4.8.3.1.1 and 4.8.3.2.1).

/// Ports of a control register that count; the block may be longer.
pub const PORTS: u16 = 2;
/// Status: the machine has been woken. Writing it clears it.
pub const WAKE_STATUS: u16 = 1 << 15;

const SLEEP_TYPE_SHIFT: u8 = 10;
const SLEEP_TYPE: u16 = 0b111 << SLEEP_TYPE_SHIFT;
const SLEEP_ENABLE: u16 = 1 << 13;

/// What puts the machine to sleep where the register holds `before`.
pub const fn request(before: u16, sleep_type: u8) -> u16 {
    before & !SLEEP_TYPE | (sleep_type as u16) << SLEEP_TYPE_SHIFT & SLEEP_TYPE | SLEEP_ENABLE
}

/// SLP_TYP of a value that is written with SLP_EN set. `None`: nobody goes to sleep by it.
pub const fn asks_for(value: u16) -> Option<u8> {
    if value & SLEEP_ENABLE == 0 { None } else { Some(((value & SLEEP_TYPE) >> SLEEP_TYPE_SHIFT) as u8) }
}
