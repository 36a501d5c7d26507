//! LUKS2 headers in files: modules that the boot loader has brought beside the configuration. They may be larger than the heap, so
//! they are read where they lie, and nothing else is put there until they are wiped.

use crate::failure::Failure;
use crate::loaded::{self, LowMemory};
use alloc::format;
use alloc::string::String;
use config::HEADER_MODULE;
use core::ops::Range;
use multiboot::{Files, Module};

/// The header files, by their names.
#[derive(Default)]
pub struct HeaderFiles(Files);

impl HeaderFiles {
    /// Takes a module if it is a header file; gives whether it is.
    ///
    /// # Errors
    /// It cannot be one.
    pub fn take(&mut self, module: &Module) -> Result<bool, Failure> {
        let Some(name) = module.argument(HEADER_MODULE) else { return Ok(false) };
        // It is shown in the log.
        config::check_file_name(name).map_err(|why| format!("the name of a module `{HEADER_MODULE}...` {why}"))?;
        let taken = self.0.take(name, module, luks2::MAX_AREA_BYTES, loaded::LIMIT);
        taken.map_err(|why| format!("the header file `{name}` {why}"))?;
        Ok(true)
    }

    /// Tells what there is.
    pub fn log(&self) {
        for (name, place) in self.0.names().iter().zip(self.places()) {
            log::info!("header file `{name}` at {:#011x}-{:#011x}", place.start, place.end);
        }
    }

    /// Where they lie.
    pub fn places(&self) -> &[Range<u64>] {
        self.0.places()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.place(name).is_some()
    }

    /// Copies a part of a file, as [`luks2::ReadAt`].
    pub fn read(&self, name: &str, at_bytes: u64, data: &mut [u8]) -> Result<(), String> {
        self.0.read(&LowMemory, name, at_bytes, data).then_some(()).ok_or_else(|| "it ends before that".into())
    }

    /// Zeroes them all once the volumes are open: their memory becomes the guest's.
    pub fn wipe(&self) {
        for place in self.places() {
            // SAFETY: brought by the loader, below the limit, kept from all other uses, and only read by copies.
            unsafe { loaded::wipe(place.clone()) };
        }
    }
}
