//! Exit qualifications (SDM Vol. 3C 28.2.1) and what VM exits tell of instructions (28.2.5).

use bitflags::bitflags;

bitflags! {
    /// Of an I/O instruction (table 28-5). Bits 2:0 are the width less one, bits 31:16 the port.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct IoQualification: u64 {
        /// IN or INS.
        const IN = 1 << 3;
        /// INS or OUTS.
        const STRING = 1 << 4;
        const REP = 1 << 5;
        /// The port is in the instruction, not in DX.
        const IMMEDIATE = 1 << 6;

        const _ = !0;
    }

    /// Of an EPT violation (table 28-7).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct EptViolation: u64 {
        /// Data read. Set for updates of accessed and dirty flags too, with `WRITE`.
        const READ = 1 << 0;
        const WRITE = 1 << 1;
        /// Instruction fetch.
        const FETCH = 1 << 2;
        /// The entries allow reads; so all three of this group are clear when no entry is present.
        const READABLE = 1 << 3;
        const WRITABLE = 1 << 4;
        const EXECUTABLE = 1 << 5;
        /// With mode-based execute control.
        const USER_EXECUTABLE = 1 << 6;
        /// GUEST_LINEAR_ADDRESS is valid.
        const LINEAR_ADDRESS_VALID = 1 << 7;
        /// The access itself; else to a paging structure of the guest. Counts with `LINEAR_ADDRESS_VALID` only.
        const FINAL = 1 << 8;
        /// Advanced information: user-mode linear address.
        const USER_LINEAR = 1 << 9;
        /// Advanced information: writable linear address.
        const WRITABLE_LINEAR = 1 << 10;
        /// Advanced information: execute-disabled linear address.
        const NO_EXECUTE_LINEAR = 1 << 11;
        /// The access was an IRET that had unblocked NMIs already.
        const NMI_UNBLOCKED_BY_IRET = 1 << 12;
        const SHADOW_STACK = 1 << 13;
        const SUPERVISOR_SHADOW_STACK = 1 << 14;
        const GUEST_PAGING_VERIFICATION = 1 << 15;
        /// Not by an instruction (Intel PT, PEBS).
        const ASYNCHRONOUS = 1 << 16;

        const _ = !0;
    }

    /// Of a debug exception (table 28-1): as in DR6, but with what has just happened only, and RTM upside down.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct DebugQualification: u64 {
        const B0 = 1 << 0;
        const B1 = 1 << 1;
        const B2 = 1 << 2;
        const B3 = 1 << 3;
        /// Bus lock. In DR6 clear when this is set.
        const BUS_LOCK = 1 << 11;
        /// Access to a debug register with DR7.GD.
        const BD = 1 << 13;
        /// Single step.
        const BS = 1 << 14;
        /// Task switch. Never in a qualification: no #DB of a switch comes from the CPU in a virtual machine.
        const BT = 1 << 15;
        /// In a transactional region. In DR6 clear when this is set.
        const RTM = 1 << 16;

        const _ = !0;
    }
}

impl IoQualification {
    pub const fn port(self) -> u16 {
        (self.bits() >> 16) as u16
    }

    /// 1, 2 or 4.
    pub const fn width_bytes(self) -> u8 {
        match self.bits() & 7 {
            0 => 1,
            1 => 2,
            _ => 4,
        }
    }
}

impl DebugQualification {
    /// DR6 as the exception sets it, from the DR6 before: B0 to B3 are replaced, BD, BS and BT added, RTM is set but
    /// for an exception in a transactional region, the bus lock bit is cleared by a bus lock (Vol. 3B 18.2.3).
    pub const fn dr6(self, before: u64) -> u64 {
        const REPLACED: u64 = 0xF;
        const ADDED: DebugQualification =
            DebugQualification::BD.union(DebugQualification::BS).union(DebugQualification::BT);
        const INVERTED: u64 = DebugQualification::RTM.bits() | DebugQualification::BUS_LOCK.bits();
        (before & !REPLACED | Self::RTM.bits()) & !(self.bits() & INVERTED) | self.bits() & (REPLACED | ADDED.bits())
    }
}

/// Of a control-register access (table 28-3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControlRegisterAccess(pub u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlRegisterAccessKind {
    MovToCr,
    MovFromCr,
    Clts,
    Lmsw,
}

impl ControlRegisterAccess {
    /// 0, 3, 4 or 8.
    pub const fn number(self) -> u8 {
        (self.0 & 0xF) as u8
    }

    pub const fn kind(self) -> ControlRegisterAccessKind {
        match self.0 >> 4 & 3 {
            0 => ControlRegisterAccessKind::MovToCr,
            1 => ControlRegisterAccessKind::MovFromCr,
            2 => ControlRegisterAccessKind::Clts,
            _ => ControlRegisterAccessKind::Lmsw,
        }
    }

    /// General register of a MOV by its encoding: RAX 0, RCX 1, RDX 2, RBX 3, RSP 4, RBP 5, RSI 6, RDI 7, R8 8 ...
    pub const fn register(self) -> u8 {
        (self.0 >> 8 & 0xF) as u8
    }

