//! What the boot loader brought: its information and the configuration module, copied before anything moves.

use crate::failure::{self, Failure};
use alloc::format;
use alloc::vec;
use config::{Config, Level, OnFailure};
use hw::{Hpa, direct};
use log::LevelFilter;
use multiboot::{BootInfo, PhysicalMemory};
use zeroize::Zeroizing;

pub struct Loaded {
    pub info: BootInfo,
    pub config: Config,
    /// BIOS drive that the guest starts from.
    pub drive: u8,
}

const FIRST_HARD_DISK: u8 = 0x80;

/// The start code's tables reach the lowest 4 GiB.
struct LowMemory;

impl PhysicalMemory for LowMemory {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let fits = at.checked_add(into.len() as u64).is_some_and(|end| end <= 1 << 32);
        if fits {
            // SAFETY: inside the direct map; the loader is done and no other CPU runs.
            unsafe { core::ptr::copy_nonoverlapping(direct::pointer(Hpa(at)), into.as_mut_ptr(), into.len()) };
        }
        fits
    }
}

/// Reads both, applies the log settings, and wipes the module: it may hold keys, and its memory becomes the guest's.
pub fn read(magic: u32, information: u32) -> Result<Loaded, Failure> {
    let info = multiboot::parse(magic, information, &LowMemory).map_err(|e| format!("{e}"))?;
    let config = read_config(&info)?;
    log::set_max_level(match config.log.level {
        Level::Error => LevelFilter::Error,
        Level::Warn => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
    });
    // SAFETY: the configuration names a serial port, and `boot` hides it from the guest.
    if unsafe { hw::console::use_serial(config.log.serial.map(|port| (port, config.log.speed_baud))) } {
        hw::logger::tell_serial_all();
    }
    let loader_drive = info.boot_drive.map_or(FIRST_HARD_DISK, |from| from.drive);
    let drive = config.boot.drive.unwrap_or(loader_drive);
    if config.boot.on_failure == OnFailure::BootWithoutShoji {
        failure::boot_without_shoji_from(drive);
    }
    for entry in &info.memory_map {
        log::info!("memory {:#011x}-{:#011x} {:?}", entry.base, entry.end(), entry.kind);
    }
    log::info!("loaded by {}, guest drive {drive:#04x}", info.loader);
    Ok(Loaded { info, config, drive })
}

fn read_config(info: &BootInfo) -> Result<Config, Failure> {
    let module = info.modules.first().ok_or(
        "the configuration module is missing; add a line `module2 /boot/shoji/shoji.conf` after `multiboot2` in the \
         GRUB entry",
    )?;
    let len = usize::try_from(module.end - module.start).unwrap_or(usize::MAX);
    if len > config::MAX_BLOB_BYTES {
        return Err(
            format!("the configuration module has {len} bytes, more than any configuration: wrong file?").into()
        );
    }
    let mut blob = Zeroizing::new(vec![0; len]);
    if !LowMemory.read(module.start, &mut blob) {
        return Err("the configuration module lies above 4 GiB, where Shoji cannot read it".into());
    }
    // SAFETY: just checked to be inside the direct map; nobody needs the module any more.
    unsafe { core::ptr::write_bytes(direct::pointer(Hpa(module.start)), 0, len) };
    Ok(config::parse(&blob).map_err(|e| format!("{e}"))?)
}
