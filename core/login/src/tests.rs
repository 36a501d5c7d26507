use crate::line::Line;
use crate::serial::Serial;
use crate::{Answer, Input, Key, Keyboard, Layout, Locks, Outcome, Secret, Terminal, run};
use core::fmt;
use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

const LAYOUTS: [Layout; 3] = [Layout::Us, Layout::Jp, Layout::De];

fn keyboard(layout: Layout) -> Keyboard {
    Keyboard::new(layout, Locks::default())
}

/// What these scan codes type.
fn typed(layout: Layout, codes: &[u8]) -> String {
    let mut keyboard = keyboard(layout);
    codes
        .iter()
        .filter_map(|&code| match keyboard.on_scan_code(code)? {
            Key::Character(character) => Some(character),
            _ => None,
        })
        .collect()
}

#[test]
fn every_printable_ascii_character_can_be_typed_in_every_layout() {
    for layout in LAYOUTS {
        for character in ' '..='~' {
            assert!(layout.has(character), "{layout:?} has no {character:?}");
        }
    }
    assert!(Layout::De.has('ß') && Layout::De.has('€') && !Layout::Us.has('ä') && !Layout::Jp.has('あ'));
}

#[test]
fn no_two_keys_of_a_layout_lie_over_one_another() {
    // The same key in two rows would hide one of them.
    for layout in LAYOUTS {
        let mut seen = std::collections::BTreeMap::new();
        for code in 0..0x80 {
            let shifted = typed(layout, &[0x2a, code, 0xaa, code]);
            // The key beside the left shift of the US layout is a second backslash.
            let is_extra = (0x37..=0x53).contains(&code) || layout == Layout::Us && code == 0x56;
            if shifted.chars().count() == 2 && !is_extra {
                let before = seen.insert(shifted.clone(), code);
                assert!(before.is_none(), "{layout:?}: {shifted:?} on {code:#x} and {before:x?}");
            }
        }
        assert!(seen.len() >= 46, "{layout:?} has {} keys", seen.len());
    }
}

#[test]
fn the_same_keys_are_other_characters_in_other_layouts() {
    // Shift with 2, then Y, Z, the key right of L, and the one right of P.
    let keys = [0x2a, 0x03, 0xaa, 0x15, 0x2c, 0x27, 0x1a];
    assert_eq!(typed(Layout::Us, &keys), "@yz;[");
    assert_eq!(typed(Layout::Jp, &keys), "\"yz;@");
    assert_eq!(typed(Layout::De, &keys), "\"zyöü");
}

#[test]
fn the_keys_that_only_japanese_keyboards_have_come_through() {
    assert_eq!(typed(Layout::Jp, &[0x73, 0x7d, 0x2a, 0x73, 0x7d]), "\\\\_|");
    assert_eq!(typed(Layout::Us, &[0x73, 0x7d]), "");
}

#[test]
fn alt_gr_is_the_right_alt_key_or_control_with_alt() {
    assert_eq!(typed(Layout::De, &[0xe0, 0x38, 0x10, 0x08, 0x0c, 0xe0, 0xb8, 0x10]), "@{\\q");
    assert_eq!(typed(Layout::De, &[0x1d, 0x38, 0x56, 0xb8, 0x9d, 0x56]), "|<");
    assert_eq!(typed(Layout::De, &[0x38, 0x10, 0xb8]), "", "Alt alone types nothing");
    assert_eq!(typed(Layout::De, &[0x1d, 0x10, 0x9d]), "", "nor does control");
}

#[test]
fn caps_lock_changes_letters_only_and_shift_undoes_it() {
    let keys = [0x3a, 0xba, 0x1e, 0x03, 0x27, 0x2a, 0x1e, 0x03, 0xaa, 0x3a, 0xba, 0x1e];
    assert_eq!(typed(Layout::Us, &keys), "A2;a@a");
    assert_eq!(typed(Layout::De, &keys), "A2Öa\"a");
    let mut keyboard = Keyboard::new(Layout::Us, Locks::from_bios(0x40));
    assert_eq!(keyboard.on_scan_code(0x1e), Some(Key::Character('A')), "it was on before");
}

