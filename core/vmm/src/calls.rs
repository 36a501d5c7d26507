//! The hypercalls with names: one file each.

mod log;
mod shell;
pub mod status;

use crate::failure::Failure;
use abi::hypercall::name;
use alloc::format;
use config::Config;
use exit::Guest;

/// Allows the guest what the configuration allows it.
pub fn allow(guest: &mut Guest, config: &Config) -> Result<(), Failure> {
    let calls = &config.guest_calls;
    for (name, callers) in [(name::STATUS, calls.status), (name::LOG, calls.log), (name::SHELL, calls.shell)] {
        let callers = match callers {
            config::Callers::Off => continue,
            config::Callers::Kernel => exit::Callers::Kernel,
            config::Callers::Any => exit::Callers::Any,
        };
        if !guest.allow_call(name, callers) {
            return Err(format!("this Shoji has no hypercall `{name}`; take it out of [guest-calls]").into());
        }
    }
    match &config.dbgsh {
        Some(dbgsh) if !shell::open(&dbgsh.key) => Err("the key of [dbgsh] is too short".into()),
        _ => Ok(()),
    }
}
