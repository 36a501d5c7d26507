use crate::{Channel, Colour, Console, Display, Image, Mode, Rect, Style, VideoMemory};
use core::cell::RefCell;
use core::fmt::Write;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// Video memory that fails a test when something is written outside.
#[derive(Clone)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl Memory {
    fn of(mode: Mode) -> Self {
        Self(Rc::new(RefCell::new(vec![0xcc; mode.len_bytes().unwrap()])))
    }
}

impl VideoMemory for Memory {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.0.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

const fn framebuffer(width: u32, height: u32, bits_per_pixel: u8) -> Mode {
    let (bits, green, shifts) = match bits_per_pixel {
        15 => (5, 5, [10, 5, 0]),
        16 => (5, 6, [11, 5, 0]),
        _ => (8, 8, [16, 8, 0]),
    };
    let pitch_bytes = width * (bits_per_pixel as u32).div_ceil(8) + 12;
    let [red, middle, blue] = shifts;
    Mode::Framebuffer {
        pitch_bytes,
        width,
        height,
        bits_per_pixel,
        red: Channel { shift: red, bits },
        green: Channel { shift: middle, bits: green },
        blue: Channel { shift: blue, bits },
    }
}

/// A row of a text screen.
fn row(memory: &Memory, row: usize) -> String {
    let bytes = memory.0.borrow();
    let text: String = bytes[row * 160..][..160].chunks(2).map(|cell| char::from(cell[0])).collect();
    text.trim_end().to_string()
}

fn pixel(memory: &Memory, mode: Mode, x: usize, y: usize) -> u32 {
    let Mode::Framebuffer { pitch_bytes, bits_per_pixel, .. } = mode else { panic!("no dots") };
    let len = usize::from(bits_per_pixel).div_ceil(8);
    let at = y * pitch_bytes as usize + x * len;
    let mut value = [0; 4];
    value[..len].copy_from_slice(&memory.0.borrow()[at..at + len]);
    u32::from_le_bytes(value)
}

#[test]
fn text_fills_cells_and_scrolls_by_a_row() {
    let memory = Memory::of(Mode::VGA_TEXT);
    let mut console = Console::new(Display::new(Mode::VGA_TEXT, memory.clone()));
    for line in 0..30 {
        writeln!(console, "line {line}").unwrap();
    }
    write!(console, "end").unwrap();
    assert_eq!(row(&memory, 0), "line 6");
    assert_eq!(row(&memory, 23), "line 29");
    assert_eq!(row(&memory, 24), "end");
    assert_eq!(console.cursor(), (3, 24));
    assert_eq!(memory.0.borrow()[1], 0x07);
}

#[test]
fn long_lines_go_on_in_the_next_row_and_backspace_goes_back() {
    let memory = Memory::of(Mode::VGA_TEXT);
    let mut console = Console::new(Display::new(Mode::VGA_TEXT, memory.clone()));
    write!(console, "{}\rB\n**\u{8} \u{8}ä\x1b\u{8}\u{8}\u{8}\u{8}\u{8}x", "a".repeat(81)).unwrap();
    assert_eq!(row(&memory, 0), "a".repeat(80));
    assert_eq!(row(&memory, 1), "B");
    assert_eq!(row(&memory, 2), "x??");
}

#[test]
fn last_words_need_no_memory_and_end_with_the_screen() {
    let memory = Memory::of(Mode::VGA_TEXT);
    let mut console = Console::without_scrolling(Display::new(Mode::VGA_TEXT, memory.clone()));
    console.set_style(Style::ALARM);
    for line in 0..40 {
        writeln!(console, "line {line}").unwrap();
    }
    assert!(row(&memory, 0).starts_with("line 0") && row(&memory, 24).starts_with("line 24"));
    assert_eq!(memory.0.borrow()[1], 0x4f, "white on red");
}

#[test]
fn a_rectangle_is_clipped_and_lies_where_it_should_in_every_depth() {
    for (bits, red) in [(15, 0x15 << 10), (16, 0x15 << 11), (24, 0xaa_0000), (32, 0xaa_0000)] {
        let mode = framebuffer(100, 40, bits);
        let memory = Memory::of(mode);
        let mut display = Display::new(mode, memory.clone());
        assert!(display.is_ready());
        display.fill_rect(Rect { x: 0, y: 0, width: 100, height: 40 }, Colour::Black);
        display.fill_rect(Rect { x: 90, y: 35, width: u32::MAX, height: 1000 }, Colour::Red);
        display.fill_rect(Rect { x: u32::MAX, y: u32::MAX, width: 5, height: 5 }, Colour::White);
        assert_eq!(pixel(&memory, mode, 90, 35), red, "{bits}");
        assert_eq!(pixel(&memory, mode, 99, 39), red);
        assert_eq!((pixel(&memory, mode, 89, 35), pixel(&memory, mode, 90, 34)), (0, 0));
        // The bytes behind the last dot of a row are nobody's.
        let Mode::Framebuffer { pitch_bytes, .. } = mode else { unreachable!() };
        assert_eq!(memory.0.borrow()[pitch_bytes as usize - 1], 0xcc);
    }
}

#[test]
fn a_picture_is_clipped_at_the_right_and_lower_border() {
    let mode = framebuffer(20, 10, 32);
    let memory = Memory::of(mode);
    let mut display = Display::new(mode, memory.clone());
    let rgb: Vec<u8> = (0..8 * 8).flat_map(|n| [n, 100, 200]).collect();
    assert!(display.transfer_image(Image { width: 8, rgb: &rgb }, 15, 5));
    assert_eq!(pixel(&memory, mode, 15, 5), 0x64c8);
    assert_eq!(pixel(&memory, mode, 19, 9), (4 * 8 + 4) << 16 | 0x64c8);
    assert_eq!(pixel(&memory, mode, 14, 5), 0xcccc_cccc);
    assert!(display.transfer_image(Image { width: 0, rgb: &rgb }, 0, 0), "nothing to draw");
    let mut text = Display::new(Mode::VGA_TEXT, Memory::of(Mode::VGA_TEXT));
    assert!(!text.transfer_image(Image { width: 8, rgb: &rgb }, 0, 0));
}

#[test]
fn characters_are_dots_in_their_colours_and_scroll() {
    let mode = framebuffer(160, 64, 32);
    let memory = Memory::of(mode);
    let mut console = Console::new(Display::new(mode, memory.clone()));
    console.set_style(Style::ALARM);
    write!(console, "H").unwrap();
    let dots = |from: usize| {
        let colours: Vec<u32> =
            (0..16).flat_map(|y| (0..8).map(move |x| (x, y))).map(|(x, y)| pixel(&memory, mode, x, from + y)).collect();
        (
            colours.iter().filter(|&&c| c == 0xff_ffff).count(),
            colours.iter().filter(|&&c| c == 0xaa_0000).count(),
            colours.iter().filter(|&&c| c == 0).count(),
        )
    };
    let (white, red, black) = dots(0);
    assert!(white > 10 && white + red == 128 && black == 0, "{white} {red} {black}");
    // Four rows: the fourth line feed scrolls by two.
    write!(console, "\n\nI\n\n").unwrap();
    assert_eq!(console.cursor(), (0, 2));
    let (white, red, _) = dots(0);
    assert!(white > 10 && white + red == 128, "the I has come to the top");
    assert_eq!(dots(16).2, 128);
}

#[test]
fn a_mode_that_does_not_fit_together_draws_nothing() {
    let good = framebuffer(100, 40, 32);
    let Mode::Framebuffer { pitch_bytes, width, height, bits_per_pixel, red, green, blue } = good else { panic!() };
    let make = |pitch_bytes, width, height, bits_per_pixel, red| Mode::Framebuffer {
        pitch_bytes,
        width,
        height,
        bits_per_pixel,
        red,
        green,
        blue,
    };
    assert!(make(pitch_bytes, width, height, bits_per_pixel, red).len_bytes().is_some());
    for bad in [
        make(399, width, height, bits_per_pixel, red),
        make(pitch_bytes, 0, height, bits_per_pixel, red),
        make(pitch_bytes, width, 0, bits_per_pixel, red),
        make(pitch_bytes, width, height, 8, red),
        make(pitch_bytes, width, height, bits_per_pixel, Channel { shift: 30, bits: 8 }),
        make(u32::MAX, u32::MAX, u32::MAX, bits_per_pixel, red),
        Mode::Text { pitch_bytes: 100, columns: 80, rows: 25 },
        Mode::Text { pitch_bytes: 160, columns: 80, rows: 0 },
    ] {
        assert_eq!(bad.len_bytes(), None, "{bad:?}");
        let mut console = Console::new(Display::new(bad, Memory(Rc::default())));
        assert!(!console.display().is_ready());
        // Memory of no bytes would fail.
        write!(console, "nothing\n{}", "x\n".repeat(100)).unwrap();
    }
}
