//! Encodings of the VMCS fields (SDM Vol. 3D appendix B; format of an encoding: Vol. 3C 25.11.2).

use core::fmt;

/// The encoding that VMREAD and VMWRITE take: access type in bit 0, index 9:1, [`Area`] 11:10, [`Width`] 14:13.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Field(pub u32);

/// Width of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    Bits16,
    Bits64,
    Bits32,
    /// 64 bits on a CPU with Intel 64 architecture.
    Natural,
}

/// What a field is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    Control,
    /// Written by VM exits (and failing VMX instructions).
    ExitInformation,
    Guest,
    Host,
}

impl Field {
    pub const fn width(self) -> Width {
        match self.0 >> 13 & 3 {
            0 => Width::Bits16,
            1 => Width::Bits64,
            2 => Width::Bits32,
            _ => Width::Natural,
        }
    }

    pub const fn area(self) -> Area {
        match self.0 >> 10 & 3 {
            0 => Area::Control,
            1 => Area::ExitInformation,
            2 => Area::Guest,
            _ => Area::Host,
        }
    }

    /// The constant's name.
    pub fn name(self) -> Option<&'static str> {
        let at = NAMES.binary_search_by_key(&self.0, |(encoding, _)| *encoding).ok()?;
        NAMES.get(at).map(|(_, name)| *name)
    }

    /// All fields that have a name, in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(encoding, _)| Self(*encoding))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "VMCS field {:#06x}", self.0),
        }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Constants and the table of their names from one list.
macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = $encoding:expr;)*) => {
        impl Field {
            $($(#[$doc])* pub const $name: Self = Self($encoding);)*
        }
        /// In ascending order.
        const NAMES: &[(u32, &str)] = &[$(($encoding, stringify!($name)),)*];
    };
}

fields! {
    // 16-bit control fields (B.1.1).
    VIRTUAL_PROCESSOR_ID = 0x0000;
    POSTED_INTERRUPT_NOTIFICATION_VECTOR = 0x0002;
    EPTP_INDEX = 0x0004;
    HLAT_PREFIX_SIZE = 0x0006;
    LAST_PID_POINTER_INDEX = 0x0008;
    // 16-bit guest-state fields (B.1.2).
    GUEST_ES_SELECTOR = 0x0800;
    GUEST_CS_SELECTOR = 0x0802;
    GUEST_SS_SELECTOR = 0x0804;
    GUEST_DS_SELECTOR = 0x0806;
    GUEST_FS_SELECTOR = 0x0808;
    GUEST_GS_SELECTOR = 0x080A;
    GUEST_LDTR_SELECTOR = 0x080C;
    GUEST_TR_SELECTOR = 0x080E;
    GUEST_INTERRUPT_STATUS = 0x0810;
    PML_INDEX = 0x0812;
    GUEST_UINV = 0x0814;
    // 16-bit host-state fields (B.1.3).
    HOST_ES_SELECTOR = 0x0C00;
    HOST_CS_SELECTOR = 0x0C02;
    HOST_SS_SELECTOR = 0x0C04;
    HOST_DS_SELECTOR = 0x0C06;
    HOST_FS_SELECTOR = 0x0C08;
    HOST_GS_SELECTOR = 0x0C0A;
    HOST_TR_SELECTOR = 0x0C0C;
    // 64-bit control fields (B.2.1).
    IO_BITMAP_A = 0x2000;
    IO_BITMAP_B = 0x2002;
    MSR_BITMAP = 0x2004;
    VM_EXIT_MSR_STORE_ADDRESS = 0x2006;
    VM_EXIT_MSR_LOAD_ADDRESS = 0x2008;
    VM_ENTRY_MSR_LOAD_ADDRESS = 0x200A;
    EXECUTIVE_VMCS_POINTER = 0x200C;
    PML_ADDRESS = 0x200E;
    TSC_OFFSET = 0x2010;
    VIRTUAL_APIC_ADDRESS = 0x2012;
    APIC_ACCESS_ADDRESS = 0x2014;
    POSTED_INTERRUPT_DESCRIPTOR_ADDRESS = 0x2016;
    VM_FUNCTION_CONTROLS = 0x2018;
    EPT_POINTER = 0x201A;
    EOI_EXIT_BITMAP_0 = 0x201C;
    EOI_EXIT_BITMAP_1 = 0x201E;
    EOI_EXIT_BITMAP_2 = 0x2020;
    EOI_EXIT_BITMAP_3 = 0x2022;
    EPTP_LIST_ADDRESS = 0x2024;
    VMREAD_BITMAP_ADDRESS = 0x2026;
    VMWRITE_BITMAP_ADDRESS = 0x2028;
    VIRTUALIZATION_EXCEPTION_INFORMATION_ADDRESS = 0x202A;
    XSS_EXITING_BITMAP = 0x202C;
    ENCLS_EXITING_BITMAP = 0x202E;
    SPP_TABLE_POINTER = 0x2030;
    TSC_MULTIPLIER = 0x2032;
    TERTIARY_PROCESSOR_CONTROLS = 0x2034;
    ENCLV_EXITING_BITMAP = 0x2036;
    LOW_PASID_DIRECTORY_ADDRESS = 0x2038;
    HIGH_PASID_DIRECTORY_ADDRESS = 0x203A;
    SHARED_EPT_POINTER = 0x203C;
    PCONFIG_EXITING_BITMAP = 0x203E;
    HLAT_POINTER = 0x2040;
    PID_POINTER_TABLE_ADDRESS = 0x2042;
    SECONDARY_VM_EXIT_CONTROLS = 0x2044;
    SPEC_CTRL_MASK = 0x204A;
    SPEC_CTRL_SHADOW = 0x204C;
    // 64-bit read-only data field (B.2.2).
    GUEST_PHYSICAL_ADDRESS = 0x2400;
    // 64-bit guest-state fields (B.2.3).
    VMCS_LINK_POINTER = 0x2800;
    GUEST_DEBUGCTL = 0x2802;
    GUEST_PAT = 0x2804;
    GUEST_EFER = 0x2806;
    GUEST_PERF_GLOBAL_CTRL = 0x2808;
    GUEST_PDPTE0 = 0x280A;
    GUEST_PDPTE1 = 0x280C;
    GUEST_PDPTE2 = 0x280E;
    GUEST_PDPTE3 = 0x2810;
    GUEST_BNDCFGS = 0x2812;
    GUEST_RTIT_CTL = 0x2814;
    GUEST_LBR_CTL = 0x2816;
    GUEST_PKRS = 0x2818;
    // 64-bit host-state fields (B.2.4).
    HOST_PAT = 0x2C00;
    HOST_EFER = 0x2C02;
    HOST_PERF_GLOBAL_CTRL = 0x2C04;
    HOST_PKRS = 0x2C06;
    // 32-bit control fields (B.3.1).
    PIN_CONTROLS = 0x4000;
    PROCESSOR_CONTROLS = 0x4002;
    EXCEPTION_BITMAP = 0x4004;
    PAGE_FAULT_ERROR_CODE_MASK = 0x4006;
    PAGE_FAULT_ERROR_CODE_MATCH = 0x4008;
    CR3_TARGET_COUNT = 0x400A;
    VM_EXIT_CONTROLS = 0x400C;
    VM_EXIT_MSR_STORE_COUNT = 0x400E;
    VM_EXIT_MSR_LOAD_COUNT = 0x4010;
    VM_ENTRY_CONTROLS = 0x4012;
    VM_ENTRY_MSR_LOAD_COUNT = 0x4014;
    VM_ENTRY_INTERRUPTION_INFORMATION = 0x4016;
    VM_ENTRY_EXCEPTION_ERROR_CODE = 0x4018;
    VM_ENTRY_INSTRUCTION_LENGTH = 0x401A;
    TPR_THRESHOLD = 0x401C;
    SECONDARY_PROCESSOR_CONTROLS = 0x401E;
    PLE_GAP = 0x4020;
    PLE_WINDOW = 0x4022;
    INSTRUCTION_TIMEOUT_CONTROL = 0x4024;
    // 32-bit read-only data fields (B.3.2).
    VM_INSTRUCTION_ERROR = 0x4400;
    EXIT_REASON = 0x4402;
    VM_EXIT_INTERRUPTION_INFORMATION = 0x4404;
    VM_EXIT_INTERRUPTION_ERROR_CODE = 0x4406;
    IDT_VECTORING_INFORMATION = 0x4408;
    IDT_VECTORING_ERROR_CODE = 0x440A;
    VM_EXIT_INSTRUCTION_LENGTH = 0x440C;
    VM_EXIT_INSTRUCTION_INFORMATION = 0x440E;
    // 32-bit guest-state fields (B.3.3).
    GUEST_ES_LIMIT = 0x4800;
    GUEST_CS_LIMIT = 0x4802;
    GUEST_SS_LIMIT = 0x4804;
    GUEST_DS_LIMIT = 0x4806;
    GUEST_FS_LIMIT = 0x4808;
    GUEST_GS_LIMIT = 0x480A;
    GUEST_LDTR_LIMIT = 0x480C;
    GUEST_TR_LIMIT = 0x480E;
    GUEST_GDTR_LIMIT = 0x4810;
    GUEST_IDTR_LIMIT = 0x4812;
    GUEST_ES_ACCESS_RIGHTS = 0x4814;
    GUEST_CS_ACCESS_RIGHTS = 0x4816;
    GUEST_SS_ACCESS_RIGHTS = 0x4818;
    GUEST_DS_ACCESS_RIGHTS = 0x481A;
    GUEST_FS_ACCESS_RIGHTS = 0x481C;
    GUEST_GS_ACCESS_RIGHTS = 0x481E;
    GUEST_LDTR_ACCESS_RIGHTS = 0x4820;
    GUEST_TR_ACCESS_RIGHTS = 0x4822;
    GUEST_INTERRUPTIBILITY_STATE = 0x4824;
    GUEST_ACTIVITY_STATE = 0x4826;
    GUEST_SMBASE = 0x4828;
    GUEST_SYSENTER_CS = 0x482A;
    VMX_PREEMPTION_TIMER_VALUE = 0x482E;
    // 32-bit host-state field (B.3.4).
    HOST_SYSENTER_CS = 0x4C00;
    // Natural-width control fields (B.4.1).
    CR0_GUEST_HOST_MASK = 0x6000;
    CR4_GUEST_HOST_MASK = 0x6002;
    CR0_READ_SHADOW = 0x6004;
    CR4_READ_SHADOW = 0x6006;
    CR3_TARGET_0 = 0x6008;
    CR3_TARGET_1 = 0x600A;
    CR3_TARGET_2 = 0x600C;
    CR3_TARGET_3 = 0x600E;
    // Natural-width read-only data fields (B.4.2).
    EXIT_QUALIFICATION = 0x6400;
    IO_RCX = 0x6402;
    IO_RSI = 0x6404;
    IO_RDI = 0x6406;
    IO_RIP = 0x6408;
    GUEST_LINEAR_ADDRESS = 0x640A;
    // Natural-width guest-state fields (B.4.3).
    GUEST_CR0 = 0x6800;
    GUEST_CR3 = 0x6802;
    GUEST_CR4 = 0x6804;
    GUEST_ES_BASE = 0x6806;
    GUEST_CS_BASE = 0x6808;
    GUEST_SS_BASE = 0x680A;
    GUEST_DS_BASE = 0x680C;
    GUEST_FS_BASE = 0x680E;
    GUEST_GS_BASE = 0x6810;
    GUEST_LDTR_BASE = 0x6812;
    GUEST_TR_BASE = 0x6814;
    GUEST_GDTR_BASE = 0x6816;
    GUEST_IDTR_BASE = 0x6818;
    GUEST_DR7 = 0x681A;
    GUEST_RSP = 0x681C;
    GUEST_RIP = 0x681E;
    GUEST_RFLAGS = 0x6820;
    GUEST_PENDING_DEBUG_EXCEPTIONS = 0x6822;
    GUEST_SYSENTER_ESP = 0x6824;
    GUEST_SYSENTER_EIP = 0x6826;
    GUEST_S_CET = 0x6828;
    GUEST_SSP = 0x682A;
    GUEST_INTERRUPT_SSP_TABLE_ADDR = 0x682C;
    // Natural-width host-state fields (B.4.4).
    HOST_CR0 = 0x6C00;
    HOST_CR3 = 0x6C02;
    HOST_CR4 = 0x6C04;
    HOST_FS_BASE = 0x6C06;
    HOST_GS_BASE = 0x6C08;
    HOST_TR_BASE = 0x6C0A;
    HOST_GDTR_BASE = 0x6C0C;
    HOST_IDTR_BASE = 0x6C0E;
    HOST_SYSENTER_ESP = 0x6C10;
    HOST_SYSENTER_EIP = 0x6C12;
    HOST_RSP = 0x6C14;
    HOST_RIP = 0x6C16;
    HOST_S_CET = 0x6C18;
    HOST_SSP = 0x6C1A;
    HOST_INTERRUPT_SSP_TABLE_ADDR = 0x6C1C;
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn the_list_is_in_ascending_order_and_names_full_accesses_only() {
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0));
        assert!(Field::all().all(|field| field.0 & 0x9001 == 0), "bit 0 is the high half, 12 and 15 are reserved");
    }

    #[test]
    fn a_name_tells_the_area_of_a_field() {
        for field in Field::all() {
            let name = field.name().unwrap();
            if name.starts_with("HOST_") || field.area() == Area::Host {
                assert!(name.starts_with("HOST_") && field.area() == Area::Host, "{name}");
            }
            let in_guest_area = field.area() == Area::Guest;
            let named_guest = name.starts_with("GUEST_") && field.area() != Area::ExitInformation;
            let without_prefix = matches!(name, "PML_INDEX" | "VMCS_LINK_POINTER" | "VMX_PREEMPTION_TIMER_VALUE");
            assert_eq!(in_guest_area, named_guest || without_prefix, "{name}");
        }
    }

    #[test]
    fn widths_and_areas_are_taken_from_the_encoding() {
        assert_eq!((Field::GUEST_CS_SELECTOR.width(), Field::GUEST_CS_SELECTOR.area()), (Width::Bits16, Area::Guest));
        assert_eq!((Field::EPT_POINTER.width(), Field::EPT_POINTER.area()), (Width::Bits64, Area::Control));
        assert_eq!((Field::EXIT_REASON.width(), Field::EXIT_REASON.area()), (Width::Bits32, Area::ExitInformation));
        assert_eq!((Field::HOST_RIP.width(), Field::HOST_RIP.area()), (Width::Natural, Area::Host));
    }

    #[test]
    fn an_unknown_field_is_shown_by_its_encoding() {
        assert_eq!(std::format!("{} {}", Field::GUEST_RFLAGS, Field(0x2048)), "GUEST_RFLAGS VMCS field 0x2048");
    }
}
