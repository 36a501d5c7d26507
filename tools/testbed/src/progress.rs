//! What the user sees while a long step runs.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A line that shows what is being done and for how long; without a terminal it is printed once.
pub fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    bar.set_style(style("{spinner} {msg} ({elapsed})"));
    bar.enable_steady_tick(Duration::from_millis(200));
    announce(&bar, what);
    bar
}

/// A bar over `total` bytes.
pub fn bytes(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what.to_owned());
    bar.set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} ({elapsed})"));
    announce(&bar, what);
    bar
}

fn announce(bar: &ProgressBar, what: &str) {
    if bar.is_hidden() {
        eprintln!("{what} ...");
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
