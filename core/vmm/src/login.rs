//! The login: a locked configuration is opened before anything that it protects is touched.
//!
//! The memory that a pass phrase takes is borrowed from RAM that nobody has yet; it is wiped after each try.

use crate::bios::{self, Bios, Ground};
use crate::failure::Failure;
use crate::loaded::Content;
use crate::machine::RealMachine;
use crate::vendor::Vendor;
use crate::{reset, screen};
use alloc::format;
use alloc::vec::Vec;
use config::{AfterFailure, Block, Config, Locked, Method, RecoveryKey, UnlockError};
use core::fmt::{self, Write};
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use entry::IMAGE_LOADED_AT;
use hw::{Hpa, console, direct, time};
use login::{Answer, Input, Key, Keyboard, Layout, Locks, Outcome, Secret, Terminal};
use multiboot::place;
use zeroize::Zeroizing;

const MIB: u64 = 1 << 20;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// What was typed and was right: it may open more than the configuration. Wiped when dropped.
#[derive(Default)]
pub struct PassPhrases(Vec<Zeroizing<Vec<u8>>>);

impl PassPhrases {
    pub fn all(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|phrase| phrase.as_slice())
    }

    pub fn keep(&mut self, typed: &[u8]) {
        self.0.push(Zeroizing::new(typed.to_vec()));
    }
}

/// The whole configuration: at once where it is not locked. And the pass phrase that has opened it, if it did.
///
/// # Errors
/// Nothing that is typed can open it, or it cannot be asked for.
pub fn open<V: Vendor>(
    content: Content,
    ground: &Ground<'_, V>,
    machine: &mut RealMachine,
) -> Result<(Config, PassPhrases), Failure> {
    let mut phrases = PassPhrases::default();
    let locked = match content {
        Content::Plain(config) => return Ok((config, phrases)),
        Content::Locked(locked) => locked,
    };
    let settings = locked.public().login.clone();
    let blocks = locked.argon2_blocks();
    let (config, wrong) = with_memory(ground, blocks, |memory| {
        if memory.len() < blocks {
            log::warn!(
                "a pass phrase of this configuration takes {} MiB of memory, and this machine has {} MiB free in one piece; \
                 use the recovery key, or set a pass phrase with less `memory` in [login]",
                blocks / 1024,
                memory.len() / 1024
            );
        }
        let secrets = secrets(&locked);
        ask(ground, machine, &settings, "the configuration is locked.", secrets, |desk, secret, typed| {
            let answer = attempt(&locked, memory, desk, secret, typed);
            if secret == Secret::PassPhrase && matches!(answer, Answer::Open(_)) {
                phrases.keep(typed);
            }
            answer
        })
    })?;
    log::info!("the configuration is open; wrong tries before: {wrong}");
    Ok((config, phrases))
}

/// Asks on screen and serial port until `check` opens what is locked; gives how often it did not before, too. What follows too many
/// wrong tries is in `settings`.
///
/// # Errors
/// Nothing that is typed can open it, or it cannot be asked for.
pub fn ask<V: Vendor, T>(
    ground: &Ground<'_, V>,
    machine: &mut RealMachine,
    settings: &config::Login,
    greeting: &str,
    secrets: &[Secret],
    mut check: impl FnMut(&mut Desk<'_, '_, V>, Secret, &[u8]) -> Answer<T, Failure>,
) -> Result<(T, u32), Failure> {
    screen::open();
    let mut wrong = 0;
    let outcome = bios::with::<V, _>(ground, machine, |bios| {
        let locks = Locks::from_bios(bios.keyboard_flags());
        let mut desk = Desk { keyboard: Keyboard::new(layout(settings.keyboard), locks), bios, failure: None };
        let _ = writeln!(desk, "\nShoji: {greeting}");
        let outcome = login::run(&mut desk, settings.tries, secrets, |desk, secret, typed| {
            let answer = check(desk, secret, typed);
            wrong += u32::from(matches!(answer, Answer::Wrong));
            answer
        });
        match desk.failure {
            Some(failure) => Outcome::Failed(failure),
            None => outcome,
        }
    });
    hw::cpus::this().wipe_unused_stack();
    match outcome? {
        Outcome::Open(opened) => Ok((opened, wrong)),
        Outcome::Failed(failure) => Err(failure),
        Outcome::Reset => reset::machine(),
        Outcome::NoMoreTries => {
            log::warn!("{wrong} wrong tries; {:?} follows", settings.after_failure);
            // The last words are to be read.
            time::wait_ms(LAST_PAUSE_MS);
            match settings.after_failure {
                AfterFailure::Reboot => reset::machine(),
                AfterFailure::PowerOff => reset::power_off(),
            }
        }
    }
}

const LAST_PAUSE_MS: u64 = 3000;

/// What there is a slot for; a pass phrase first.
fn secrets(locked: &Locked) -> &'static [Secret] {
    let has = |wanted: fn(&Method) -> bool| locked.slots().iter().any(|slot| wanted(&slot.method));
    let pass_phrase = has(|method| matches!(method, Method::PassPhrase { .. }));
    let recovery_key = has(|method| matches!(method, Method::RecoveryKey { .. }));
    match (pass_phrase, recovery_key) {
        (true, false) => &[Secret::PassPhrase],
        (false, _) => &[Secret::RecoveryKey],
        (true, true) => &[Secret::PassPhrase, Secret::RecoveryKey],
    }
}

