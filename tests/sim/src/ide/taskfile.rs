//! The command block registers of one unit, each with its previous contents (ATA7 vol. 1, s. 6.17.1, 48-bit).

/// Current and previous contents.
type Fifo = [u8; 2];

/// Offsets in the command block.
pub const FEATURES: u16 = 1;
pub const COUNT: u16 = 2;
pub const LBA_LOW: u16 = 3;
pub const LBA_HIGH: u16 = 5;
pub const DEVICE: u16 = 6;
pub const COMMAND: u16 = 7;
/// Not in the command block: alternate status and device control.
pub const CONTROL: u16 = 8;

/// Device register bits.
pub const DEV: u8 = 0x10;
const LBA: u8 = 0x40;

/// Registers 1 to 6, error and status.
#[derive(Clone, Copy, Default, Debug)]
pub struct Taskfile {
    pub features: Fifo,
    pub count: Fifo,
    pub lba: [Fifo; 3],
    pub device: u8,
    pub error: u8,
    /// Status without BSY and DRQ, which the channel adds while a command runs.
    pub status: u8,
}

impl Taskfile {
    /// The host writes register 1 to 6.
    pub fn write(&mut self, offset: u16, value: u8) {
        let fifo = match offset {
            FEATURES => &mut self.features,
            COUNT => &mut self.count,
            LBA_LOW..=LBA_HIGH => &mut self.lba[usize::from(offset - LBA_LOW)],
            _ => {
                self.device = value;
                return;
            }
        };
        *fifo = [value, fifo[0]];
    }

    /// The host reads register 1 to 6; `previous` is the HOB bit.
    pub fn read(&self, offset: u16, previous: bool) -> u8 {
        let which = usize::from(previous);
        match offset {
            FEATURES => self.error,
            COUNT => self.count[which],
            LBA_LOW..=LBA_HIGH => self.lba[usize::from(offset - LBA_LOW)][which],
            // Bits 7 and 5 are obsolete and read as ones.
            _ => self.device | 0xa0,
        }
    }

    /// Sectors of a command; 0 stands for the largest number.
    pub fn sectors(&self, ext: bool) -> u32 {
        match (ext, u32::from(self.count[0]), u32::from(self.count[1])) {
            (false, 0, _) => 0x100,
            (false, low, _) => low,
            (true, 0, 0) => 0x1_0000,
            (true, low, high) => high << 8 | low,
        }
    }

    /// First sector of a command. `geometry` is heads and sectors per track; `None` when the address is invalid.
    pub fn address(&self, ext: bool, (heads, per_track): (u64, u64)) -> Option<u64> {
        let [low, mid, high] = self.lba.map(|fifo| u64::from(fifo[0]));
        let top = u64::from(self.device & 0xf);
        if ext {
            let previous = self.lba.map(|fifo| u64::from(fifo[1]));
            return Some(low | mid << 8 | high << 16 | previous[0] << 24 | previous[1] << 32 | previous[2] << 40);
        }
        if self.device & LBA != 0 {
            return Some(low | mid << 8 | high << 16 | top << 24);
        }
        let cylinder = mid | high << 8;
        (top < heads && (1..=per_track).contains(&low)).then(|| (cylinder * heads + top) * per_track + low - 1)
    }

    /// Puts the sector of an error where the host looks for it.
    pub fn report(&mut self, lba: u64, ext: bool, (heads, per_track): (u64, u64)) {
        let byte = |shift: u32| (lba >> shift) as u8;
        if ext {
            self.lba = [[byte(0), byte(24)], [byte(8), byte(32)], [byte(16), byte(40)]];
        } else if self.device & LBA != 0 {
            (0..3).for_each(|i| self.lba[i][0] = byte(8 * i as u32));
            self.device = self.device & 0xf0 | byte(24) & 0xf;
        } else {
            let (cylinder, rest) = (lba / (heads * per_track), lba % (heads * per_track));
            self.lba[0][0] = (rest % per_track + 1) as u8;
            self.lba[1][0] = cylinder as u8;
            self.lba[2][0] = (cylinder >> 8) as u8;
            self.device = self.device & 0xf0 | (rest / per_track) as u8;
        }
    }

    /// The signature after a reset (ATA7 vol. 1, s. 6.16 "Signature").
    pub fn sign(&mut self, mid: u8, high: u8) {
        let device = self.device & DEV;
        *self = Self { count: [1, 0], lba: [[1, 0], [mid, 0], [high, 0]], error: 1, device, ..Self::default() };
    }
}
