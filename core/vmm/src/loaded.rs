//! What the boot loader brought: its information and the configuration module, copied before anything moves.

use crate::failure::{self, Failure};
use crate::header_files::HeaderFiles;
use crate::screen;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use config::{Config, Level, Locked, OnFailure, Opened, Public};
use core::ops::Range;
use hw::{Hpa, direct};
use log::LevelFilter;
use multiboot::{BootInfo, Module, PhysicalMemory};
use zeroize::Zeroizing;

/// The configuration.
pub enum Content {
    Plain(Config),
    /// Until a login.
    Locked(Locked),
}

pub struct Loaded {
    pub info: BootInfo,
    /// Known before the login.
    pub public: Public,
    pub content: Content,
    pub header_files: HeaderFiles,
    /// BIOS drive that the guest starts from.
    pub drive: u8,
}

const FIRST_HARD_DISK: u8 = 0x80;

/// What the start code's tables reach.
pub const LIMIT: u64 = 1 << 32;

/// Memory below [`LIMIT`].
pub struct LowMemory;

impl PhysicalMemory for LowMemory {
    fn read(&self, at: u64, into: &mut [u8]) -> bool {
        let fits = at.checked_add(into.len() as u64).is_some_and(|end| end <= LIMIT);
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
    screen::find(info.console.as_ref());
    let (header_files, others) = sort(&info.modules)?;
    let (public, content) = read_config(&others)?;
    log::set_max_level(match public.log.level {
        Level::Error => LevelFilter::Error,
        Level::Warn => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
    });
    // SAFETY: the configuration names a serial port, and `boot` hides it from the guest.
    if unsafe { hw::console::use_serial(public.log.serial.map(|port| (port, public.log.speed_baud))) } {
        hw::logger::tell_serial_all();
    }
    if public.log.screen {
        screen::show_log();
    }
    let loader_drive = info.boot_drive.map_or(FIRST_HARD_DISK, |from| from.drive);
    let drive = public.boot.drive.unwrap_or(loader_drive);
    // What is not proved yet must be no way round the login.
    if matches!(content, Content::Plain(_)) {
        allow_without_shoji(public.boot.on_failure, drive);
    }
    for entry in &info.memory_map {
        log::info!("memory {:#011x}-{:#011x} {:?}", entry.base, entry.end(), entry.kind);
    }
    header_files.log();
    log::info!("loaded by {}, guest drive {drive:#04x}", info.loader);
    Ok(Loaded { info, public, content, header_files, drive })
}

/// A failure boots the operating system without Shoji, where the configuration allows it.
pub fn allow_without_shoji(on_failure: OnFailure, drive: u8) {
    if on_failure == OnFailure::BootWithoutShoji {
        failure::boot_without_shoji_from(drive);
    }
}

/// Header files of volumes, and the other modules in their order.
fn sort(modules: &[Module]) -> Result<(HeaderFiles, Vec<&Module>), Failure> {
    let (mut header_files, mut others) = (HeaderFiles::default(), Vec::new());
    for module in modules {
        if !header_files.take(module)? {
            others.push(module);
        }
    }
    Ok((header_files, others))
}

/// The first module is the configuration. A second one is the key file of a slot, for tests and for machines that nobody stands at.
fn read_config(modules: &[&Module]) -> Result<(Public, Content), Failure> {
    let module = modules.first().ok_or(
        "the configuration module is missing; add a line `module2 /boot/shoji/shoji.conf` after `multiboot2` in the \
         GRUB entry",
    )?;
    let key = modules.get(1).map(|module| take_module(module, "key", *config::RAW_KEY_BYTES.end())).transpose()?;
    let blob = take_module(module, "configuration", config::MAX_BLOB_BYTES)?;
    let opened = config::open(&blob).map_err(|e| format!("{e}"))?;
    let public = opened.public();
    let content = match (opened, key) {
        (Opened::Plain(config), _) => Content::Plain(config),
        (Opened::Locked(locked), None) => Content::Locked(locked),
        (Opened::Locked(locked), Some(key)) => {
            let opened = locked.unlock_with_raw_key(&key);
            Content::Plain(opened.map_err(|e| format!("the key of the second module: {e}"))?)
        }
    };
    Ok((public, content))
}

/// Copies a module and wipes it.
fn take_module(module: &Module, name: &str, most: usize) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let len = usize::try_from(module.len_bytes()).unwrap_or(usize::MAX);
    if len > most {
        return Err(format!("the {name} module has {len} bytes, more than any {name}: wrong file?").into());
    }
    let mut copy = Zeroizing::new(vec![0; len]);
    if !LowMemory.read(module.start, &mut copy) {
        return Err(format!("the {name} module lies above 4 GiB, where Shoji cannot read it").into());
    }
    // SAFETY: just checked to be below the limit; nobody needs the module any more.
    unsafe { wipe(module.range()) };
    Ok(copy)
}

/// Zeroes what the loader has brought.
///
/// # Safety
/// It lies below [`LIMIT`], and nobody uses it.
pub unsafe fn wipe(place: Range<u64>) {
    // SAFETY: inside the direct map; the caller vouches for the rest.
    unsafe { core::ptr::write_bytes(direct::pointer(Hpa(place.start)), 0, (place.end - place.start) as usize) };
}