fn layout(keyboard: config::Keyboard) -> Layout {
    match keyboard {
        config::Keyboard::Us => Layout::Us,
        config::Keyboard::Jp => Layout::Jp,
        config::Keyboard::De => Layout::De,
    }
}

/// Screen, keyboard and serial port.
pub struct Desk<'a, 'b, V: Vendor> {
    keyboard: Keyboard,
    bios: &'a mut Bios<'b, V>,
    failure: Option<Failure>,
}

impl<V: Vendor> Desk<'_, '_, V> {
    /// The machine, between two BIOS calls.
    pub fn machine(&mut self) -> &mut RealMachine {
        self.bios.machine()
    }
}

impl<V: Vendor> Write for Desk<'_, '_, V> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::Serial.write_str(text)?;
        screen::Prompt.write_str(text)
    }
}

impl<V: Vendor> Terminal for Desk<'_, '_, V> {
    fn poll(&mut self) -> Option<Input> {
        if let Some(byte) = console::receive() {
            return Some(Input::Serial(byte));
        }
        let word = match self.bios.key() {
            Ok(word) => word,
            Err(failure) => {
                self.failure = Some(failure);
                // Ends the dialogue.
                return Some(Input::Key(Key::Reset));
            }
        };
        while let Some(code) = self.bios.scan_code() {
            if let Some(key) = self.keyboard.on_scan_code(code) {
                return Some(Input::Key(key));
            }
        }
        let (scan_code, character) = word?;
        self.keyboard.on_bios_key(scan_code, character).map(Input::Key)
    }

    fn now_ms(&self) -> u64 {
        time::now().0 / NANOS_PER_MILLI
    }
}

fn attempt(
    locked: &Locked,
    memory: &mut [Block],
    desk: &mut impl Write,
    secret: Secret,
    typed: &[u8],
) -> Answer<Config, Failure> {
    let mut say = |text: fmt::Arguments<'_>| {
        // None of the terminals fails.
        let _ = desk.write_fmt(text);
    };
    let result = match secret {
        Secret::PassPhrase => {
            let costs = locked.slots().iter().filter_map(|slot| slot.method.cost());
            for cost in costs.filter(|cost| cost.blocks() <= memory.len()) {
                say(format_args!("Argon2id over {} MiB, passes: {} ... ", cost.memory_mib, cost.passes));
            }
            let start = time::now().0;
            let result = locked.unlock_with_pass_phrase(typed, memory);
            say(format_args!("{}\n", Seconds(time::now().0 - start)));
            result
        }
        Secret::RecoveryKey => match RecoveryKey::parse(typed) {
            Ok(key) => locked.unlock_with_recovery_key(&key),
            Err(error) => {
                say(format_args!("{error}\n"));
                return Answer::Mistyped;
            }
        },
    };
    match result {
        Ok(config) => Answer::Open(config),
        Err(UnlockError::Wrong | UnlockError::NoSlot) => Answer::Wrong,
        Err(error @ UnlockError::Memory { tried, .. }) => {
            say(format_args!("{error}\n"));
            if tried { Answer::Wrong } else { Answer::Mistyped }
        }
        Err(error @ (UnlockError::Altered | UnlockError::Blob(_))) => Answer::Failed(format!("{error}").into()),
    }
}

/// Nanoseconds, shown as seconds.
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / NANOS_PER_MILLI;
        write!(f, "{}.{} s", millis / 1000, millis % 1000 / 100)
    }
}

/// Whether the memory is lent.
static LENT: AtomicBool = AtomicBool::new(false);

/// Lends `work` so many blocks of RAM that nobody has yet, or as many as there are in one piece. They are wiped afterwards, so that
/// nothing of a pass phrase is left when the guest gets them. While they are lent there are no others.
pub fn with_memory<V: Vendor, R>(ground: &Ground<'_, V>, blocks: usize, work: impl FnOnce(&mut [Block]) -> R) -> R {
    if LENT.swap(true, Ordering::Acquire) {
        return work(&mut []);
    }
    // What firmware and loader have left, and the image as it was loaded: a boot without Shoji needs both.
    let left = [0..IMAGE_LOADED_AT + LOADED_BYTES, ground.vmm.start..ground.vmm.end];
    let avoid: Vec<Range<u64>> = ground.kept.iter().cloned().chain(left).collect();
    let place = place::largest(ground.memory_map, &avoid).unwrap_or(0..0);
    let start = place.start.next_multiple_of(size_of::<Block>() as u64);
    let room = place.end.saturating_sub(start) / size_of::<Block>() as u64;
    let count = blocks.min(room as usize);
    // SAFETY: usable RAM that is neither Shoji's nor, yet, the guest's; the direct map covers it, and it is aligned. A block is numbers,
    // of which any are valid. `LENT` keeps it from being lent twice, and the slice does not outlive this function.
    let memory = unsafe { core::slice::from_raw_parts_mut(direct::pointer(Hpa(start)).cast::<Block>(), count) };
    let result = work(memory);
    memory.fill(Block::default());
    LENT.store(false, Ordering::Release);
    result
}

/// More than the image takes where the loader has put it.
const LOADED_BYTES: u64 = 64 * MIB;
