//! The virtual machine control block (APM Vol. 2 appendix B, tables B-1 and B-2).

use super::{Attributes, Event, Misc1, Misc2, Misc3};
use bitflags::bitflags;

/// One page, aligned to a page; the CPU takes its physical address. The default is all zero.
#[derive(Default)]
#[repr(C, align(4096))]
pub struct Vmcb {
    pub control: ControlArea,
    pub save: SaveArea,
}

/// Control area, offsets 000h to 3FFh. Field names as in table B-1.
#[derive(Default)]
#[repr(C)]
pub struct ControlArea {
    /// 000h: reads of CR0 to CR15, one bit each.
    pub intercept_cr_read: u16,
    pub intercept_cr_write: u16,
    pub intercept_dr_read: u16,
    pub intercept_dr_write: u16,
    /// 008h: exception vectors 0 to 31.
    pub intercept_exceptions: u32,
    pub intercept_misc1: Misc1,
    pub intercept_misc2: Misc2,
    pub intercept_misc3: Misc3,
    reserved_018: Reserved<0x24>,
    pub pause_filter_threshold: u16,
    pub pause_filter_count: u16,
    /// 040h: physical address of the I/O permission map.
    pub iopm_base_pa: u64,
    /// 048h: physical address of the MSR permission map.
    pub msrpm_base_pa: u64,
    pub tsc_offset: u64,
    /// 058h: not zero (the host's).
    pub guest_asid: u32,
    pub tlb_control: TlbControl,
    reserved_05d: Reserved<3>,
    /// 060h: see [`control`].
    pub virtual_interrupt: u64,
    /// 068h: bit 0, see [`control::INTERRUPT_SHADOW`].
    pub interrupt_shadow: u64,
    /// 070h: see [`super::ExitCode`].
    pub exit_code: u64,
    pub exit_info1: u64,
    pub exit_info2: u64,
    /// 088h: the event whose delivery the exit cut off.
    pub exit_int_info: Event,
    /// 090h: see [`control::NP_ENABLE`].
    pub np_enable: u64,
    pub avic_apic_bar: u64,
    pub ghcb_gpa: u64,
    /// 0A8h: the event to be delivered at the next VMRUN.
    pub event_inj: Event,
    /// 0B0h: physical address of the nested page table's top level.
    pub n_cr3: u64,
    /// 0B8h: see [`control::LBR_VIRTUALIZATION`].
    pub lbr_virtualization_enable: u64,
    /// 0C0h: what the CPU may keep from the last VMRUN.
    pub vmcb_clean: CleanBits,
    reserved_0c4: Reserved<4>,
    /// 0C8h: next sequential instruction pointer, with NRIP save.
    pub n_rip: u64,
    /// 0D0h: how many of `guest_instruction_bytes` count, with decode assists.
    pub bytes_fetched: u8,
    pub guest_instruction_bytes: [u8; 15],
    pub avic_apic_backing_page: u64,
    reserved_0e8: Reserved<8>,
    pub avic_logical_table: u64,
    pub avic_physical_table: u64,
    reserved_100: Reserved<0x300>,
}

/// State save area, offsets 400h to FFFh. Field names as in table B-2.
#[derive(Default)]
#[repr(C)]
pub struct SaveArea {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    /// VMLOAD and VMSAVE move this, not VMRUN; so with GS, LDTR, TR and the MSRs below that say so.
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    reserved_4a0: Reserved<0x2B>,
    pub cpl: u8,
    reserved_4cc: Reserved<4>,
    pub efer: u64,
    reserved_4d8: Reserved<0x70>,
    pub cr4: u64,
    pub cr3: u64,
    pub cr0: u64,
    pub dr7: u64,
    pub dr6: u64,
    pub rflags: u64,
    pub rip: u64,
    reserved_580: Reserved<0x58>,
    pub rsp: u64,
    pub s_cet: u64,
    pub ssp: u64,
    pub isst_addr: u64,
    pub rax: u64,
    /// 600h: from here to `sysenter_eip` by VMLOAD and VMSAVE.
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub cr2: u64,
    reserved_648: Reserved<0x20>,
    /// 668h: the guest's PAT, with nested paging.
    pub g_pat: u64,
    pub dbgctl: u64,
    pub br_from: u64,
    pub br_to: u64,
    pub last_excp_from: u64,
    pub last_excp_to: u64,
    reserved_698: Reserved<0x968>,
}

/// A segment register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Segment {
    pub selector: u16,
    pub attrib: Attributes,
    /// In bytes.
    pub limit: u32,
    pub base: u64,
}

/// What VMRUN flushes from the TLB (15.16.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct TlbControl(pub u8);

impl TlbControl {
    pub const NOTHING: Self = Self(0);
    /// Everything, of all ASIDs and the host.
    pub const ALL: Self = Self(1);
    /// This guest's entries; needs flush-by-ASID, as the next.
    pub const GUEST: Self = Self(3);
    pub const GUEST_NON_GLOBAL: Self = Self(7);
}

