//! Rectangles and pictures.

use crate::mode::{CELL_HEIGHT, CELL_WIDTH};
use crate::{Channel, Colour, Mode, VideoMemory};
use core::convert::Infallible;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::Rectangle;

/// Part of the screen, in dots; a text cell is 8 by 16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// A picture: red, green and blue, a byte each, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    pub width: u32,
    pub rgb: &'a [u8],
}

/// The screen.
pub struct Display<M> {
    mode: Mode,
    memory: M,
    ready: bool,
}

/// Dots of a row that are handed to the video memory at once.
const RUN: usize = 64;
const MAX_PIXEL_BYTES: usize = 4;

impl<M: VideoMemory> Display<M> {
    pub fn new(mode: Mode, memory: M) -> Self {
        Self { mode, memory, ready: mode.len_bytes().is_some() }
    }

    /// Whether anything that is drawn is seen. If not, drawing does nothing.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Fills a rectangle, as far as it lies on the screen. In a text mode: the cells that it touches.
    pub fn fill_rect(&mut self, area: Rect, colour: Colour) {
        if !self.ready {
            return;
        }
        match self.mode {
            Mode::Text { columns, rows, .. } => {
                let cells = |from: u32, len: u32, size: u32, end: u32| {
                    let last = from.saturating_add(len).div_ceil(size).min(end);
                    from.checked_div(size).unwrap_or(0)..last
                };
                for row in cells(area.y, area.height, CELL_HEIGHT, rows) {
                    for column in cells(area.x, area.width, CELL_WIDTH, columns) {
                        self.put_cell(column, row, b' ', colour.dark() << 4);
                    }
                }
            }
            Mode::Framebuffer { width, height, .. } => {
                let [r, g, b] = colour.rgb();
                let dots = width.saturating_sub(area.x).min(area.width) as usize;
                for row in area.y..area.y.saturating_add(area.height).min(height) {
                    self.put_row(area.x, row, core::iter::repeat_n(Rgb888::new(r, g, b), dots));
                }
            }
        }
    }

    /// Draws a picture with its upper left corner at (`x`, `y`), as far as it lies on the screen. False: nothing is drawn, as text
    /// modes have no dots.
    pub fn transfer_image(&mut self, image: Image<'_>, x: u32, y: u32) -> bool {
        if !self.ready || !matches!(self.mode, Mode::Framebuffer { .. }) {
            return false;
        }
        let (Ok(width), (screen_width, _)) = (usize::try_from(image.width), self.mode.size()) else { return false };
        let visible = usize::try_from(screen_width.saturating_sub(x)).unwrap_or(0).min(width);
        let row_bytes = width.saturating_mul(3).max(1);
        for (row, dots) in (y..).zip(image.rgb.chunks_exact(row_bytes)) {
            let colours = dots.chunks_exact(3).take(visible).map(|rgb| match *rgb {
                [r, g, b] => Rgb888::new(r, g, b),
                _ => Rgb888::BLACK,
            });
            self.put_row(x, row, colours);
        }
        true
    }

    /// A text cell; `attribute` as VGA has it.
    pub(crate) fn put_cell(&mut self, column: u32, row: u32, character: u8, attribute: u8) {
        let Mode::Text { pitch_bytes, columns, rows } = self.mode else { return };
        if !self.ready || column >= columns || row >= rows {
            return;
        }
        let offset =
            u64::from(row).saturating_mul(u64::from(pitch_bytes)).saturating_add(u64::from(column).saturating_mul(2));
        self.memory.write(usize::try_from(offset).unwrap_or(usize::MAX), &[character, attribute]);
    }

    /// Dots of one row from `x` on; none of them may lie beyond the right border.
    fn put_row(&mut self, x: u32, y: u32, colours: impl Iterator<Item = Rgb888>) {
        let Mode::Framebuffer { pitch_bytes, height, bits_per_pixel, red, green, blue, .. } = self.mode else { return };
        if y >= height {
            return;
        }
        let pixel_bytes = usize::from(bits_per_pixel.div_ceil(8)).min(MAX_PIXEL_BYTES);
        let (pitch, row, column) = (pitch_bytes as usize, y as usize, x as usize);
        let mut offset = row.saturating_mul(pitch).saturating_add(column.saturating_mul(pixel_bytes));
        let mut run = [0; RUN * MAX_PIXEL_BYTES];
        let mut len = 0_usize;
        for colour in colours {
            let value = place(colour.r(), red) | place(colour.g(), green) | place(colour.b(), blue);
            let end = len.saturating_add(pixel_bytes);
            if let (Some(to), Some(from)) = (run.get_mut(len..end), value.to_le_bytes().get(..pixel_bytes)) {
                to.copy_from_slice(from);
                len = end;
            }
            if len.saturating_add(pixel_bytes) > run.len() {
                self.memory.write(offset, run.get(..len).unwrap_or_default());
                offset = offset.saturating_add(len);
                len = 0;
            }
        }
        self.memory.write(offset, run.get(..len).unwrap_or_default());
    }
}

/// A colour's upper bits at their place.
fn place(value: u8, channel: Channel) -> u32 {
    let dropped = 8_u8.saturating_sub(channel.bits);
    u32::from(value).wrapping_shr(dropped.into()).wrapping_shl(channel.shift.into())
}

impl<M> OriginDimensions for Display<M> {
    fn size(&self) -> Size {
        let (width, height) = self.mode.size();
        Size::new(width, height)
    }
}

impl<M: VideoMemory> DrawTarget for Display<M> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let (width, height) = self.mode.size();
        for Pixel(Point { x, y }, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                && self.ready
                && x < width
                && y < height
            {
                self.put_row(x, y, core::iter::once(colour));
            }
        }
        Ok(())
    }

    /// What the font is drawn by: a row of a glyph goes to the video memory at once.
    fn fill_contiguous<I: IntoIterator<Item = Rgb888>>(
        &mut self,
        area: &Rectangle,
        colours: I,
    ) -> Result<(), Infallible> {
        let (screen_width, _) = self.mode.size();
        let mut colours = colours.into_iter();
        let (Ok(x), Ok(y)) = (u32::try_from(area.top_left.x), u32::try_from(area.top_left.y)) else { return Ok(()) };
        if !self.ready {
            return Ok(());
        }
        let visible = screen_width.saturating_sub(x).min(area.size.width) as usize;
        let hidden = (area.size.width as usize).saturating_sub(visible);
        for row in y..y.saturating_add(area.size.height) {
            self.put_row(x, row, colours.by_ref().take(visible));
            colours.by_ref().take(hidden).for_each(drop);
        }
        Ok(())
    }
}