    /// Operand of LMSW.
    pub const fn lmsw_source(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// Of a MOV to or from a debug register (table 28-4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DebugRegisterAccess(pub u64);

impl DebugRegisterAccess {
    pub const fn number(self) -> u8 {
        (self.0 & 7) as u8
    }

    /// MOV from DR.
    pub const fn is_read(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// As of [`ControlRegisterAccess::register`].
    pub const fn register(self) -> u8 {
        (self.0 >> 8 & 0xF) as u8
    }
}

/// Of a task switch (table 28-2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskSwitch(pub u64);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskSwitchSource {
    Call,
    Iret,
    Jmp,
    /// Task gate in the IDT: an exception, an interrupt or INT n, see IDT_VECTORING_INFORMATION.
    IdtGate,
}

impl TaskSwitch {
    /// Selector of the new task's TSS.
    pub const fn selector(self) -> u16 {
        self.0 as u16
    }

    pub const fn source(self) -> TaskSwitchSource {
        match self.0 >> 30 & 3 {
            0 => TaskSwitchSource::Call,
            1 => TaskSwitchSource::Iret,
            2 => TaskSwitchSource::Jmp,
            _ => TaskSwitchSource::IdtGate,
        }
    }
}

/// VM-exit instruction information of INS and OUTS (table 28-8), where IA32_VMX_BASIC tells that it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StringIoInfo(pub u32);

impl StringIoInfo {
    /// 2, 4 or 8.
    pub const fn address_size_bytes(self) -> u8 {
        match self.0 >> 7 & 7 {
            0 => 2,
            1 => 4,
            _ => 8,
        }
    }

    /// Segment of OUTS by its encoding (ES 0 ... GS 5); undefined for INS.
    pub const fn segment(self) -> u8 {
        (self.0 >> 15 & 7) as u8
    }
}

/// Of a VM entry that failed for the guest's state (27.8): which rule was broken, where the CPU tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidGuestState {
    /// Any other rule.
    Other,
    /// A PDPTE.
    Pdpte,
    /// An NMI is to be injected in spite of blocking by STI.
    NmiInjection,
    VmcsLinkPointer,
    /// Not in the manual.
    Unknown(u64),
}

impl InvalidGuestState {
    pub const fn new(qualification: u64) -> Self {
        match qualification {
            0 => Self::Other,
            2 => Self::Pdpte,
            3 => Self::NmiInjection,
            4 => Self::VmcsLinkPointer,
            other => Self::Unknown(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rep_insw_from_the_ide_data_port_is_decoded() {
        let io = IoQualification::from_bits_retain(0x01F0_0039);
        assert!(io.contains(IoQualification::IN | IoQualification::STRING | IoQualification::REP));
        assert_eq!((io.port(), io.width_bytes()), (0x1F0, 2));
        let info = StringIoInfo(3 << 15 | 1 << 7);
        assert_eq!((info.address_size_bytes(), info.segment()), (4, 3));
        assert_eq!((StringIoInfo(0).address_size_bytes(), StringIoInfo(2 << 7).address_size_bytes()), (2, 8));
    }

    #[test]
    fn an_out_to_an_immediate_port_is_decoded() {
        let io = IoQualification::from_bits_retain(0x0080_0040);
        assert!(io.contains(IoQualification::IMMEDIATE));
        assert!(!io.intersects(IoQualification::IN | IoQualification::STRING | IoQualification::REP));
        assert_eq!((io.port(), io.width_bytes()), (0x80, 1));
        assert_eq!(IoQualification::from_bits_retain(3).width_bytes(), 4);
    }

    #[test]
    fn control_register_accesses_are_decoded() {
        let mov = ControlRegisterAccess(0x0904);
        assert_eq!((mov.number(), mov.kind(), mov.register()), (4, ControlRegisterAccessKind::MovToCr, 9));
        assert_eq!(ControlRegisterAccess(0x13).kind(), ControlRegisterAccessKind::MovFromCr);
        assert_eq!(ControlRegisterAccess(0x20).kind(), ControlRegisterAccessKind::Clts);
        let lmsw = ControlRegisterAccess(0x0011_0030);
        assert_eq!((lmsw.kind(), lmsw.lmsw_source()), (ControlRegisterAccessKind::Lmsw, 0x11));
        let dr = DebugRegisterAccess(0x317);
        assert_eq!((dr.number(), dr.is_read(), dr.register()), (7, true, 3));
    }

    #[test]
    fn a_task_switch_through_the_idt_is_told_from_a_jump() {
        let task = TaskSwitch(0xC000_0028);
        assert_eq!((task.selector(), task.source()), (0x28, TaskSwitchSource::IdtGate));
        assert_eq!(TaskSwitch(0x8000_0030).source(), TaskSwitchSource::Jmp);
        assert_eq!(TaskSwitch(0x4000_0030).source(), TaskSwitchSource::Iret);
        assert_eq!(TaskSwitch(0x30).source(), TaskSwitchSource::Call);
    }

    #[test]
    fn dr6_keeps_what_sticks_and_drops_old_breakpoints() {
        let step = DebugQualification::BS;
        assert_eq!(step.dr6(0xFFFF_0FF0), 0xFFFF_4FF0);
        assert_eq!(DebugQualification::B1.dr6(0xFFFF_4FF1), 0xFFFF_4FF2, "BS sticks, B0 does not");
        assert_eq!(DebugQualification::BT.dr6(0xFFFF_0FF0), 0xFFFF_8FF0);
        let in_transaction = DebugQualification::B0 | DebugQualification::RTM;
        assert_eq!(in_transaction.dr6(0xFFFF_0FF0), 0xFFFE_0FF1);
        assert_eq!(DebugQualification::B0.dr6(0xFFFE_0FF1), 0xFFFF_0FF1);
        assert_eq!(DebugQualification::BUS_LOCK.dr6(0xFFFF_0FF0), 0xFFFF_07F0);
    }

    #[test]
    fn the_qualification_of_a_failed_entry_names_the_rule() {
        assert_eq!(InvalidGuestState::new(0), InvalidGuestState::Other);
        assert_eq!(InvalidGuestState::new(2), InvalidGuestState::Pdpte);
        assert_eq!(InvalidGuestState::new(4), InvalidGuestState::VmcsLinkPointer);
        assert_eq!(InvalidGuestState::new(1), InvalidGuestState::Unknown(1));
    }
}
