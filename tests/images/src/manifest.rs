//! Which guests there are, and what each needs.

/// A run of sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sectors {
    pub first: u32,
    pub count: u32,
}

/// One tiny guest.
#[derive(Clone, Copy, Debug)]
pub struct TinyGuest {
    /// As in the program's table; at most 16 bytes.
    pub name: &'static str,
    /// What a pass shows.
    pub purpose: &'static str,
    /// The range of its disk that Shoji's configuration must encrypt (channel 0, unit 0; no key check: it starts as
    /// zeros on disk). `None`: no rule for this disk.
    pub encrypted: Option<Sectors>,
    /// Further QEMU arguments.
    pub qemu: &'static [&'static str],
    /// A healthy run takes a tenth of it, under Shoji too.
    pub timeout_s: u32,
}

/// The range that all guests with an encrypted range use.
const ENCRYPTED: Sectors = Sectors { first: 8192, count: 32768 };

const PLAIN: TinyGuest = TinyGuest { name: "", purpose: "", encrypted: None, qemu: &[], timeout_s: 60 };
const PROTECTED: TinyGuest = TinyGuest { encrypted: Some(ENCRYPTED), ..PLAIN };

/// All of them.
pub const GUESTS: &[TinyGuest] =
    &[TinyGuest { name: "cpuid", purpose: "CPUID policy in every mode and encoding", ..PLAIN }];

/// The guest of this name.
pub fn guest(name: &str) -> Option<&'static TinyGuest> {
    GUESTS.iter().find(|g| g.name == name)
}