#[test]
fn either_shift_counts_until_it_is_released() {
    assert_eq!(typed(Layout::Us, &[0x2a, 0x36, 0x1e, 0xaa, 0x1e, 0xb6, 0x1e]), "AAa");
}

#[test]
fn extended_codes_are_no_characters_and_their_false_shifts_no_shifts() {
    // Arrow up with its false shift; Insert; Pause; then A.
    assert_eq!(typed(Layout::Us, &[0xe0, 0x2a, 0xe0, 0x48, 0xe0, 0xc8, 0xe0, 0xaa, 0x1e]), "a");
    assert_eq!(typed(Layout::Us, &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5, 0x1e]), "a");
    // Those of the keypad that are characters.
    assert_eq!(typed(Layout::Us, &[0xe0, 0x35, 0x37, 0x4a, 0x4e, 0x47, 0x53]), "/*-+7.");
}

#[test]
fn editing_keys_and_the_three_finger_salute_are_told_apart() {
    let mut keyboard = keyboard(Layout::Us);
    let mut press = |code| keyboard.on_scan_code(code);
    assert_eq!(press(0x1c), Some(Key::Enter));
    assert_eq!(press(0x9c), None, "released");
    assert_eq!(press(0x0e), Some(Key::Backspace));
    assert_eq!(press(0x01), Some(Key::Clear));
    assert_eq!(press(0x0f), Some(Key::Switch));
    assert_eq!([press(0xe0), press(0x1c)], [None, Some(Key::Enter)], "the keypad's");
    assert_eq!([press(0x1d), press(0x16)], [None, Some(Key::Clear)]);
    assert_eq!([press(0x38), press(0x53)], [None, Some(Key::Reset)]);
}

#[test]
fn words_of_the_bios_give_the_same_characters_where_it_has_the_key() {
    let mut de = keyboard(Layout::De);
    let mut key = |scan, character| de.on_bios_key(scan, character);
    assert_eq!(key(0x15, b'y'), Some(Key::Character('z')));
    assert_eq!(key(0x15, b'Y'), Some(Key::Character('Z')));
    assert_eq!(key(0x03, b'@'), Some(Key::Character('"')));
    assert_eq!(key(0x27, b';'), Some(Key::Character('ö')));
    assert_eq!(key(0x10, 0), Some(Key::Character('@')), "Alt-Q");
    assert_eq!(key(0x7e, 0), Some(Key::Character('{')), "Alt-7");
    assert_eq!(key(0x1c, b'\r'), Some(Key::Enter));
    assert_eq!(key(0x0e, 8), Some(Key::Backspace));
    assert_eq!(key(0x39, b' '), Some(Key::Character(' ')));
    assert_eq!(key(0x48, 0), None, "arrow up");
}

#[test]
fn words_of_the_bios_are_dropped_once_scan_codes_have_come() {
    let mut us = keyboard(Layout::Us);
    assert_eq!(us.on_bios_key(0x1e, b'a'), Some(Key::Character('a')));
    assert_eq!(us.on_scan_code(0x1e), Some(Key::Character('a')));
    assert_eq!(us.on_bios_key(0x1e, b'a'), None);
}

#[test]
fn any_scan_codes_do_no_harm() {
    let mut random = 1_u32;
    for layout in LAYOUTS {
        let mut keyboard = keyboard(layout);
        for _ in 0..100_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            keyboard.on_scan_code((random >> 16) as u8);
            keyboard.on_bios_key((random >> 8) as u8, (random >> 24) as u8);
        }
    }
}

fn from_serial(bytes: &[u8]) -> Vec<Key> {
    let mut serial = Serial::default();
    bytes.iter().filter_map(|&byte| serial.on_byte(byte)).collect()
}

