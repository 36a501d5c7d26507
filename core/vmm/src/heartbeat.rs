//! The heartbeat: a line in the log every five seconds, whatever the guest does. `heartbeat = true` in `[debug]`.

use task::Class;

const PERIOD_MS: u64 = 5000;

/// Begins on this CPU.
pub fn start() {
    let spawned = task::spawn("heartbeat", async {
        for beat in 1_u64.. {
            task::sleep_ms(PERIOD_MS, Class::Hard).await;
            log::info!("heartbeat {beat}");
        }
    });
    if let Err(error) = spawned {
        log::warn!("no heartbeat: {error}");
    }
}
