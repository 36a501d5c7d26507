//! Where words leave the machine: a serial port (COM1, 115200 8N1, unless the configuration names another) and, for the last ones, the text screen.

use crate::{Hpa, direct};
use core::fmt::{self, Write};
use initfunc::initfunc;
use lock::{Ranked, rank::CONSOLE};
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

/// Where the log goes until the configuration is known.
const COM1: u16 = 0x3f8;
const COM1_BAUD: u32 = 115_200;
/// A byte takes 87 us at 115200 and longer at lower speeds; status reads take about 1 us, so this waits some bytes long and then gives
/// the byte up.
const PATIENCE: u32 = 2000;

static SERIAL: Ranked<Option<Serial16550>, CONSOLE> = Ranked::new(None);

/// The port in use.
struct Serial16550 {
    uart: Uart16550<PioBackend>,
    port: u16,
    baud: u32,
}

impl Serial16550 {
    /// Programs the port, 8N1. `None`: no 16550 answers there.
    ///
    /// # Safety
    /// The port is Shoji's.
    unsafe fn open(port: u16, baud: u32) -> Option<Self> {
        // SAFETY: the caller's promise.
        let mut uart = unsafe { Uart16550::new_port(port) }.ok()?;
        uart.init(Config { baud_rate: BaudRate::from_integer(baud), ..Config::DEFAULT }).ok()?;
        Some(Self { uart, port, baud })
    }

    /// Line feeds get their carriage return.
    fn send(&mut self, byte: u8) {
        if byte == b'\n' {
            self.send_byte(b'\r');
        }
        self.send_byte(byte);
    }

    /// A port that takes nothing loses bytes, never time.
    fn send_byte(&mut self, byte: u8) {
        let patience = PATIENCE.saturating_mul(COM1_BAUD / self.baud.clamp(1, COM1_BAUD));
        for _ in 0..patience {
            if self.uart.try_send_byte(byte).is_ok() {
                return;
            }
        }
    }
}

impl Write for Serial16550 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.send(byte));
        Ok(())
    }
}

/// Without a port there the log goes to the ring alone.
fn init_serial() -> Result<(), &'static str> {
    // SAFETY: COM1 is Shoji's until the configuration says otherwise, and hidden from the guest while it is.
    *SERIAL.lock() = unsafe { Serial16550::open(COM1, COM1_BAUD) };
    Ok(())
}
initfunc!("global1", init_serial);

/// After the machine has slept the port is as after a reset.
fn init_serial_again() -> Result<(), &'static str> {
    let mut serial = SERIAL.lock();
    if let Some(Serial16550 { port, baud, .. }) = *serial {
        // SAFETY: it was Shoji's before, and hidden from the guest.
        *serial = unsafe { Serial16550::open(port, baud) };
    }
    Ok(())
}
initfunc!("resume0", init_serial_again);

/// What the configuration says: another port, another speed, or none. Gives whether the port has changed, so that nothing of the
/// log is there yet.
///
/// # Safety
/// The port is Shoji's from now on: it is no other device's, and hidden from the guest before it runs.
pub unsafe fn use_serial(port_and_baud: Option<(u16, u32)>) -> bool {
    let mut serial = SERIAL.lock();
    let before = serial.as_ref().map(|serial| serial.port);
    if serial.as_ref().map(|serial| (serial.port, serial.baud)) != port_and_baud {
        // SAFETY: the caller's promise.
        *serial = port_and_baud.and_then(|(port, baud)| unsafe { Serial16550::open(port, baud) });
    }
    let now = serial.as_ref().map(|serial| serial.port);
    now.is_some() && now != before
}

/// Writes to the serial port, if there is one.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        SERIAL.lock().as_mut().map_or(Ok(()), |serial| serial.write_str(text))
    }
}

/// A line that no other CPU's comes between.
pub fn write_line(line: fmt::Arguments<'_>) {
    if let Some(serial) = SERIAL.lock().as_mut() {
        // The port never fails.
        let _ = writeln!(serial, "{line}");
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
