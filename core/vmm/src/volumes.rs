//! LUKS2 volumes are opened before the guest starts: by a pass phrase that was right before, else by one that is asked for.

use crate::bios::Ground;
use crate::failure::Failure;
use crate::header_files::HeaderFiles;
use crate::login::{self, Desk, PassPhrases, Seconds};
use crate::machine::RealMachine;
use crate::vendor::Vendor;
use ::login::{Answer, Secret};
use alloc::format;
use alloc::string::{String, ToString};
use config::Block;
use core::fmt::Write;
use hw::time;
use luks2::{Header, Kdf, UnlockError, VolumeKey};

/// Who opens volumes.
pub struct Opener<'a, 'b, V: Vendor> {
    pub ground: &'a Ground<'b, V>,
    pub settings: &'a config::Login,
    pub header_files: &'a HeaderFiles,
    pub phrases: PassPhrases,
}

/// Reads from the device or file with the header, as [`luks2::ReadAt`], with the machine that it takes.
pub type ReadBy<'a> = dyn Fn(&mut RealMachine, u64, &mut [u8]) -> Result<(), String> + 'a;

impl<V: Vendor> Opener<'_, '_, V> {
    /// Opens the volume of a rule.
    ///
    /// # Errors
    /// Nothing that is typed can open it, or it cannot be asked for.
    pub fn open(
        &mut self,
        rule: &str,
        header: &Header,
        machine: &mut RealMachine,
        read: &ReadBy<'_>,
    ) -> Result<VolumeKey, String> {
        // What cannot be opened by anything is not asked for.
        header.segment()?;
        let costs = header.costs().map_err(|error| error.to_string())?;
        let least = costs.iter().map(Kdf::memory_kib).min();
        login::with_memory(self.ground, header.argon2_blocks(), |memory| {
            if let Some(needed_kib) = least.filter(|least| *least as usize > memory.len()) {
                let free = memory.len() / 1024;
                let error = UnlockError::Memory { needed_kib };
                return Err(format!("{error}; this machine has {free} MiB free in one piece"));
            }
            if let Some(key) = self.try_known(rule, header, memory, machine, read)? {
                return Ok(key);
            }
            let Self { ground, settings, phrases, .. } = self;
            let greeting = format!("the volume `{rule}` is locked.");
            let opened = login::ask(ground, machine, settings, &greeting, &[Secret::PassPhrase], |desk, _, typed| {
                let answer = attempt(header, memory, desk, read, typed);
                if matches!(answer, Answer::Open(_)) {
                    phrases.keep(typed);
                }
                answer
            });
            let (key, wrong) = opened.map_err(|Failure(why)| why)?;
            log::info!("the volume `{rule}` is open; wrong tries before: {wrong}");
            Ok(key)
        })
    }

    fn try_known(
        &self,
        rule: &str,
        header: &Header,
        memory: &mut [Block],
        machine: &mut RealMachine,
        read: &ReadBy<'_>,
    ) -> Result<Option<VolumeKey>, String> {
        for phrase in self.phrases.all() {
            let start = time::now().0;
            match header.unlock(phrase, memory, &mut |at, data| read(machine, at, data)) {
                Ok(key) => {
                    log::info!(
                        "the volume `{rule}` opens with a pass phrase typed before; {}",
                        Seconds(time::now().0 - start)
                    );
                    return Ok(Some(key));
                }
                // Another one may be that of a slot which can be read.
                Err(UnlockError::Wrong | UnlockError::Memory { .. } | UnlockError::Device(_)) => {}
                Err(error @ UnlockError::Unsupported(_)) => return Err(error.to_string()),
            }
        }
        Ok(None)
    }
}

fn attempt<V: Vendor>(
    header: &Header,
    memory: &mut [Block],
    desk: &mut Desk<'_, '_, V>,
    read: &ReadBy<'_>,
    typed: &[u8],
) -> Answer<VolumeKey, Failure> {
    // None of the terminals fails.
    for kdf in header.costs().unwrap_or_default().iter().filter(|kdf| fits(kdf, memory)) {
        let _ = write!(desk, "{kdf} ... ");
    }
    let start = time::now().0;
    let result = header.unlock(typed, memory, &mut |at, data| read(desk.machine(), at, data));
    let _ = writeln!(desk, "{}", Seconds(time::now().0 - start));
    match result {
        Ok(key) => Answer::Open(key),
        Err(UnlockError::Wrong) => Answer::Wrong,
        Err(error @ (UnlockError::Memory { .. } | UnlockError::Device(_))) => {
            let _ = writeln!(desk, "{error}");
            Answer::Wrong
        }
        Err(error @ UnlockError::Unsupported(_)) => Answer::Failed(format!("{error}").into()),
    }
}

fn fits(kdf: &Kdf, memory: &[Block]) -> bool {
    kdf.memory_kib() as usize <= memory.len()
}
