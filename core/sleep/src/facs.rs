//! The Firmware ACPI Control Structure (ACPI s. 5.2.10), whose waking vectors are the guest's and, while the machine sleeps,
//! the VMM's.

/// What is read and written of it: all up to the version.
pub const FACS_BYTES: usize = 33;

const SIGNATURE: &[u8] = b"FACS";
/// Offsets.
const WAKING_VECTOR: usize = 12;
const X_WAKING_VECTOR: usize = 24;
/// The shortest one, of ACPI 1.0, ends before the field `X_Firmware_Waking_Vector`: it was reserved.
const LENGTH: usize = 4;

const MIB: u32 = 1 << 20;

/// Where a guest wants to wake up, in real mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WakingVector {
    pub segment: u16,
    pub ip: u16,
}

/// Why a guest cannot be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwakeable {
    /// There is no vector.
    None,
    /// It lies above 1 MiB, where no real-mode code is.
    High(u32),
    /// The guest wants protected mode; see [`Facs::waking_vector`].
    Extended(u64),
}

impl core::fmt::Display for Unwakeable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::None => f.write_str("it has left no waking vector in the FACS"),
            Self::High(vector) => write!(f, "its waking vector {vector:#x} lies above 1 MiB"),
            Self::Extended(vector) => {
                write!(
                    f,
                    "it wants to wake in protected mode (X_Firmware_Waking_Vector {vector:#x}), which Shoji does not offer"
                )
            }
        }
    }
}

/// A copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facs([u8; FACS_BYTES]);

impl Facs {
    /// `None`: this is none.
    pub fn parse(bytes: [u8; FACS_BYTES]) -> Option<Self> {
        let length = bytes.get(LENGTH..)?.first_chunk().map(|length| u32::from_le_bytes(*length))?;
        (bytes.starts_with(SIGNATURE) && length as usize >= FACS_BYTES).then_some(Self(bytes))
    }

    pub fn bytes(&self) -> &[u8; FACS_BYTES] {
        &self.0
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
    }

    /// Where the firmware would go on: CS:IP as it makes them of the vector (ACPI s. 5.2.10 and 16.3).
    ///
    /// # Errors
    /// See [`Unwakeable`]. Firmware prefers the extended vector, which is entered in protected mode, to the other one. Only
    /// real mode is offered.
    pub fn waking_vector(&self) -> Result<WakingVector, Unwakeable> {
        let extended = u64::from_le_bytes(self.field(X_WAKING_VECTOR));
        if extended != 0 {
            return Err(Unwakeable::Extended(extended));
        }
        match u32::from_le_bytes(self.field(WAKING_VECTOR)) {
            0 => Err(Unwakeable::None),
            vector if vector < MIB => Ok(WakingVector { segment: (vector >> 4) as u16, ip: (vector & 0xf) as u16 }),
            vector => Err(Unwakeable::High(vector)),
        }
    }

    /// The same with this waking vector, entered in real mode, and no other.
    pub fn with_waking_vector(mut self, vector: u32) -> Self {
        let fields = [(WAKING_VECTOR, u64::from(vector), 4), (X_WAKING_VECTOR, 0, 8)];
        for (at, value, len_bytes) in fields {
            let slots = self.0.iter_mut().skip(at).take(len_bytes);
            slots.zip(value.to_le_bytes()).for_each(|(slot, byte)| *slot = byte);
        }
        self
    }
}
