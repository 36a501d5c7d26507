//! What the VMCB is set up with (APM appendix B).

use hw::Hpa;
use sleep::WakingVector;
use x86::msr::{Efer, PAT_RESET};
use x86::svm::{Attributes, Misc1, Misc2, SaveArea, Segment, TlbControl, Vmcb, control};

// Why each: `exit-nothing-needless`.
const INTERCEPTS_1: Misc1 = Misc1::CPUID // hides SVM, tells Shoji
    .union(Misc1::INIT) // taken by the CPU it would lead out of the virtual machine
    .union(Misc1::INVD) // would drop the VMM's own writes from the caches
    .union(Misc1::INVLPGA) // an SVM instruction, which the guest is told not to have
    .union(Misc1::IOIO_PROT) // the ports of the permission map: mediated devices, A20, COM1, PCI data
    .union(Misc1::MSR_PROT) // the MSRs of the permission map: all that are not known to be harmless (`policy`)
    .union(Misc1::SHUTDOWN); // a triple fault resets the machine, not only this CPU
const INTERCEPTS_2: Misc2 = Misc2::VMRUN // APM s. 15.5.1: VMRUN wants it; #UD for the guest as for the following
    .union(Misc2::VMMCALL) // the firmware stub
    .union(Misc2::VMLOAD)
    .union(Misc2::VMSAVE)
    .union(Misc2::STGI)
    .union(Misc2::CLGI)
    .union(Misc2::SKINIT);

/// #DB and #AC: delivered to a stack that raises them again they keep the CPU busy for good, and no interrupt ends it
/// (CVE-2015-8104, CVE-2015-5307).
pub const EXCEPTIONS: u32 = 1 << 1 | 1 << 17;

/// One virtual CPU, and so one address space identifier; 0 is the host's (APM s. 15.16).
const ASID: u32 = 1;

/// What a VMCB points to.
pub struct Places {
    pub io_permissions: Hpa,
    pub msr_permissions: Hpa,
    /// Root of the nested tables.
    pub nested: Hpa,
}

/// Fills an empty VMCB: a guest in real mode at `segment`:0.
pub fn set_up(vmcb: &mut Vmcb, places: &Places, segment: u16) {
    let control = &mut vmcb.control;
    control.intercept_exceptions = EXCEPTIONS;
    control.intercept_misc1 = INTERCEPTS_1;
    control.intercept_misc2 = INTERCEPTS_2;
    control.iopm_base_pa = places.io_permissions.0;
    control.msrpm_base_pa = places.msr_permissions.0;
    control.guest_asid = ASID;
    control.tlb_control = TlbControl::ALL;
    control.np_enable = control::NP_ENABLE;
    control.n_cr3 = places.nested.0;
    set_guest(&mut vmcb.save, segment);
}

/// The state after INIT as a BIOS would leave it for a boot sector (APM s. 14.1.3), with SVME as VMRUN demands.
fn set_guest(save: &mut SaveArea, segment: u16) {
    let data = Segment { attrib: Attributes::REAL_MODE_DATA, limit: 0xffff, ..Default::default() };
    for register in [&mut save.es, &mut save.ss, &mut save.ds, &mut save.fs, &mut save.gs] {
        *register = data;
    }
    save.cs =
        Segment { selector: segment, attrib: Attributes::REAL_MODE_CODE, limit: 0xffff, base: u64::from(segment) << 4 };
    save.gdtr.limit = 0xffff;
    // The BIOS' interrupt vectors, not the reset value's 64 KiB.
    save.idtr.limit = 0x3ff;
    save.ldtr = Segment { attrib: Attributes::LDT, limit: 0xffff, ..Default::default() };
    save.tr = Segment { attrib: Attributes::BUSY_TSS, limit: 0xffff, ..Default::default() };
    save.cr0 = 0x10;
    save.dr6 = 0xffff_0ff0;
    save.dr7 = 0x400;
    save.rflags = 2;
    save.efer = Efer::SVME.bits();
    save.g_pat = PAT_RESET;
}

/// As firmware enters a waking vector after a reset: what it changes of the state that it found is as after its start.
pub fn wake(save: &mut SaveArea, vector: WakingVector) {
    *save = SaveArea::default();
    set_guest(save, vector.segment);
    save.rip = vector.ip.into();
}

/// The state after INIT, at what a startup IPI names (APM s. 14.1.3 and 15.27.8). `save` holds the registers that VMSAVE stores,
/// some of which stay.
pub fn start(save: &mut SaveArea, page: u8) {
    let pat = save.g_pat;
    set_guest(save, u16::from(page) << 8);
    save.g_pat = pat;
    for register in [&mut save.gdtr, &mut save.idtr] {
        *register = Segment { limit: 0xffff, ..Default::default() };
    }
    save.cr0 = 0x6000_0010;
    (save.cr2, save.cr3, save.cr4) = (0, 0, 0);
    (save.rax, save.rsp, save.rip) = (0, 0, 0);
    save.cpl = 0;
}
