//! What the screen shows: cells or dots.

use crate::MAX_SCREEN_BYTES;

/// Where a colour lies in a pixel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Number of the lowest bit.
    pub shift: u8,
    pub bits: u8,
}

/// A mode of the screen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Character and attribute, a byte each.
    Text { pitch_bytes: u32, columns: u32, rows: u32 },
    /// Direct colour.
    Framebuffer {
        pitch_bytes: u32,
        width: u32,
        height: u32,
        bits_per_pixel: u8,
        red: Channel,
        green: Channel,
        blue: Channel,
    },
}

/// What the console and [`crate::Rect`] count a text cell as, in dots.
pub(crate) const CELL_WIDTH: u32 = 8;
pub(crate) const CELL_HEIGHT: u32 = 16;

impl Mode {
    /// VGA's mode 3, in which a PC starts.
    pub const VGA_TEXT: Self = Self::Text { pitch_bytes: 160, columns: 80, rows: 25 };

    /// Bytes from the first to behind the last one that is shown. `None`: the numbers do not fit together, or not to what can be drawn
    /// on.
    pub fn len_bytes(&self) -> Option<usize> {
        let (pitch, rows, row_bytes) = match *self {
            Self::Text { pitch_bytes, columns, rows } => (pitch_bytes, rows, columns.checked_mul(2)?),
            Self::Framebuffer { pitch_bytes, width, height, bits_per_pixel, red, green, blue } => {
                let fits = |c: Channel| {
                    (1..=8).contains(&c.bits) && c.shift.checked_add(c.bits).is_some_and(|end| end <= bits_per_pixel)
                };
                if !matches!(bits_per_pixel, 15 | 16 | 24 | 32) || ![red, green, blue].into_iter().all(fits) {
                    return None;
                }
                (pitch_bytes, height, width.checked_mul(u32::from(bits_per_pixel).div_ceil(8))?)
            }
        };
        let len = usize::try_from(pitch.checked_mul(rows)?).ok()?;
        (row_bytes != 0 && row_bytes <= pitch && len != 0 && len <= MAX_SCREEN_BYTES).then_some(len)
    }

    /// Width and height, in dots.
    pub(crate) fn size(&self) -> (u32, u32) {
        match *self {
            Self::Text { columns, rows, .. } => (columns.saturating_mul(CELL_WIDTH), rows.saturating_mul(CELL_HEIGHT)),
            Self::Framebuffer { width, height, .. } => (width, height),
        }
    }
}
