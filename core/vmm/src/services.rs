//! Services of ring 0: texts for people, which the shell shows.

use crate::{boot, calls, cards, devices, programs, tunnels};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::{self, Write};
use domain::State;
use exit::{ExitKind, Guest};
use hw::{frames, heap, time};
use initfunc::initfunc;
use mediator::pci::Function;
use message::{Error, Leases, Name, Port, Service, Writer};
use spin::Once;

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
    let services = [
        ("dev", Text(dev)),
        ("exits", Text(exits)),
        ("heap", Text(heap)),
        ("log", Text(log)),
        ("msg", Text(msg)),
        #[cfg(debug_assertions)]
        ("panic", Text(|_| panic!("asked for by the shell"))),
        ("pci", Text(pci)),
        ("ps", Text(ps)),
        ("tunnels", Text(tunnels::text)),
    ];
    for (name, text) in services {
        let name = Name::new(name.as_bytes()).map_err(|_| "a service has a bad name")?;
        message::register(name, "", Arc::new(text)).map_err(|_| "two services have one name")?.keep();
    }
    Ok(())
}
initfunc!("msg0", init);

/// The guest, once there is one.
pub static GUEST: Once<&'static Guest> = Once::new();

fn exits(out: &mut dyn Write) -> fmt::Result {
    let Some(guest) = GUEST.get() else { return Ok(()) };
    guest.counters().map_err(|_| fmt::Error)?.iter().try_for_each(|(cpu, counters)| {
        let named = ExitKind::NAMES.into_iter().zip(counters.all()).filter(|(_, count)| *count > 0);
        named.into_iter().try_for_each(|(name, count)| writeln!(out, "CPU {cpu}: {name}: {count}"))
    })
}

/// As much of its end as an answer of a hypercall holds.
fn log(out: &mut dyn Write) -> fmt::Result {
    const MOST_BYTES: usize = abi::hypercall::MAX_ANSWER_BYTES;
    let mut newest: VecDeque<String> = VecDeque::new();
    let mut bytes = 0;
    hw::logger::logs().read(0, logs::Level::Debug, |record| {
        let line = format!("{record}\n");
        bytes += line.len();
        newest.push_back(line);
        while bytes > MOST_BYTES
            && let Some(oldest) = newest.pop_front()
        {
            bytes -= oldest.len();
        }
        true
    });
    newest.iter().try_for_each(|line| out.write_str(line))
}

fn pci(out: &mut dyn Write) -> fmt::Result {
    devices::functions().iter().try_for_each(|function| {
        let Function { bdf, vendor, device, class, subclass, prog_if } = function;
        let guarded = if devices::is_guarded(function) { "  guarded" } else { "" };
        writeln!(out, "{bdf} {vendor:04x}:{device:04x} class {class:02x}{subclass:02x}{prog_if:02x}{guarded}")
    })
}

fn dev(out: &mut dyn Write) -> fmt::Result {
    calls::status::disks().iter().try_for_each(|disk| {
        let (channel, unit, sectors) = (disk.channel, disk.unit, disk.sectors);
        writeln!(out, "disk {channel}/{unit}: `{}` serial `{}`, {sectors} sectors", disk.model, disk.serial)?;
        disk.rules.iter().try_for_each(|rule| {
            let last = rule.first_lba + rule.sectors.saturating_sub(1);
            writeln!(out, "  {}: sectors {} to {last}, {}", rule.name, rule.first_lba, rule.cipher)
        })
    })?;
    cards::served().iter().try_for_each(|card| writeln!(out, "{card}"))
}

/// Programs and tasks.
fn ps(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "{:8} {:>7} {:>6} {:>8} {:>12}  state", "program", "process", "starts", "failures", "restart")?;
    for status in programs::list().map_err(|_| fmt::Error)? {
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
    task::list().into_iter().try_for_each(|task| {
        let (state, cpu, polls) = (task.state, task.cpu, task.polls);
        writeln!(out, "task {} on CPU {cpu}: {state:?}, polled {polls} times, {} us", task.name, task.time.as_micros())
    })
}

/// Memory of the VMM.
fn heap(out: &mut dyn Write) -> fmt::Result {
    writeln!(out, "heap: {} KiB of {} KiB in use", boot::HEAP.used_bytes() >> 10, heap::len_bytes() >> 10)?;
    writeln!(out, "frames: {} KiB free", (frames::free_count() as u64 * frames::FRAME_BYTES) >> 10)
}

/// Services.
fn msg(out: &mut dyn Write) -> fmt::Result {
    message::list().into_iter().try_for_each(|entry| {
        let provider = if entry.provider.is_empty() { "ring 0" } else { entry.provider };
        writeln!(out, "{:16} {provider}", entry.name)
    })
}
