//! When an init function is called.

use core::fmt;

/// The phases, in the order in which they come; a phase's prefix and one digit make a label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// The VMM has just started.
    Global,
    /// On each CPU.
    Pcpu,
    /// Messages are usable.
    Msg,
    /// Hypercalls are usable.
    VmmCall,
    /// The configuration is known.
    Config0,
    /// Drivers are started.
    Driver,
    /// Drivers are ready.
    Config1,
    /// At run time: before the machine sleeps.
    Suspend,
    /// At run time: on each CPU after sleep.
    Wakeup,
    /// At run time: after all CPUs woke up.
    Resume,
}

impl Phase {
    pub const ALL: [Self; 10] = [
        Self::Global,
        Self::Pcpu,
        Self::Msg,
        Self::VmmCall,
        Self::Config0,
        Self::Driver,
        Self::Config1,
        Self::Suspend,
        Self::Wakeup,
        Self::Resume,
    ];

    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Pcpu => "pcpu",
            Self::Msg => "msg",
            Self::VmmCall => "vmmcall",
            Self::Config0 => "config0",
            Self::Driver => "driver",
            Self::Config1 => "config1",
            Self::Suspend => "suspend",
            Self::Wakeup => "wakeup",
            Self::Resume => "resume",
        }
    }
}

/// Longest label in bytes.
const LABEL_BYTES: usize = 8;

/// A phase's prefix and one digit, padded with zeros; sorted as ASCII text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Label([u8; LABEL_BYTES]);

impl Label {
    /// # Panics
    /// If the text is not a label; in a constant that is an error of the compiler.
    pub const fn new(text: &str) -> Self {
        let text = text.as_bytes();
        let is_label = match phase_of(text) {
            Some(_) => text.len() <= LABEL_BYTES,
            None => false,
        };
        assert!(is_label, "a label is a prefix of initfunc::Phase and one digit, as in \"driver0\"");
        let mut label = [0; LABEL_BYTES];
        let (used, _) = label.split_at_mut(text.len());
        used.copy_from_slice(text);
        Self(label)
    }

    pub const fn phase(self) -> Phase {
        match phase_of(self.text()) {
            Some(phase) => phase,
            None => unreachable!(),
        }
    }

    const fn text(&self) -> &[u8] {
        let mut text: &[u8] = &self.0;
        while let [rest @ .., 0] = text {
            text = rest;
        }
        text
    }
}

/// The phase whose prefix stands before the last digit.
const fn phase_of(label: &[u8]) -> Option<Phase> {
    let [prefix @ .., b'0'..=b'9'] = label else { return None };
    let mut n = 0;
    while n < Phase::ALL.len() {
        if is_equal(prefix, Phase::ALL[n].prefix().as_bytes()) {
            return Some(Phase::ALL[n]);
        }
        n += 1;
    }
    None
}

/// `==` on slices is not constant.
const fn is_equal(mut a: &[u8], mut b: &[u8]) -> bool {
    while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
        if *x != *y {
            return false;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.is_empty() && b.is_empty()
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(core::str::from_utf8(self.text()).unwrap_or("?"))
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::format;

    #[test]
    fn every_phase_has_labels_that_lead_back_to_it() {
        for phase in Phase::ALL {
            for digit in 0..10 {
                let text = format!("{}{digit}", phase.prefix());
                let label = Label::new(&text);
                assert_eq!((label.phase(), format!("{label}")), (phase, text));
            }
        }
        assert!(Phase::ALL.is_sorted());
    }

    #[test]
    fn other_texts_are_no_labels() {
        let wrong = [
            "", "0", "driver", "driver10", "driverx", "Driver0", "drive0", "config0", "config", "config20", "pcpu:",
            "global0 ",
        ];
        for text in wrong {
            assert_eq!(phase_of(text.as_bytes()), None, "{text:?}");
            assert!(std::panic::catch_unwind(|| Label::new(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn labels_sort_as_text() {
        assert!(Label::new("driver0") < Label::new("driver1"));
        assert!(Label::new("config09") < Label::new("config10"));
        assert!(Label::new("msg9") < Label::new("pcpu0"));
    }
}
