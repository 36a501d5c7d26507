//! The `log` crate's macros lead to the log: a ring of each CPU, and the sinks.

use crate::{console, cpus, time};
use initfunc::initfunc;
use log::{LevelFilter, Log, Metadata};
use logs::{Level, Logs, Record, Sink};

/// Of the first CPU, which logs the start of all parts.
const FIRST_RING_BYTES: usize = 64 << 10;
/// Of each other CPU.
const RING_BYTES: usize = 16 << 10;

static LOGS: Logs = Logs::new();

/// The log, for readers and for further sinks.
pub fn logs() -> &'static Logs {
    &LOGS
}

/// The machine has so many CPUs; each gets a ring of its own. Only the first call counts.
pub fn add_cpus(cpus: usize) {
    LOGS.add_cpus(cpus, RING_BYTES);
}

struct Logger;
static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug | log::Level::Trace => Level::Debug,
        };
        LOGS.write(cpus::here().map_or(0, |cpu| cpu.number()), level, || time::now().0, *record.args());
    }

    fn flush(&self) {}
}

/// The serial port, while it is ours.
struct Serial;
static SERIAL: Serial = Serial;

impl Sink for Serial {
    fn write(&self, record: &Record<'_>) {
        console::write_line(format_args!("{record}"));
    }
}

/// The serial port is another one than before: it gets what was logged so far.
pub fn tell_serial_all() {
    LOGS.read(0, Level::Debug, |record| {
        SERIAL.write(record);
        true
    });
}

/// From now on `log`'s macros reach the ring and the serial port. The level is `Info` until the configuration is known.
fn init() -> Result<(), &'static str> {
    if !LOGS.start(FIRST_RING_BYTES) || !LOGS.add_sink(&SERIAL) {
        return Err("no memory for the log");
    }
    log::set_logger(&LOGGER).map_err(|_| "a second logger is linked")?;
    log::set_max_level(LevelFilter::Info);
    Ok(())
}
initfunc!("global2", init);
