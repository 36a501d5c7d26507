//! Configuration mechanism 1: the address port CF8h and the data ports CFCh-CFFh (PCI 3.0 s. 3.2.2.3.2).

use mediator::Width;
use mediator::pci::Bdf;

/// The address port; only dword accesses reach it.
pub const CONFIG_ADDRESS: u16 = 0xcf8;
/// First of the four data ports.
pub const CONFIG_DATA: u16 = 0xcfc;

const ENABLE: u32 = 1 << 31;

/// A place in configuration space, and how wide it is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub bdf: Bdf,
    /// Bytes from the start of the function's configuration space, 0 to 255.
    pub offset: u16,
    pub width: Width,
}

impl Address {
    /// What an access of `width` at `port` means while the address port holds `address_port`.
    ///
    /// `None`: no configuration access at all. The enable bit is clear, the port is no data port, or the access
    /// runs past the dword or is not aligned to its width (no such access exists on the bus; nothing answers).
    pub fn decode(address_port: u32, port: u16, width: Width) -> Option<Self> {
        let lane = port.checked_sub(CONFIG_DATA).filter(|lane| *lane < 4)?;
        let bytes = u16::try_from(width.bytes()).ok().filter(|bytes| *bytes <= 4)?;
        let aligned = lane & bytes.saturating_sub(1) == 0;
        if address_port & ENABLE == 0 || !aligned {
            return None;
        }
        let [register, function, bus, _] = address_port.to_le_bytes();
        let bdf = Bdf { bus, device: function >> 3, function: function & 7 };
        Some(Self { bdf, offset: u16::from(register & 0xfc) | lane, width })
    }

    /// What to write to the address port, and the data port to access then. Offsets past 255 do not exist in this
    /// mechanism: `None`.
    pub fn encode(self) -> Option<(u32, u16)> {
        let offset = u8::try_from(self.offset).ok()?;
        let function = (self.bdf.device << 3) | (self.bdf.function & 7);
        let address = u32::from_le_bytes([offset & 0xfc, function, self.bdf.bus, 0]) | ENABLE;
        Some((address, CONFIG_DATA | u16::from(offset & 3)))
    }
}