/// Bits of control area fields.
pub mod control {
    /// `virtual_interrupt`: the guest's task priority, as CR8 has it (15.21.2).
    pub const V_TPR: u64 = 0xf;
    /// `virtual_interrupt`: a virtual interrupt is pending (15.21.4).
    pub const V_IRQ: u64 = 1 << 8;
    /// Value of the virtual GIF.
    pub const V_GIF: u64 = 1 << 9;
    /// Lowest of the four bits of its priority.
    pub const V_INTR_PRIO_SHIFT: u32 = 16;
    pub const V_IGN_TPR: u64 = 1 << 20;
    /// RFLAGS.IF of the host masks physical interrupts, that of the guest only virtual ones (15.21.1).
    pub const V_INTR_MASKING: u64 = 1 << 24;
    pub const V_GIF_ENABLE: u64 = 1 << 25;
    pub const V_INTR_VECTOR_SHIFT: u32 = 32;
    /// `interrupt_shadow`: the guest is behind STI or MOV SS (15.21.5).
    pub const INTERRUPT_SHADOW: u64 = 1 << 0;
    /// `np_enable`: nested paging.
    pub const NP_ENABLE: u64 = 1 << 0;
    /// `lbr_virtualization_enable`.
    pub const LBR_VIRTUALIZATION: u64 = 1 << 0;
    /// `lbr_virtualization_enable`: VMSAVE and VMLOAD in the guest do not exit.
    pub const VIRTUAL_VMSAVE_VMLOAD: u64 = 1 << 1;
}

bitflags! {
    /// A set bit promises that the fields are as at the last VMRUN on this CPU (15.15.3).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    #[repr(transparent)]
    pub struct CleanBits: u32 {
        /// Intercepts, TSC offset, pause filter.
        const I = 1 << 0;
        /// IOPM_BASE, MSRPM_BASE.
        const IOPM = 1 << 1;
        const ASID = 1 << 2;
        /// Virtual interrupt fields.
        const TPR = 1 << 3;
        /// N_CR3, G_PAT and what belongs to nested paging.
        const NP = 1 << 4;
        /// CR0, CR3, CR4, EFER.
        const CRX = 1 << 5;
        /// DR6, DR7.
        const DRX = 1 << 6;
        /// GDTR, IDTR.
        const DT = 1 << 7;
        /// CS, DS, SS, ES and CPL.
        const SEG = 1 << 8;
        const CR2 = 1 << 9;
        const LBR = 1 << 10;
        const AVIC = 1 << 11;
        const CET = 1 << 12;
    }
}

/// Must be zero.
#[repr(transparent)]
struct Reserved<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> Default for Reserved<LEN> {
    fn default() -> Self {
        Self([0; LEN])
    }
}

const _: () = assert!(size_of::<Vmcb>() == 4096 && size_of::<ControlArea>() == 0x400);

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    macro_rules! at {
        ($area:ident: $($field:ident $offset:literal)*) => {
            $(assert_eq!(offset_of!(Vmcb, $area.$field), $offset, stringify!($field));)*
        };
    }

    #[test]
    fn control_fields_are_where_table_b_1_has_them() {
        at!(control:
            intercept_cr_read 0x000 intercept_cr_write 0x002 intercept_dr_read 0x004 intercept_dr_write 0x006
            intercept_exceptions 0x008 intercept_misc1 0x00C intercept_misc2 0x010 intercept_misc3 0x014
            pause_filter_threshold 0x03C pause_filter_count 0x03E iopm_base_pa 0x040 msrpm_base_pa 0x048
            tsc_offset 0x050 guest_asid 0x058 tlb_control 0x05C virtual_interrupt 0x060 interrupt_shadow 0x068
            exit_code 0x070 exit_info1 0x078 exit_info2 0x080 exit_int_info 0x088 np_enable 0x090
            avic_apic_bar 0x098 ghcb_gpa 0x0A0 event_inj 0x0A8 n_cr3 0x0B0 lbr_virtualization_enable 0x0B8
            vmcb_clean 0x0C0 n_rip 0x0C8 bytes_fetched 0x0D0 guest_instruction_bytes 0x0D1
            avic_apic_backing_page 0x0E0 avic_logical_table 0x0F0 avic_physical_table 0x0F8);
    }

    #[test]
    fn saved_registers_are_where_table_b_2_has_them() {
        at!(save:
            es 0x400 cs 0x410 ss 0x420 ds 0x430 fs 0x440 gs 0x450 gdtr 0x460 ldtr 0x470 idtr 0x480 tr 0x490
            cpl 0x4CB efer 0x4D0 cr4 0x548 cr3 0x550 cr0 0x558 dr7 0x560 dr6 0x568 rflags 0x570 rip 0x578
            rsp 0x5D8 s_cet 0x5E0 ssp 0x5E8 isst_addr 0x5F0 rax 0x5F8 star 0x600 lstar 0x608 cstar 0x610
            sfmask 0x618 kernel_gs_base 0x620 sysenter_cs 0x628 sysenter_esp 0x630 sysenter_eip 0x638 cr2 0x640
            g_pat 0x668 dbgctl 0x670 br_from 0x678 br_to 0x680 last_excp_from 0x688 last_excp_to 0x690);
    }

    #[test]
    fn a_segment_is_selector_attributes_limit_base() {
        assert_eq!((offset_of!(Segment, selector), offset_of!(Segment, attrib), offset_of!(Segment, limit)), (0, 2, 4));
        assert_eq!((offset_of!(Segment, base), size_of::<Segment>()), (8, 16));
    }

    #[test]
    fn a_block_is_one_aligned_page() {
        assert_eq!((size_of::<Vmcb>(), align_of::<Vmcb>()), (4096, 4096));
    }
}
