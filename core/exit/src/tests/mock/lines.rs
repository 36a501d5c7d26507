//! What is logged.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

std::thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(alloc::format!("{}", record.args())));
    }
    fn flush(&self) {}
}

/// The log lines of this thread since the last call; the first call begins to collect.
pub fn log_lines() -> Vec<String> {
    static COLLECTOR: Collector = Collector;
    if log::set_logger(&COLLECTOR).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
    LINES.take()
}
