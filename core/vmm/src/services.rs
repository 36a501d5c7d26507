//! Services of ring 0: texts for people, which the shell shows.

use crate::{boot, programs};
use alloc::sync::Arc;
use core::fmt::{self, Write};
use domain::State;
use hw::{frames, heap, time};
use initfunc::initfunc;
use message::{Error, Leases, Name, Port, Service, Writer};

/// Operation 0: the text into the first lease.
struct Text(fn(&mut dyn Write) -> fmt::Result);

impl Service<Port> for Text {
    fn handle(&self, op: u64, leases: &mut dyn Leases) -> Result<u64, Error> {
        if op != 0 {
            return Err(Error::Refused);
        }
        let mut writer = Writer::new(leases, 0);
        (self.0)(&mut writer).map_err(|_| Error::BadArgument)?;
        Ok(writer.written())
    }
}

fn init() -> Result<(), &'static str> {
    let services: [(&str, Text); 3] = [("ps", Text(ps)), ("heap", Text(heap)), ("msg", Text(msg))];
    for (name, text) in services {
        let name = Name::new(name.as_bytes()).map_err(|_| "a service has a bad name")?;
        message::register(name, "", Arc::new(text)).map_err(|_| "two services have one name")?.keep();
    }
    Ok(())
}
initfunc!("msg0", init);

/// Programs.
fn ps(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{:8} {:>7} {:>6} {:>8} {:>12}  state", "program", "process", "starts", "failures", "restart")?;
    for status in programs::list() {
        write!(out, "{:8} ", status.name)?;
        match status.process {
            Some(process) => write!(out, "{process:>7} ")?,
            None => write!(out, "{:>7} ", "-")?,
        }
        write!(out, "{:>6} {:>8} ", status.starts, status.failures)?;
        match status.restart_ns {
            Some(nanos) => write!(out, "{:>9} us  ", nanos / 1000)?,
            None => write!(out, "{:>12}  ", "-")?,
        }
        match status.state {
            State::Runs => write!(out, "runs")?,
            State::Stopped => write!(out, "stopped")?,
            State::Failed { until } => {
                write!(out, "failed, again in {} ms", until.saturating_sub(time::now().0) / 1_000_000)?;
            }
        }
        match status.last_end {
            Some(cause) => writeln!(out, "; last end: {cause}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

/// Memory of the VMM.
fn heap(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "heap: {} KiB of {} KiB in use", boot::HEAP.used_bytes() >> 10, heap::HEAP_BYTES >> 10)?;
    writeln!(out, "frames: {} KiB free", (frames::free_count() as u64 * frames::FRAME_BYTES) >> 10)
}

/// Services.
fn msg(out: &mut dyn Write) -> fmt::Result {
    message::list().into_iter().try_for_each(|entry| {
        let provider = if entry.provider.is_empty() { "ring 0" } else { entry.provider };
        writeln!(out, "{:16} {provider}", entry.name)
    })
}
