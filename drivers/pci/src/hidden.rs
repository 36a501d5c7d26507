//! A function that the guest does not find. It is switched off, and its configuration space is that of an empty place: reads give all
//! ones (PCI 3.0 s. 6.1), writes vanish.

use crate::header;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use mediator::pci::{AttachError, Attached, Driver};
use mediator::{
    Access, ConfigAccess, Ctx, Device, Mediator, Op, RegionId, StringIo, Verdict, Violation, Width, Work, WorkError,
};

/// Hides the function that it is let take over. It matches none by itself.
pub static HIDE: Driver<dyn Mediator> = Driver {
    name: "hidden",
    matches: |_| false,
    regions: |_, _| Vec::new(),
    attach: |function, cx| {
        switch_off(cx.device)?;
        let controller = Box::new(Hidden(format!("hidden {}", function.bdf)));
        Ok(Attached { controller, regions: Vec::new(), windows: Vec::new() })
    },
};

/// Its name.
struct Hidden(String);

/// No access to memory, no register, no interrupt (PCI 3.0 s. 6.2.2).
fn switch_off(device: &mut dyn Device) -> Result<(), AttachError> {
    const DECODES: u32 = header::COMMAND_IO | header::COMMAND_MEMORY | header::COMMAND_MASTER;
    device.config_write(header::COMMAND, Width::Word, header::COMMAND_NO_INTERRUPT);
    match device.config_read(header::COMMAND, Width::Word) & DECODES {
        0 => Ok(()),
        _ => Err(AttachError("it cannot be switched off")),
    }
}

impl Mediator for Hidden {
    fn name(&self) -> &str {
        &self.0
    }

    fn on_access(&mut self, _: &mut Ctx<'_>, access: Access) -> Result<Verdict, Violation> {
        Err(Violation { what: "access to a function that is hidden", detail: access.offset.into() })
    }

    fn on_string(&mut self, _: &mut Ctx<'_>, _: RegionId, offset: u32, _: StringIo<'_>) -> Result<usize, Violation> {
        Err(Violation { what: "access to a function that is hidden", detail: offset.into() })
    }

    fn on_config(&mut self, _: &mut Ctx<'_>, access: ConfigAccess) -> Result<Verdict, Violation> {
        Ok(match access.op {
            Op::Read => Verdict::Value(access.width.ones()),
            Op::Write(_) => Verdict::Done,
        })
    }

    fn on_resume(&mut self, cx: &mut Ctx<'_>) {
        if switch_off(cx.device).is_err() {
            log::error!("{}: it cannot be switched off after sleep", self.0);
        }
    }

    fn on_work_done(&mut self, _: &mut Ctx<'_>, _: Work, _: Result<(), WorkError>) {}
}