#[test]
fn a_serial_terminal_sends_utf_8_and_its_escape_sequences_are_dropped() {
    let text = |bytes: &[u8]| -> String {
        let character = |key| if let Key::Character(character) = key { Some(character) } else { None };
        from_serial(bytes).into_iter().filter_map(character).collect()
    };
    assert_eq!(text("aß€😀z".as_bytes()), "aß€😀z");
    assert_eq!(text(b"a\x1b[A\x1b[1;5Cb\x1bOPc"), "abc");
    // A byte that is cut off, and ones that are none.
    assert_eq!(text(b"\xc3a\xff\x80b\xf0\x9f\x98c"), "abc");
}

#[test]
fn one_enter_is_one_enter_whatever_the_terminal_sends_for_it() {
    for bytes in [&b"a\r"[..], b"a\n", b"a\r\n", b"a\r\0"] {
        let keys = from_serial(bytes);
        assert_eq!(keys.iter().filter(|&&key| key == Key::Enter).count(), 1, "{bytes:?}");
    }
    assert_eq!(from_serial(b"\r\r").len(), 2);
}

#[test]
fn backspace_takes_a_whole_character_and_leaves_no_byte() {
    let mut line = Line::new();
    for character in "aß€".chars() {
        assert!(line.push(character));
    }
    assert_eq!((line.bytes(), line.count()), ("aß€".as_bytes(), 3));
    assert!(line.pop());
    assert_eq!((line.bytes(), line.count()), ("aß".as_bytes(), 2));
    assert!(line.pop() && line.pop() && !line.pop());
    assert_eq!(line.bytes(), b"");
}

#[test]
fn a_full_line_takes_nothing_more_and_no_part_of_a_character() {
    let mut line = Line::new();
    (0..crate::MAX_SECRET_BYTES - 1).for_each(|_| assert!(line.push('x')));
    assert!(!line.push('ß') && line.push('y') && !line.push('z'));
    assert_eq!(line.bytes().len(), crate::MAX_SECRET_BYTES);
}

/// A user who types, and what they see. Each look at the clock takes a millisecond.
struct User {
    inputs: VecDeque<Input>,
    shown: String,
    now: core::cell::Cell<u64>,
}

impl User {
    fn types(bytes: &str) -> Self {
        let inputs = bytes.bytes().map(Input::Serial).collect();
        Self { inputs, shown: String::new(), now: core::cell::Cell::new(0) }
    }
}

impl fmt::Write for User {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.shown.push_str(text);
        Ok(())
    }
}

impl Terminal for User {
    fn poll(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    fn now_ms(&self) -> u64 {
        self.now.set(self.now.get() + 1);
        self.now.get()
    }
}

const BOTH: [Secret; 2] = [Secret::PassPhrase, Secret::RecoveryKey];

fn ask(user: &mut User, tries: u8) -> (Outcome<u32, &'static str>, Vec<(Secret, String)>) {
    let mut asked = Vec::new();
    let outcome = run(user, tries, &BOTH, |_, secret, typed| {
        let typed = String::from_utf8(typed.to_vec()).unwrap();
        let answer = match typed.as_str() {
            "open" => Answer::Open(7),
            "1-2" => Answer::Open(8),
            "broken" => Answer::Failed("no memory"),
            "1-3" => Answer::Mistyped,
            _ => Answer::Wrong,
        };
        asked.push((secret, typed));
        answer
    });
    (outcome, asked)
}

#[test]
fn the_right_pass_phrase_opens_and_shows_only_stars() {
    let mut user = User::types("opx\x7fen\r");
    let (outcome, asked) = ask(&mut user, 3);
    assert!(matches!(outcome, Outcome::Open(7)));
    assert_eq!(asked.len(), 1);
    assert_eq!(user.shown, "Pass phrase (Tab: recovery key): ***\u{8} \u{8}**\n");
}

/// As [`User`], but types a line whenever it is prompted.
struct Patient<'a> {
    lines: VecDeque<&'a str>,
    user: User,
}

impl fmt::Write for Patient<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.contains("): ") {
            self.user.inputs.extend(self.lines.pop_front().unwrap_or("").bytes().map(Input::Serial));
        }
        self.user.write_str(text)
    }
}

impl Terminal for Patient<'_> {
    fn poll(&mut self) -> Option<Input> {
        self.user.poll()
    }

    fn now_ms(&self) -> u64 {
        self.user.now_ms()
    }
}

