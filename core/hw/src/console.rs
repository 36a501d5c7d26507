//! Where words leave the machine: COM1 (115200 8N1) and, for the last ones, the text screen.

use crate::{Hpa, direct};
use core::fmt::{self, Write};
use initfunc::initfunc;
use lock::{Ranked, rank::CONSOLE};
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

const COM1: u16 = 0x3f8;
/// A byte takes 87 us at 115200; status reads of about 1 us, so this waits some bytes long and then gives the byte up.
const PATIENCE: u32 = 2000;

static SERIAL: Ranked<Option<Uart16550<PioBackend>>, CONSOLE> = Ranked::new(None);

/// Programs COM1. Without a port there the log goes to the ring alone.
fn init_serial() -> Result<(), &'static str> {
    // SAFETY: COM1 is Shoji's until the configuration says otherwise, and hidden from the guest while it is.
    let uart = unsafe { Uart16550::new_port(COM1) };
    if let Ok(mut uart) = uart
        && uart.init(Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT }).is_ok()
    {
        *SERIAL.lock() = Some(uart);
    }
    Ok(())
}
initfunc!("global1", init_serial);

/// After the machine has slept COM1 is as after a reset.
fn init_serial_again() -> Result<(), &'static str> {
    let in_use = SERIAL.lock().is_some();
    if in_use { init_serial() } else { Ok(()) }
}
initfunc!("resume0", init_serial_again);

/// The guest gets COM1: nothing is written there any more.
pub fn release_serial() {
    *SERIAL.lock() = None;
}

/// Writes to COM1; line feeds get their carriage return. A port that takes nothing loses bytes, never time.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut guard = SERIAL.lock();
        let Some(uart) = guard.as_mut() else { return Ok(()) };
        for byte in text.bytes() {
            if byte == b'\n' {
                send(uart, b'\r');
            }
            send(uart, byte);
        }
        Ok(())
    }
}

fn send(uart: &mut Uart16550<PioBackend>, byte: u8) {
    for _ in 0..PATIENCE {
        if uart.try_send_byte(byte).is_ok() {
            return;
        }
    }
}

/// The 80x25 text screen of VGA, white on red from the top; for messages before which nothing else matters.
pub struct Screen {
    cell: usize,
}

const SCREEN_AT: Hpa = Hpa(0xb8000);
const COLUMNS: usize = 80;
const CELLS: usize = COLUMNS * 25;
const WHITE_ON_RED: u16 = 0x4f00;

impl Screen {
    pub fn new() -> Self {
        Self { cell: 0 }
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Screen {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.cell = (self.cell / COLUMNS + 1) * COLUMNS;
                continue;
            }
            if self.cell < CELLS {
                let at = direct::pointer(SCREEN_AT).cast::<u16>();
                // SAFETY: inside the text frame buffer, which the direct map covers; a graphics mode shows dots.
                unsafe { at.add(self.cell).write_volatile(WHITE_ON_RED | u16::from(byte)) };
                self.cell += 1;
            }
        }
        Ok(())
    }
}
