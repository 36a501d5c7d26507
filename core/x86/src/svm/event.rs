//! Events on their way into the guest: EVENTINJ (APM Vol. 2 15.20) and EXITINTINFO (15.7.2), which have one format.

/// An event: vector in bits 7:0, kind in 10:8, error code valid 11, event valid 31, error code in 63:32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Event(pub u64);

/// Kinds of events by their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum EventKind {
    /// External or virtual interrupt.
    Interrupt = 0,
    Nmi = 2,
    /// Fault or trap. Vectors 3 and 4 stand for INT3 and INTO.
    Exception = 3,
    /// INT n.
    SoftwareInterrupt = 4,
}

const ERROR_VALID: u64 = 1 << 11;
const VALID: u64 = 1 << 31;

impl Event {
    /// No event.
    pub const NONE: Self = Self(0);

    /// An event without error code.
    pub const fn new(kind: EventKind, vector: u8) -> Self {
        Self(VALID | (kind as u64) << 8 | vector as u64)
    }

    /// An exception with its error code.
    pub const fn exception(vector: u8, error: u32) -> Self {
        Self(Self::new(EventKind::Exception, vector).0 | ERROR_VALID | (error as u64) << 32)
    }

    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }

    /// Meaningless unless the event is valid.
    pub const fn vector(self) -> u8 {
        self.0 as u8
    }

    /// `None` for the reserved numbers.
    pub const fn kind(self) -> Option<EventKind> {
        match self.0 >> 8 & 7 {
            0 => Some(EventKind::Interrupt),
            2 => Some(EventKind::Nmi),
            3 => Some(EventKind::Exception),
            4 => Some(EventKind::SoftwareInterrupt),
            _ => None,
        }
    }

    pub const fn error(self) -> Option<u32> {
        if self.0 & ERROR_VALID != 0 { Some((self.0 >> 32) as u32) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_encoded_as_the_manual_draws_them() {
        assert_eq!(Event::new(EventKind::Exception, 6).0, 0x8000_0306);
        assert_eq!(Event::new(EventKind::Nmi, 2).0, 0x8000_0202);
        assert_eq!(Event::new(EventKind::SoftwareInterrupt, 0x80).0, 0x8000_0480);
        assert_eq!(Event::exception(14, 0xF00D).0, 0x0000_F00D_8000_0B0E);
    }

    #[test]
    fn events_are_decoded_again() {
        let fault = Event::exception(13, 0x18);
        assert_eq!((fault.is_valid(), fault.vector(), fault.error()), (true, 13, Some(0x18)));
        assert_eq!(fault.kind(), Some(EventKind::Exception));
        let interrupt = Event::new(EventKind::Interrupt, 0x20);
        assert_eq!((interrupt.kind(), interrupt.error()), (Some(EventKind::Interrupt), None));
        assert!(!Event::NONE.is_valid());
        assert_eq!(Event(0x8000_0100).kind(), None);
    }
}