fn patient<'a>(lines: &[&'a str]) -> Patient<'a> {
    Patient { lines: lines.iter().copied().collect(), user: User::types("") }
}

#[test]
fn wrong_tries_are_counted_and_each_pause_is_twice_the_last() {
    let mut user = patient(&["a\r", "b\r", "c\r", "d\r"]);
    let mut times = Vec::new();
    let outcome: Outcome<(), ()> = run(&mut user, 4, &BOTH, |user, _, _| {
        times.push(user.user.now.get());
        Answer::Wrong
    });
    assert!(matches!(outcome, Outcome::NoMoreTries));
    let pauses: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses.len(), 3, "four tries");
    for (pause, wanted) in pauses.iter().zip([1000, 2000, 4000]) {
        assert!((wanted..wanted + 10).contains(pause), "{pauses:?}");
    }
    assert!(user.user.shown.contains("Wrong. 1 more try.\n") && user.user.shown.ends_with("Wrong. No more tries.\n"));
}

#[test]
fn a_pause_never_gets_longer_than_a_minute() {
    let mut user = patient(&["x\r"; 12]);
    let mut last = 0;
    let outcome: Outcome<(), ()> = run(&mut user, 12, &BOTH, |user, _, _| {
        let now = user.user.now.get();
        assert!(now - last < crate::MAX_PAUSE_MS + 10);
        last = now;
        Answer::Wrong
    });
    assert!(matches!(outcome, Outcome::NoMoreTries));
    assert!(last > 4 * crate::MAX_PAUSE_MS, "it grew until then");
}

#[test]
fn what_is_typed_during_a_pause_is_dropped() {
    let mut user = User::types("wrong\r");
    user.inputs.push_back(Input::Key(Key::Enter));
    // It would open if it were heard; only a reset is.
    let mut calls = 0;
    let outcome: Outcome<(), ()> = run(&mut user, 3, &BOTH, |user, _, typed| {
        calls += 1;
        assert_eq!(typed, b"wrong");
        user.inputs.extend("open\r".bytes().map(Input::Serial));
        user.inputs.extend((0..500).map(|_| Input::Serial(b'\r')));
        user.inputs.push_back(Input::Key(Key::Reset));
        Answer::Wrong
    });
    assert!(matches!(outcome, Outcome::Reset));
    assert_eq!(calls, 1);
}

#[test]
fn tab_asks_for_the_recovery_key_whose_hyphens_show() {
    let mut user = User::types("half\t1-2\r");
    let (outcome, asked) = ask(&mut user, 3);
    assert!(matches!(outcome, Outcome::Open(8)));
    assert_eq!(asked[0].0, Secret::RecoveryKey);
    assert_eq!(asked[0].1, "1-2", "what was typed before is gone");
    assert!(user.shown.ends_with("\nRecovery key (Tab: pass phrase): *-*\n"));
}

#[test]
fn a_mistyped_recovery_key_costs_no_try() {
    let mut user = patient(&["\t", "1-3\r", "1-3\r", "1-3\r", "1-3\r", "1-2\r"]);
    let mut calls = 0;
    let outcome: Outcome<(), ()> = run(&mut user, 1, &BOTH, |_, _, typed| {
        calls += 1;
        if typed == b"1-2" { Answer::Open(()) } else { Answer::Mistyped }
    });
    assert!(matches!(outcome, Outcome::Open(())));
    assert_eq!(calls, 5);
}

#[test]
fn an_empty_line_is_no_try_and_a_failure_ends_it() {
    let mut user = User::types("\r\r\rbroken\r");
    let (outcome, asked) = ask(&mut user, 1);
    assert!(matches!(outcome, Outcome::Failed("no memory")));
    assert_eq!(asked.len(), 1);
}

#[test]
fn tries_of_zero_still_end() {
    let (outcome, asked) = ask(&mut User::types("x\r"), 0);
    assert!(matches!(outcome, Outcome::NoMoreTries));
    assert_eq!(asked.len(), 1);
}
