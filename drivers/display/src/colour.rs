//! Colours: the sixteen of VGA text modes, which have an equal in direct colour.

/// As in the attribute of a text cell; the bright ones cannot be backgrounds there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Colour {
    Black = 0,
    Blue = 1,
    Green = 2,
    Cyan = 3,
    Red = 4,
    Magenta = 5,
    Brown = 6,
    LightGrey = 7,
    DarkGrey = 8,
    Yellow = 14,
    White = 15,
}

impl Colour {
    /// Red, green and blue, as the VGA's default palette has them.
    pub(crate) fn rgb(self) -> [u8; 3] {
        match self {
            Self::Black => [0, 0, 0],
            Self::Blue => [0, 0, 0xaa],
            Self::Green => [0, 0xaa, 0],
            Self::Cyan => [0, 0xaa, 0xaa],
            Self::Red => [0xaa, 0, 0],
            Self::Magenta => [0xaa, 0, 0xaa],
            Self::Brown => [0xaa, 0x55, 0],
            Self::LightGrey => [0xaa, 0xaa, 0xaa],
            Self::DarkGrey => [0x55, 0x55, 0x55],
            Self::Yellow => [0xff, 0xff, 0x55],
            Self::White => [0xff, 0xff, 0xff],
        }
    }

    /// As background of a text cell.
    pub(crate) fn dark(self) -> u8 {
        self as u8 & 7
    }
}
