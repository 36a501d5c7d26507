//! Exceptions that come while another event is delivered.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083.

use crate::{Event, EventKind, Exception};

const DOUBLE_FAULT: u8 = 8;

/// Classes of exceptions (SDM Vol. 3A table 7-4).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
}

fn class(vector: u8) -> Class {
    match vector {
        0 | 10..=13 | 21 => Class::Contributory,
        14 | 20 => Class::PageFault,
        _ => Class::Benign,
    }
}

/// What is raised when `second` comes while `first` is delivered (SDM Vol. 3A table 7-5). `None`: the CPU shuts down.
pub fn second_exception(first: Event, second: Exception) -> Option<Exception> {
    // Whatever their vectors: in real mode IRQ 0 has that of the double fault.
    if first.kind != EventKind::HardwareException {
        return Some(second);
    }
    match (class(first.vector), class(second.vector())) {
        (_, Class::Benign) => Some(second),
        _ if first.vector == DOUBLE_FAULT => None,
        (Class::Contributory, Class::Contributory) | (Class::PageFault, _) => Some(Exception::DoubleFault),
        _ => Some(second),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GP: Exception = Exception::GeneralProtection(8);
    const PF: Exception = Exception::PageFault { error: 2, address: 0x1000 };

    fn second(first: u8, exception: Exception) -> Option<Exception> {
        second_exception(Event { vector: first, kind: EventKind::HardwareException, error: None }, exception)
    }

    #[test]
    fn contributory_exceptions_and_page_faults_add_up_to_double_faults() {
        for first in [0, 10, 11, 12, 13, 21] {
            assert_eq!(second(first, GP), Some(Exception::DoubleFault));
            assert_eq!(second(first, PF), Some(PF));
        }
        for first in [14, 20] {
            assert_eq!(second(first, GP), Some(Exception::DoubleFault));
            assert_eq!(second(first, PF), Some(Exception::DoubleFault));
        }
    }

    #[test]
    fn benign_ones_do_not_add_up() {
        for first in [1, 3, 6, 7, 16, 17, 32, 255] {
            assert_eq!((second(first, GP), second(first, PF)), (Some(GP), Some(PF)));
        }
        for first in [0, 8, 13, 14] {
            assert_eq!(second(first, Exception::Debug(0)), Some(Exception::Debug(0)));
        }
    }

    #[test]
    fn a_fault_of_the_double_fault_handler_is_a_shutdown() {
        assert_eq!((second(8, GP), second(8, PF)), (None, None));
    }

    #[test]
    fn only_exceptions_add_up_not_interrupts_with_their_vectors() {
        for kind in [EventKind::ExternalInterrupt, EventKind::Nmi, EventKind::Software] {
            for vector in [0, 8, 13, 14] {
                let first = Event { vector, kind, error: None };
                assert_eq!((second_exception(first, GP), second_exception(first, PF)), (Some(GP), Some(PF)));
            }
        }
    }
}
