//! The log: one ring in memory, and COM1 while it is ours.

use crate::{console, time};
use core::fmt::{self, Write};
use initfunc::initfunc;
use lock::{Ranked, rank::LOG};
use log::{LevelFilter, Log, Metadata, Record};

/// What the ring holds: the newest bytes of the log.
const RING_BYTES: usize = 64 << 10;

struct Ring {
    bytes: [u8; RING_BYTES],
    /// Bytes ever written; the next one goes to this place modulo the size.
    written: usize,
}

static RING: Ranked<Ring, LOG> = Ranked::new(Ring { bytes: [0; RING_BYTES], written: 0 });

impl Write for Ring {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.bytes[self.written % RING_BYTES] = byte;
            self.written = self.written.wrapping_add(1);
        }
        Ok(())
    }
}

/// A line is formatted once, for both.
struct Sinks<'a> {
    ring: &'a mut Ring,
}

impl Write for Sinks<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.ring.write_str(text)?;
        console::Serial.write_str(text)
    }
}

struct Logger;
static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        line(&mut Sinks { ring: &mut RING.lock() }, record);
    }

    fn flush(&self) {}
}

/// `[    0.012345] WARN  text`: seconds since Shoji started, level, message.
fn line(out: &mut dyn Write, record: &Record<'_>) {
    let micros = time::now().0 / 1000;
    // The sinks never fail.
    let _ =
        writeln!(out, "[{:5}.{:06}] {:5} {}", micros / 1_000_000, micros % 1_000_000, record.level(), record.args());
}

/// From now on `log`'s macros reach the ring and COM1. The level is `Info` until the configuration is known.
fn init() -> Result<(), &'static str> {
    log::set_logger(&LOGGER).map_err(|_| "a second logger is linked")?;
    log::set_max_level(LevelFilter::Info);
    Ok(())
}
initfunc!("global2", init);
