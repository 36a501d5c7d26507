//! The screen: the log until the guest starts, the login, and the last words of all.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use display::{Channel, Console, Display, Mode, Style, VideoMemory};
use hw::{Hpa, direct};
use lock::{Ranked, rank};
use logs::{Record, Sink};
use spin::Mutex;

/// Memory that the graphics card shows.
pub struct VideoRam {
    at: Hpa,
    len_bytes: usize,
}

impl VideoMemory for VideoRam {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.len_bytes) {
            return;
        }
        let to = direct::pointer(Hpa(self.at.0 + offset as u64));
        let (words, rest) = bytes.as_chunks::<4>();
        for (index, word) in words.iter().enumerate() {
            // SAFETY: inside the video memory, which the direct map covers; it may be written at any address.
            unsafe { to.cast::<u32>().add(index).write_unaligned(u32::from_le_bytes(*word)) };
        }
        for (index, byte) in rest.iter().enumerate() {
            // SAFETY: as above.
            unsafe { to.add(words.len() * 4 + index).write_volatile(*byte) };
        }
    }
}

/// Where the screen is, and what it shows.
#[derive(Clone, Copy)]
struct Place {
    at: Hpa,
    mode: Mode,
}

/// Any PC's, until the loader has told better.
const VGA_TEXT: Place = Place { at: Hpa(0xb8000), mode: Mode::VGA_TEXT };
/// Higher the start code's tables do not reach.
const END: u64 = 1 << 32;

static PLACE: Mutex<Place> = Mutex::new(VGA_TEXT);
static CONSOLE: Ranked<Option<Console<VideoRam>>, { rank::SCREEN }> = Ranked::new(None);
/// It shows what the BIOS does not know of.
static USED: AtomicBool = AtomicBool::new(false);

impl Place {
    fn of(console: &multiboot::Console) -> Option<Self> {
        let channel = |c: multiboot::Channel| Channel { shift: c.shift, bits: c.bits };
        let (at, mode) = match *console {
            multiboot::Console::Text { at, pitch_bytes, columns, rows } => {
                (at, Mode::Text { pitch_bytes, columns, rows })
            }
            multiboot::Console::Framebuffer { at, pitch_bytes, width, height, bits_per_pixel, red, green, blue } => {
                let (red, green, blue) = (channel(red), channel(green), channel(blue));
                (at, Mode::Framebuffer { pitch_bytes, width, height, bits_per_pixel, red, green, blue })
            }
        };
        let end = at.checked_add(mode.len_bytes()? as u64)?;
        (end <= END).then_some(Self { at: Hpa(at), mode })
    }

    fn display(self) -> Display<VideoRam> {
        let len_bytes = self.mode.len_bytes().unwrap_or(0);
        Display::new(self.mode, VideoRam { at: self.at, len_bytes })
    }
}

/// What the loader tells of the screen. Nothing is drawn yet.
pub fn find(console: Option<&multiboot::Console>) {
    match console.map(Place::of) {
        Some(Some(place)) => *PLACE.lock() = place,
        // The loader says text where it says nothing.
        None => {}
        Some(None) => {
            // Whatever it shows, the guest starts in text mode.
            USED.store(true, Ordering::Relaxed);
            log::warn!(
                "Shoji cannot draw on this screen; write `set gfxpayload=text` behind `multiboot2` in the GRUB entry"
            );
        }
    }
}

/// An empty screen to write to.
pub fn open() {
    let place = *PLACE.lock();
    USED.store(true, Ordering::Relaxed);
    let mut console = CONSOLE.lock();
    if console.is_none() {
        *console = Some(Console::new(place.display()));
    }
}

/// The log appears from its beginning on.
pub fn show_log() {
    open();
    if !hw::logger::logs().add_sink(&SCREEN) {
        log::warn!("no memory for the log on the screen");
    }
}

struct Screen;
static SCREEN: Screen = Screen;

impl Sink for Screen {
    fn write(&self, record: &Record<'_>) {
        if let Some(console) = CONSOLE.lock().as_mut() {
            // It never fails.
            let _ = writeln!(console, "{record}");
        }
    }
}

/// Writes to the screen, if it is open, in the colours of a prompt.
pub struct Prompt;

impl Write for Prompt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut guard = CONSOLE.lock();
        let Some(console) = guard.as_mut() else { return Ok(()) };
        console.set_style(Style::PROMPT);
        let written = console.write_str(text);
        console.set_style(Style::LOG);
        written
    }
}

/// It shows what the BIOS does not know of, which is to set its text mode anew when the guest starts.
pub fn is_used() -> bool {
    USED.load(Ordering::Relaxed) || matches!(PLACE.lock().mode, Mode::Framebuffer { .. })
}

/// The guest gets the screen, in text mode.
pub fn release() {
    *CONSOLE.lock() = None;
    *PLACE.lock() = VGA_TEXT;
}

/// For messages before which nothing else matters, from the top of the screen on. Takes no lock that may be held for good.
pub fn last_words() -> Console<VideoRam> {
    let place = PLACE.try_lock().map_or(VGA_TEXT, |place| *place);
    let mut console = Console::without_scrolling(place.display());
    console.set_style(Style::ALARM);
    console
}
