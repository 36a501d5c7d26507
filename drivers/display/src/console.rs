//! Text on the screen.

use crate::mode::{CELL_HEIGHT, CELL_WIDTH};
use crate::{Colour, Display, Mode, Rect, VideoMemory};
use alloc::vec::Vec;
use core::fmt;
use embedded_graphics::Drawable;
use embedded_graphics::geometry::Point;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, MonoTextStyleBuilder, ascii};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::text::{Baseline, Text};

/// Colours of a character.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    pub text: Colour,
    pub background: Colour,
}

impl Style {
    pub const LOG: Self = Self { text: Colour::LightGrey, background: Colour::Black };
    pub const PROMPT: Self = Self { text: Colour::White, background: Colour::Black };
    /// For messages before which nothing else matters.
    pub const ALARM: Self = Self { text: Colour::White, background: Colour::Red };
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell {
    character: u8,
    style: Style,
}

const BLANK: Cell = Cell { character: b' ', style: Style::LOG };
/// As wide as a text cell; a row of it is one of [`CELL_HEIGHT`] dots.
const FONT: MonoFont<'static> = ascii::FONT_8X13;
/// Stands for what the font has not.
const OTHER: u8 = b'?';

/// Characters on a display, from its upper left corner on.
pub struct Console<M> {
    display: Display<M>,
    columns: u32,
    rows: u32,
    column: u32,
    row: u32,
    style: Style,
    /// What is shown. Empty: nothing scrolls, and what comes after the last row is lost.
    cells: Vec<Cell>,
}

impl<M: VideoMemory> Console<M> {
    /// A console that scrolls, on a cleared screen. Without memory for it, it does not scroll.
    pub fn new(display: Display<M>) -> Self {
        let mut console = Self::without_scrolling(display);
        let count = (console.columns as usize).saturating_mul(console.rows as usize);
        if console.cells.try_reserve_exact(count).is_ok() {
            console.cells.resize(count, BLANK);
        }
        console.clear();
        console
    }

    /// A console that needs no memory, for last words: it leaves what was there, and ends with the last row.
    pub fn without_scrolling(display: Display<M>) -> Self {
        let (width, height) = if display.is_ready() { display.mode().size() } else { (0, 0) };
        let (columns, rows) = (width.checked_div(CELL_WIDTH), height.checked_div(CELL_HEIGHT));
        let (columns, rows) = (columns.unwrap_or(0), rows.unwrap_or(0));
        Self { display, columns, rows, column: 0, row: 0, style: Style::LOG, cells: Vec::new() }
    }

    /// Colours of what comes next.
    pub fn set_style(&mut self, style: Style) {
        self.style = style;
    }

    pub fn display(&mut self) -> &mut Display<M> {
        &mut self.display
    }

    /// An empty screen.
    pub fn clear(&mut self) {
        let (width, height) = self.display.mode().size();
        self.display.fill_rect(Rect { x: 0, y: 0, width, height }, Style::LOG.background);
        self.cells.fill(BLANK);
        (self.column, self.row) = (0, 0);
    }

    /// Where the next character goes: column and row.
    pub fn cursor(&self) -> (u32, u32) {
        (self.column, self.row)
    }

    fn put(&mut self, character: char) {
        match character {
            '\n' => self.new_line(),
            '\r' => self.column = 0,
            // Backspace: one back, as terminals do.
            '\u{8}' => self.column = self.column.saturating_sub(1),
            other => {
                if self.column >= self.columns {
                    self.new_line();
                }
                let character = match u8::try_from(other) {
                    Ok(byte @ b' '..=b'~') => byte,
                    _ => OTHER,
                };
                self.set(self.column, self.row, Cell { character, style: self.style });
                self.column = self.column.saturating_add(1);
            }
        }
    }

    fn new_line(&mut self) {
        self.column = 0;
        if self.row.saturating_add(1) < self.rows || self.cells.is_empty() {
            self.row = self.row.saturating_add(1);
            return;
        }
        // Dots are slow: a jump of many rows costs no more than one of one.
        let jump = match self.display.mode() {
            Mode::Text { .. } => 1,
            Mode::Framebuffer { .. } => self.rows.div_ceil(3).max(1),
        };
        self.scroll(jump);
        self.row = self.rows.saturating_sub(jump);
    }

    fn scroll(&mut self, jump: u32) {
        for row in 0..self.rows {
            for column in 0..self.columns {
                let from = self.index(column, row.saturating_add(jump));
                let cell = from.and_then(|from| self.cells.get(from)).copied().unwrap_or(BLANK);
                self.set(column, row, cell);
            }
        }
    }

    fn index(&self, column: u32, row: u32) -> Option<usize> {
        if row >= self.rows {
            return None;
        }
        usize::try_from(row.checked_mul(self.columns)?.checked_add(column)?).ok()
    }

    /// Draws a cell that has changed.
    fn set(&mut self, column: u32, row: u32, cell: Cell) {
        let Some(index) = self.index(column, row) else { return };
        if let Some(shown) = self.cells.get_mut(index) {
            if *shown == cell {
                return;
            }
            *shown = cell;
        }
        match self.display.mode() {
            Mode::Text { .. } => {
                let Style { text, background } = cell.style;
                self.display.put_cell(column, row, cell.character, background.dark() << 4 | text as u8);
            }
            Mode::Framebuffer { .. } => self.draw(column, row, cell),
        }
    }

    fn draw(&mut self, column: u32, row: u32, cell: Cell) {
        let (x, y) = (column.saturating_mul(CELL_WIDTH), row.saturating_mul(CELL_HEIGHT));
        let area = Rect { x, y, width: CELL_WIDTH, height: CELL_HEIGHT };
        self.display.fill_rect(area, cell.style.background);
        let at = Point::new(i32::try_from(x).unwrap_or(i32::MAX), i32::try_from(y).unwrap_or(i32::MAX));
        let character = [cell.character];
        let text = core::str::from_utf8(&character).unwrap_or_default();
        // Drawing cannot fail.
        let _ = Text::with_baseline(text, at, font_style(cell.style), Baseline::Top).draw(&mut self.display);
    }
}

fn font_style(style: Style) -> MonoTextStyle<'static, Rgb888> {
    let colour = |colour: Colour| {
        let [r, g, b] = colour.rgb();
        Rgb888::new(r, g, b)
    };
    MonoTextStyleBuilder::new()
        .font(&FONT)
        .text_color(colour(style.text))
        .background_color(colour(style.background))
        .build()
}

impl<M: VideoMemory> fmt::Write for Console<M> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().for_each(|character| self.put(character));
        Ok(())
    }
}
