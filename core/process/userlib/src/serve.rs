//! The life of a program that serves.

use crate::system_call::{call, pass};
use crate::{Error, Leases, Level, Port, Service, exit, log};
use abi::call::{self, letter};

/// A service with its name.
pub type Named<'a> = (&'a str, &'a dyn Service<Port>);

/// Registers the services, and answers whatever comes, for good.
pub fn serve(services: &[Named<'_>]) -> ! {
    for (name, _) in services {
        if let Err(error) = pass(call::REGISTER, [name.as_ptr() as u64, name.len() as u64, 0, 0]) {
            log(Level::Error, format_args!("{name} cannot be registered: {error}"));
            exit(error.code())
        }
    }
    let mut reply = Ok(0);
    loop {
        let (status, answer) = match reply {
            Ok(answer) => (0, answer),
            Err(error) => (Error::code(error), 0),
        };
        let [_, kind, number, value] = call(call::RECEIVE, [status, answer, 0, 0]);
        // Numbers are given in order.
        let service = services.get(number as usize).map(|(_, service)| *service);
        reply = service.ok_or(Error::NotFound).and_then(|service| answer_one(service, kind, value));
        // On the host nothing ever comes.
        if cfg!(not(target_os = "none")) {
            std_only::end()
        }
    }
}

fn answer_one(service: &dyn Service<Port>, kind: u64, value: u64) -> Result<u64, Error> {
    match kind {
        letter::CALL => service.handle(value, &mut Lent),
        letter::INT => service.on_int(value).and(Ok(0)),
        letter::PORT => service.on_port(Port::of(value)).and(Ok(0)),
        _ => Err(Error::Refused),
    }
}

#[cfg(target_os = "none")]
mod std_only {
    pub fn end() -> ! {
        super::exit(0)
    }
}

#[cfg(not(target_os = "none"))]
mod std_only {
    pub fn end() -> ! {
        std::process::exit(0)
    }
}

/// The buffers of the call that is being answered.
struct Lent;

impl Leases for Lent {
    fn info(&self, index: usize) -> Option<(usize, bool)> {
        let [len, write] = pass(call::LEASE_INFO, [index as u64, 0, 0, 0]).ok()?;
        Some((len as usize, write != 0))
    }

    fn read(&self, index: usize, offset: usize, data: &mut [u8]) -> Result<usize, Error> {
        let arguments = [index as u64, offset as u64, data.as_mut_ptr() as u64, data.len() as u64];
        pass(call::LEASE_READ, arguments).map(|[count, _]| count as usize)
    }

    fn write(&mut self, index: usize, offset: usize, data: &[u8]) -> Result<usize, Error> {
        let arguments = [index as u64, offset as u64, data.as_ptr() as u64, data.len() as u64];
        pass(call::LEASE_WRITE, arguments).map(|[count, _]| count as usize)
    }
}
