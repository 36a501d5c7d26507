//! Why a VMX instruction failed (SDM Vol. 3C 31.4, table 31-1).

use core::fmt;

/// The VM-instruction error field.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct InstructionError(pub u32);

/// Constants and the table of their words from one list.
macro_rules! errors {
    ($($name:ident = $number:literal $words:literal;)*) => {
        impl InstructionError {
            $(pub const $name: Self = Self($number);)*
        }
        /// In ascending order.
        const WORDS: &[(u32, &str)] = &[$(($number, $words),)*];
    };
}

errors! {
    VMCALL_IN_ROOT = 1 "VMCALL executed in VMX root operation";
    VMCLEAR_INVALID_ADDRESS = 2 "VMCLEAR with invalid physical address";
    VMCLEAR_VMXON_POINTER = 3 "VMCLEAR with VMXON pointer";
    VMLAUNCH_NOT_CLEAR = 4 "VMLAUNCH with non-clear VMCS";
    VMRESUME_NOT_LAUNCHED = 5 "VMRESUME with non-launched VMCS";
    VMRESUME_AFTER_VMXOFF = 6 "VMRESUME after VMXOFF and VMXON since VMLAUNCH";
    INVALID_CONTROL_FIELDS = 7 "VM entry with invalid control fields";
    INVALID_HOST_STATE = 8 "VM entry with invalid host-state fields";
    VMPTRLD_INVALID_ADDRESS = 9 "VMPTRLD with invalid physical address";
    VMPTRLD_VMXON_POINTER = 10 "VMPTRLD with VMXON pointer";
    VMPTRLD_WRONG_REVISION = 11 "VMPTRLD with incorrect VMCS revision identifier";
    UNSUPPORTED_COMPONENT = 12 "VMREAD or VMWRITE of an unsupported VMCS component";
    READ_ONLY_COMPONENT = 13 "VMWRITE to a read-only VMCS component";
    VMXON_IN_ROOT = 15 "VMXON executed in VMX root operation";
    INVALID_EXECUTIVE_VMCS = 16 "VM entry with invalid executive-VMCS pointer";
    EXECUTIVE_VMCS_NOT_LAUNCHED = 17 "VM entry with non-launched executive VMCS";
    EXECUTIVE_VMCS_NOT_VMXON_POINTER = 18 "VM entry with executive-VMCS pointer not VMXON pointer";
    VMCALL_NOT_CLEAR = 19 "VMCALL with non-clear VMCS";
    VMCALL_INVALID_EXIT_CONTROLS = 20 "VMCALL with invalid VM-exit control fields";
    VMCALL_WRONG_MSEG_REVISION = 22 "VMCALL with incorrect MSEG revision identifier";
    VMXOFF_UNDER_DUAL_MONITOR = 23 "VMXOFF under dual-monitor treatment of SMIs and SMM";
    VMCALL_INVALID_SMM_FEATURES = 24 "VMCALL with invalid SMM-monitor features";
    INVALID_EXECUTIVE_CONTROLS = 25 "VM entry with invalid VM-execution control fields in executive VMCS";
    EVENTS_BLOCKED_BY_MOV_SS = 26 "VM entry with events blocked by MOV SS";
    INVALID_INVEPT_OPERAND = 28 "invalid operand to INVEPT or INVVPID";
}

impl InstructionError {
    /// The error in words, for logs.
    pub fn words(self) -> Option<&'static str> {
        let at = WORDS.binary_search_by_key(&self.0, |(number, _)| *number).ok()?;
        WORDS.get(at).map(|(_, words)| *words)
    }
}

impl fmt::Display for InstructionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (VM-instruction error {})", self.words().unwrap_or("unknown"), self.0)
    }
}

impl fmt::Debug for InstructionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    #[test]
    fn errors_have_words_and_gaps_have_none() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
        let shown = std::format!("{}", InstructionError::INVALID_CONTROL_FIELDS);
        assert_eq!(shown, "VM entry with invalid control fields (VM-instruction error 7)");
        assert_eq!(std::format!("{}", InstructionError(14)), "unknown (VM-instruction error 14)");
    }
}
