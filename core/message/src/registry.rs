//! Which service has which name, in ring 0.

use crate::{Error, Leases, Name, Service};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};
use lock::{Ranked, rank::MESSAGES};
use spin::Once;

/// Services at the same time; a program cannot fill the VMM's memory with names.
const MOST_SERVICES: usize = 64;

type RingZeroService = dyn Service<Port>;

/// A service with its name.
struct Named {
    name: Name,
    service: Arc<RingZeroService>,
    /// Who provides it; empty for ring 0.
    provider: &'static str,
    dead: AtomicBool,
}

static SERVICES: Ranked<Vec<Arc<Named>>, MESSAGES> = Ranked::new(Vec::new());

/// Starts whatever is to provide a service of this name; tells whether there is one now.
static STARTER: Once<fn(Name) -> Result<(), Error>> = Once::new();

/// `starter` is asked for services that nobody has registered. Only the first call counts.
pub fn set_starter(starter: fn(Name) -> Result<(), Error>) {
    STARTER.call_once(|| starter);
}

/// The service is there as long as this is.
#[must_use = "a service ends with its registration"]
pub struct Registration(Arc<Named>);

impl Registration {
    pub fn name(&self) -> Name {
        self.0.name
    }

    /// The service is there for good.
    pub fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.dead.store(true, SeqCst);
        SERVICES.lock().retain(|named| !Arc::ptr_eq(named, &self.0));
    }
}

/// From now on `service` is found by its name. `provider`: the program that it belongs to; empty for ring 0.
///
/// # Errors
/// [`Error::Full`], also where another service has the name already.
pub fn register(name: Name, provider: &'static str, service: Arc<RingZeroService>) -> Result<Registration, Error> {
    let named = Arc::new(Named { name, service, provider, dead: AtomicBool::new(false) });
    let mut services = SERVICES.lock();
    if services.len() >= MOST_SERVICES || services.iter().any(|other| other.name == name) {
        return Err(Error::Full);
    }
    services.try_reserve(1).map_err(|_| Error::NoMemory)?;
    services.push(Arc::clone(&named));
    Ok(Registration(named))
}

/// A port to the service of this name, which is started if need be.
///
/// # Errors
/// [`Error::NotFound`], and what its start gives.
pub fn open(name: &str) -> Result<Port, Error> {
    let name = Name::new(name.as_bytes())?;
    if let Some(port) = find(name) {
        return Ok(port);
    }
    STARTER.get().ok_or(Error::NotFound)?(name)?;
    find(name).ok_or(Error::NotFound)
}

fn find(name: Name) -> Option<Port> {
    SERVICES.lock().iter().find(|named| named.name == name).map(|named| Port(Arc::clone(named)))
}

/// A line of [`list`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub name: Name,
    /// The program; empty for ring 0.
    pub provider: &'static str,
}

/// All services, in the order of their registration.
pub fn list() -> Vec<Entry> {
    SERVICES.lock().iter().map(|named| Entry { name: named.name, provider: named.provider }).collect()
}

/// What messages are sent through, in ring 0.
#[derive(Clone)]
pub struct Port(Arc<Named>);

impl Port {
    pub fn name(&self) -> Name {
        self.0.name
    }

    /// Has the service ended?
    pub fn is_dead(&self) -> bool {
        self.0.dead.load(SeqCst)
    }

    fn service(&self) -> Result<&RingZeroService, Error> {
        if self.is_dead() { Err(Error::Dead) } else { Ok(&*self.0.service) }
    }

    /// Asks the service, and waits for its answer. The caller holds no lock.
    ///
    /// # Errors
    /// Those of the service; [`Error::Dead`] when it has ended, also meanwhile.
    pub fn call(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        self.service()?.handle(op, leases)
    }

    /// # Errors
    /// As [`Port::call`]; [`Error::Full`] where a queue is.
    pub fn send_int(&self, value: u64) -> Result<(), Error> {
        self.service()?.on_int(value)
    }

    /// # Errors
    /// As [`Port::send_int`].
    pub fn send_port(&self, port: Port) -> Result<(), Error> {
        self.service()?.on_port(port)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({:?})", self.0.name)
    }
}
