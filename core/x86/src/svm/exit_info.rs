//! EXITINFO1 of exits that need decoding.

use bitflags::bitflags;

bitflags! {
    /// Of [`super::ExitCode::IOIO`] (APM Vol. 2 15.10.2). The port is in bits 31:16.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct IoInfo: u64 {
        /// IN or INS.
        const IN = 1 << 0;
        /// INS or OUTS.
        const STR = 1 << 2;
        const REP = 1 << 3;
        const SZ8 = 1 << 4;
        const SZ16 = 1 << 5;
        const SZ32 = 1 << 6;
        const A16 = 1 << 7;
        const A32 = 1 << 8;
        const A64 = 1 << 9;

        const _ = !0;
    }

    /// Of [`super::ExitCode::NPF`] (APM Vol. 2 15.25.6): a page fault error code and, from bit 32 on, where in the
    /// nested walk it arose.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct NestedFaultInfo: u64 {
        /// The nested entry is present; the access broke its rights. QEMU's emulation loses this bit.
        const PRESENT = 1 << 0;
        const WRITE = 1 << 1;
        /// Always set: nested walks are user accesses.
        const USER = 1 << 2;
        /// Reserved bits set in a nested entry.
        const RESERVED = 1 << 3;
        /// Instruction fetch.
        const FETCH = 1 << 4;
        const SHADOW_STACK = 1 << 6;
        /// The final guest-physical address could not be translated.
        const FINAL = 1 << 32;
        /// The address of a guest page table could not be translated.
        const PAGE_WALK = 1 << 33;
    }
}

impl IoInfo {
    pub const fn port(self) -> u16 {
        (self.bits() >> 16) as u16
    }

    /// Effective segment of OUTS by its encoding (ES 0 ... GS 5); only with decode assists.
    pub const fn segment(self) -> u8 {
        (self.bits() >> 10 & 7) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rep_insw_from_the_ide_data_port_is_decoded() {
        let info = IoInfo::from_bits_retain(0x01F0_00AD);
        assert!(info.contains(IoInfo::IN | IoInfo::STR | IoInfo::REP | IoInfo::A16 | IoInfo::SZ16));
        assert_eq!((info.port(), info.segment()), (0x1F0, 0));
    }

    #[test]
    fn an_out_dx_eax_is_decoded() {
        let info = IoInfo::from_bits_retain(0x0CF8_0D40);
        assert!(info.contains(IoInfo::SZ32) && !info.intersects(IoInfo::IN | IoInfo::STR | IoInfo::REP));
        assert_eq!((info.port(), info.segment()), (0xCF8, 3));
    }

    #[test]
    fn a_nested_fault_tells_the_page_walk_from_the_access() {
        let info = NestedFaultInfo::from_bits_retain(0x2_0000_0006);
        assert!(info.contains(NestedFaultInfo::PAGE_WALK | NestedFaultInfo::WRITE));
        assert!(!info.intersects(NestedFaultInfo::FINAL | NestedFaultInfo::FETCH | NestedFaultInfo::PRESENT));
    }
}
