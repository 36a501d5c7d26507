//! The programs in ring 3: started when a CPU can run them, called by the VMM.

use crate::manifest::PROGRAMS;
use abi::hypercall::service;
use alloc::boxed::Box;
use alloc::vec::Vec;
use domain::{Domains, Status};
use hw::ring3::Thread;
use hw::space::Space;
use hw::{cpus, frames, ring3, time};
use mediator::Instant;
use message::{Error, NoLeases, Port};
use spin::Once;
use task::Class;

static DOMAINS: Once<&'static Domains<Machine>> = Once::new();

/// Where this CPU cannot run programs just now.
const RETRY_MS: u64 = 10;

struct Machine;

impl domain::Machine for Machine {
    type Space = Space;
    type Thread = Thread;

    fn new_space(&self) -> Option<Space> {
        Space::new()
    }

    fn new_thread(&self, entry: u64, stack: u64) -> Thread {
        Thread::new(entry, stack)
    }

    fn now(&self) -> u64 {
        time::now().0
    }

    fn cpu_number(&self) -> usize {
        cpus::this().number()
    }

    fn may_run(&self) -> bool {
        ring3::may_run()
    }

    fn rest(&self) {
        ring3::rest();
    }

    fn on_failure(&self, restart_at: u64) {
        let restart = async move {
            task::sleep_until(Instant(restart_at), Class::AtExit).await;
            while !ring3::may_run() {
                task::sleep_ms(RETRY_MS, Class::AtExit).await;
            }
            if let Some(domains) = DOMAINS.get() {
                domains.restart();
            }
        };
        // Without a task it is started when it is asked for.
        let _ = task::spawn("restart", restart);
    }
}

/// From now on services of programs can be opened; those of the manifest that run from boot on are started. To be called on a CPU's
/// own stack, with the virtualization extension on.
pub fn start() {
    let domains = DOMAINS.call_once(|| Box::leak(Box::new(Domains::new(Machine, PROGRAMS, cpus::all().len()))));
    message::set_starter(|name| DOMAINS.get().ok_or(Error::NotFound)?.provide(name));
    domains.start_all();
}

/// All programs of the manifest.
///
/// # Errors
/// [`Error::NoMemory`].
pub fn list() -> Result<Vec<Status>, Error> {
    DOMAINS.get().map_or(Ok(Vec::new()), |domains| domains.list())
}

/// For tests: calls what has this number in `abi::hypercall::service`.
///
/// # Errors
/// Those of the service.
pub fn call_by_number(number: u64, op: u64) -> Result<u64, Error> {
    let crash = || list()?.into_iter().find(|status| status.name == "crash").ok_or(Error::NotFound);
    match number {
        service::HELLO => call(&HELLO, "hello", op),
        service::CRASH => call(&CRASH, "crash", op),
        service::FAILURES => crash().map(|status| status.failures),
        service::RESTART_NS => crash()?.restart_ns.ok_or(Error::NotFound),
        service::STARTS => crash().map(|status| status.starts),
        service::FREE_FRAMES => Ok(frames::free_count() as u64),
        _ => Err(Error::BadArgument),
    }
}

/// A port that is kept as long as the service lives.
type Kept = spin::Mutex<Option<Port>>;
static HELLO: Kept = Kept::new(None);
static CRASH: Kept = Kept::new(None);

fn call(kept: &Kept, name: &str, op: u64) -> Result<u64, Error> {
    let known = kept.lock().clone().filter(|port| !port.is_dead());
    let port = match known {
        Some(port) => port,
        None => {
            let port = message::open(name)?;
            *kept.lock() = Some(port.clone());
            port
        }
    };
    port.call(op, &mut NoLeases)
}
