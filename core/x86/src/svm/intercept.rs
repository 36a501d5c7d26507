//! Which instructions and events leave the guest (APM Vol. 2 15.9, 15.12, 15.13 and table B-1).

use bitflags::bitflags;

bitflags! {
    /// Intercept word at offset 00Ch.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Misc1: u32 {
        /// External interrupts.
        const INTR = 1 << 0;
        const NMI = 1 << 1;
        const SMI = 1 << 2;
        const INIT = 1 << 3;
        /// The virtual interrupt is about to be taken.
        const VINTR = 1 << 4;
        /// CR0 writes that change other bits than TS and MP.
        const CR0_SEL_WRITE = 1 << 5;
        const IDTR_READ = 1 << 6;
        const GDTR_READ = 1 << 7;
        const LDTR_READ = 1 << 8;
        const TR_READ = 1 << 9;
        const IDTR_WRITE = 1 << 10;
        const GDTR_WRITE = 1 << 11;
        const LDTR_WRITE = 1 << 12;
        const TR_WRITE = 1 << 13;
        const RDTSC = 1 << 14;
        const RDPMC = 1 << 15;
        const PUSHF = 1 << 16;
        const POPF = 1 << 17;
        const CPUID = 1 << 18;
        const RSM = 1 << 19;
        const IRET = 1 << 20;
        /// INT n.
        const SWINT = 1 << 21;
        const INVD = 1 << 22;
        const PAUSE = 1 << 23;
        const HLT = 1 << 24;
        const INVLPG = 1 << 25;
        const INVLPGA = 1 << 26;
        /// Ports as the I/O permission map tells.
        const IOIO_PROT = 1 << 27;
        /// MSRs as the MSR permission map tells.
        const MSR_PROT = 1 << 28;
        const TASK_SWITCH = 1 << 29;
        /// The processor freezes on a legacy floating-point error.
        const FERR_FREEZE = 1 << 30;
        /// Triple fault.
        const SHUTDOWN = 1 << 31;
    }

    /// Intercept word at offset 010h.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Misc2: u32 {
        /// Must be set, or VMRUN fails (15.5.1).
        const VMRUN = 1 << 0;
        const VMMCALL = 1 << 1;
        const VMLOAD = 1 << 2;
        const VMSAVE = 1 << 3;
        const STGI = 1 << 4;
        const CLGI = 1 << 5;
        const SKINIT = 1 << 6;
        const RDTSCP = 1 << 7;
        const ICEBP = 1 << 8;
        /// WBINVD and WBNOINVD.
        const WBINVD = 1 << 9;
        /// MONITOR and MONITORX.
        const MONITOR = 1 << 10;
        /// MWAIT and MWAITX.
        const MWAIT = 1 << 11;
        /// MWAIT and MWAITX, if the monitor is armed.
        const MWAIT_CONDITIONAL = 1 << 12;
        const XSETBV = 1 << 13;
        const RDPRU = 1 << 14;
        /// After a write of EFER.
        const EFER_WRITE_TRAP = 1 << 15;
        /// After a write of CR0; CR1 to CR15 are the bits above.
        const CR0_WRITE_TRAP = 1 << 16;

        const _ = !0;
    }

    /// Intercept word at offset 014h.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct Misc3: u32 {
        const INVLPGB = 1 << 0;
        const INVLPGB_ILLEGAL = 1 << 1;
        const INVPCID = 1 << 2;
        const MCOMMIT = 1 << 3;
        const TLBSYNC = 1 << 4;
        const BUS_LOCK = 1 << 5;
        /// HLT while no virtual interrupt is pending.
        const IDLE_HLT = 1 << 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svm::ExitCode;

    #[test]
    fn an_intercept_bit_and_its_exit_code_have_the_same_distance() {
        // Exit codes 60h to 7Fh follow the bits of the first word, 80h on those of the second (appendix C).
        let first = |bit: Misc1, code: ExitCode| assert_eq!(0x60 + u64::from(bit.bits().trailing_zeros()), code.0);
        first(Misc1::INTR, ExitCode::INTR);
        first(Misc1::NMI, ExitCode::NMI);
        first(Misc1::CR0_SEL_WRITE, ExitCode::CR0_SEL_WRITE);
        first(Misc1::RDTSC, ExitCode::RDTSC);
        first(Misc1::CPUID, ExitCode::CPUID);
        first(Misc1::HLT, ExitCode::HLT);
        first(Misc1::INVLPGA, ExitCode::INVLPGA);
        first(Misc1::IOIO_PROT, ExitCode::IOIO);
        first(Misc1::MSR_PROT, ExitCode::MSR);
        first(Misc1::SHUTDOWN, ExitCode::SHUTDOWN);
        let second = |bit: Misc2, code: ExitCode| assert_eq!(0x80 + u64::from(bit.bits().trailing_zeros()), code.0);
        second(Misc2::VMRUN, ExitCode::VMRUN);
        second(Misc2::VMMCALL, ExitCode::VMMCALL);
        second(Misc2::VMSAVE, ExitCode::VMSAVE);
        second(Misc2::CLGI, ExitCode::CLGI);
        second(Misc2::SKINIT, ExitCode::SKINIT);
        second(Misc2::XSETBV, ExitCode::XSETBV);
        second(Misc2::EFER_WRITE_TRAP, ExitCode::EFER_WRITE_TRAP);
        assert_eq!(0xA0 + u64::from(Misc3::INVPCID.bits().trailing_zeros()), ExitCode::INVPCID.0);
    }
}
