//! The dialogue: a prompt, a line, an answer; pauses that grow, and an end to the tries.

use crate::line::Line;
use crate::serial::Serial;
use crate::{Key, MAX_SECRET_BYTES};
use core::fmt::{self, Write};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Secret {
    PassPhrase,
    RecoveryKey,
}

/// What the user does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// On the keyboard.
    Key(Key),
    /// A byte of the serial port.
    Serial(u8),
}

/// Where the dialogue takes place: screen and serial port at once.
pub trait Terminal: Write {
    /// The next input, if there is one. Does not wait, or not for long.
    fn poll(&mut self) -> Option<Input>;
    /// Time since any moment, in milliseconds.
    fn now_ms(&self) -> u64;
}

/// What became of a try.
#[derive(Debug)]
pub enum Answer<T, F> {
    Open(T),
    /// It is not the right one.
    Wrong,
    /// It cannot be one at all, as a recovery key with a wrong checksum: nothing was tried, so it is not counted. The check has
    /// said why.
    Mistyped,
    /// Nothing that is typed helps.
    Failed(F),
}

/// How a dialogue ends.
#[derive(Debug)]
pub enum Outcome<T, F> {
    Open(T),
    /// As often wrong as it may be.
    NoMoreTries,
    /// Ctrl-Alt-Del.
    Reset,
    Failed(F),
}

/// The pause after the first wrong try; each further one doubles it.
const FIRST_PAUSE_MS: u64 = 1000;
/// Most inputs that a check may leave behind.
const MOST_DROPPED: u32 = 4096;
/// The longest pause.
pub const MAX_PAUSE_MS: u64 = 60_000;

/// Asks until `check` opens what is locked, or `tries` were wrong. `secrets`: what there is to be asked for; the first one is asked for
/// first. What is typed during a check or a pause is dropped.
///
/// Nothing that was typed is shown, nor kept: the line is wiped after each try and at the end.
pub fn run<C: Terminal, T, F>(
    terminal: &mut C,
    tries: u8,
    secrets: &[Secret],
    mut check: impl FnMut(&mut C, Secret, &[u8]) -> Answer<T, F>,
) -> Outcome<T, F> {
    let mut dialogue = Dialogue { secrets, chosen: 0, line: Line::new(), serial: Serial::default() };
    let mut wrong = 0;
    loop {
        if !dialogue.read(terminal) {
            return Outcome::Reset;
        }
        say(terminal, format_args!("\n"));
        let answer = check(terminal, dialogue.secret(), dialogue.line.bytes());
        dialogue.line.clear();
        match answer {
            Answer::Open(opened) => return Outcome::Open(opened),
            Answer::Failed(why) => return Outcome::Failed(why),
            Answer::Mistyped => {}
            Answer::Wrong => {
                wrong = tries.min(wrong).saturating_add(1);
                let Some(left @ 1..) = tries.checked_sub(wrong) else {
                    say(terminal, format_args!("Wrong. No more tries.\n"));
                    return Outcome::NoMoreTries;
                };
                let s = if left == 1 { "y" } else { "ies" };
                say(terminal, format_args!("Wrong. {left} more tr{s}.\n"));
                if !dialogue.pause(terminal, pause_ms(wrong)) {
                    return Outcome::Reset;
                }
            }
        }
        // What came while nobody listened.
        (0..MOST_DROPPED).any(|_| terminal.poll().is_none());
    }
}

/// After so many wrong tries.
fn pause_ms(wrong: u8) -> u64 {
    let doublings = u32::from(wrong.saturating_sub(1));
    FIRST_PAUSE_MS.checked_shl(doublings.min(16)).unwrap_or(MAX_PAUSE_MS).min(MAX_PAUSE_MS)
}

struct Dialogue<'a> {
    secrets: &'a [Secret],
    chosen: usize,
    line: Line,
    serial: Serial,
}

impl Dialogue<'_> {
    fn secret(&self) -> Secret {
        self.secrets.get(self.chosen).copied().unwrap_or(Secret::PassPhrase)
    }

    /// Reads a line that is not empty. False: Ctrl-Alt-Del.
    fn read<C: Terminal>(&mut self, terminal: &mut C) -> bool {
        self.prompt(terminal);
        loop {
            match self.next_key(terminal) {
                None => {}
                Some(Key::Reset) => return false,
                Some(Key::Enter) if !self.line.bytes().is_empty() => return true,
                Some(key) => self.edit(terminal, key),
            }
        }
    }

    fn next_key<C: Terminal>(&mut self, terminal: &mut C) -> Option<Key> {
        match terminal.poll()? {
            Input::Key(key) => Some(key),
            Input::Serial(byte) => self.serial.on_byte(byte),
        }
    }

    fn edit<C: Terminal>(&mut self, terminal: &mut C, key: Key) {
        match key {
            Key::Character(character) => {
                if self.line.push(character) {
                    let shown = if character == '-' && self.secret() == Secret::RecoveryKey { '-' } else { '*' };
                    say(terminal, format_args!("{shown}"));
                }
            }
            Key::Backspace => {
                if self.line.pop() {
                    say(terminal, format_args!("\u{8} \u{8}"));
                }
            }
            Key::Clear => {
                for _ in 0..self.line.count() {
                    say(terminal, format_args!("\u{8} \u{8}"));
                }
                self.line.clear();
            }
            Key::Switch => {
                self.line.clear();
                self.chosen = self.chosen.saturating_add(1).checked_rem(self.secrets.len()).unwrap_or(0);
                say(terminal, format_args!("\n"));
                self.prompt(terminal);
            }
            Key::Enter | Key::Reset => {}
        }
    }

    fn prompt<C: Terminal>(&self, terminal: &mut C) {
        let (name, other) = match self.secret() {
            Secret::PassPhrase => ("Pass phrase", "recovery key"),
            Secret::RecoveryKey => ("Recovery key", "pass phrase"),
        };
        if self.secrets.len() > 1 {
            say(terminal, format_args!("{name} (Tab: {other}): "));
        } else {
            say(terminal, format_args!("{name}: "));
        }
    }

    /// False: Ctrl-Alt-Del.
    fn pause<C: Terminal>(&mut self, terminal: &mut C, millis: u64) -> bool {
        let end = terminal.now_ms().saturating_add(millis);
        while terminal.now_ms() < end {
            if self.next_key(terminal) == Some(Key::Reset) {
                return false;
            }
        }
        true
    }
}

fn say(terminal: &mut impl Write, text: fmt::Arguments<'_>) {
    // A terminal that shows nothing is no reason to stop.
    let _ = terminal.write_fmt(text);
}

const _: () = assert!(MAX_SECRET_BYTES >= 128, "a recovery key with its hyphens fits");
