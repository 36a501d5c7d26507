//! A virtual CPU and its VMCB.

use crate::nested::Nested;
use crate::policy::MSR_INTERCEPTS;
use crate::switch::{self, Gprs};
use exit::{ControlRegisters, Exception, Exit, Gpr, IoExit, NestedFault, Segment, SegmentName, Vcpu};
use hw::{Hpa, direct, frames};
use mediator::{Gpa, Width};
use x86::msr::{Efer, PAT_RESET};
use x86::svm::{
    Attributes, Event, EventKind, ExitCode, IoInfo, Misc1, Misc2, MsrPermissionMap, NestedFaultInfo, SaveArea,
    TlbControl, Vmcb, control,
};

const CR0_PE: u64 = 1 << 0;
const RFLAGS_TRAP: u64 = 1 << 8;
const DR6_SINGLE_STEP: u64 = 1 << 14;
const MSRPM_FRAMES: usize = 2;

// Vectors.
const DEBUG: u8 = 1;
const BREAKPOINT: u8 = 3;
const OVERFLOW: u8 = 4;

/// What a virtual CPU is made of.
pub struct Setup {
    pub nested: Nested,
    /// Physical address of the I/O permission map; it stays where it is.
    pub io_permissions: Hpa,
    pub next_rip_save: bool,
}

pub struct SvmVcpu {
    vmcb: &'static mut Vmcb,
    at: Hpa,
    gprs: Gprs,
    nested: Nested,
    next_rip_save: bool,
    /// Target of VMSAVE.
    scratch: Hpa,
}

// Why each: `exit-nothing-needless`.
const INTERCEPTS_1: Misc1 = Misc1::CPUID // hides SVM, tells Shoji
    .union(Misc1::INIT) // taken by the CPU it would lead out of the virtual machine
    .union(Misc1::INVD) // would drop the VMM's own writes from the caches
    .union(Misc1::INVLPGA) // an SVM instruction, which the guest is told not to have
    .union(Misc1::IOIO_PROT) // the ports of the permission map: mediated devices, A20, COM1, PCI data
    .union(Misc1::MSR_PROT) // the MSRs of the permission map: EFER.SVME and SVM's own
    .union(Misc1::SHUTDOWN); // a triple fault resets the machine, not only this CPU
const INTERCEPTS_2: Misc2 = Misc2::VMRUN // APM s. 15.5.1: VMRUN wants it; #UD for the guest as for the following
    .union(Misc2::VMMCALL) // the firmware stub
    .union(Misc2::VMLOAD)
    .union(Misc2::VMSAVE)
    .union(Misc2::STGI)
    .union(Misc2::CLGI)
    .union(Misc2::SKINIT);

impl SvmVcpu {
    /// A virtual CPU in real mode at `segment`:0, or `None` when the frames do not suffice.
    pub fn new(setup: Setup, segment: u16) -> Option<Self> {
        let at = frames::alloc(1)?;
        let msr_permissions = msr_permission_map()?;
        // SAFETY: a zeroed frame of our own; a VMCB of zeroes is a valid value, and its size is a frame.
        let vmcb = unsafe { &mut *direct::pointer(at).cast::<Vmcb>() };
        let control = &mut vmcb.control;
        control.intercept_misc1 = INTERCEPTS_1;
        control.intercept_misc2 = INTERCEPTS_2;
        control.iopm_base_pa = setup.io_permissions.0;
        control.msrpm_base_pa = msr_permissions.0;
        control.guest_asid = 1;
        control.tlb_control = TlbControl::ALL;
        control.np_enable = control::NP_ENABLE;
        control.n_cr3 = setup.nested.root().0;
        real_mode(vmcb, segment);
        // SAFETY: the guest's FS, GS, TR, LDTR and SYSCALL registers get their initial values; the VMM uses none.
        unsafe { core::arch::asm!("vmload rax", in("rax") at.0) };
        Some(Self {
            vmcb,
            at,
            gprs: Gprs::default(),
            nested: setup.nested,
            next_rip_save: setup.next_rip_save,
            scratch: frames::alloc(1)?,
        })
    }

    /// The guest's registers that an exit leaves in the CPU, FS and GS among them (APM s. 15.5.2).
    fn unswitched(&self) -> &SaveArea {
        // SAFETY: VMSAVE fills parts of a frame of our own that only this function reads.
        unsafe {
            core::arch::asm!("vmsave rax", in("rax") self.scratch.0);
            &(*direct::pointer(self.scratch).cast::<Vmcb>()).save
        }
    }

    fn raise(&mut self, event: Event) {
        self.vmcb.control.event_inj = event;
    }
}

#[cold]
fn refused(code: ExitCode) -> Exit {
    match ExitCode::new(code.0) {
        ExitCode::INVALID => Exit::InvalidState,
        other => Exit::Unexpected(other.0),
    }
}

/// The state after INIT as a BIOS would leave it for a boot sector (APM s. 14.1.3), with SVME as VMRUN demands.
fn real_mode(vmcb: &mut Vmcb, segment: u16) {
    let save = &mut vmcb.save;
    let data = x86::svm::Segment { attrib: Attributes::REAL_MODE_DATA, limit: 0xffff, ..Default::default() };
    for register in [&mut save.es, &mut save.ss, &mut save.ds, &mut save.fs, &mut save.gs] {
        *register = data;
    }
    save.cs = x86::svm::Segment {
        selector: segment,
        attrib: Attributes::REAL_MODE_CODE,
        limit: 0xffff,
        base: u64::from(segment) << 4,
    };
    save.gdtr.limit = 0xffff;
    // The BIOS' interrupt vectors, not the reset value's 64 KiB.
    save.idtr.limit = 0x3ff;
    save.ldtr = x86::svm::Segment { attrib: Attributes::LDT, limit: 0xffff, ..Default::default() };
    save.tr = x86::svm::Segment { attrib: Attributes::BUSY_TSS, limit: 0xffff, ..Default::default() };
    save.cr0 = 0x10;
    save.dr6 = 0xffff_0ff0;
    save.dr7 = 0x400;
    save.rflags = 2;
    save.efer = Efer::SVME.bits();
    save.g_pat = PAT_RESET;
}

fn msr_permission_map() -> Option<Hpa> {
    let at = frames::alloc(MSRPM_FRAMES)?;
    // SAFETY: zeroed frames of our own, as large as the map; zeroes are a valid map.
    let map = unsafe { &mut *direct::pointer(at).cast::<MsrPermissionMap>() };
    for intercept in MSR_INTERCEPTS {
        intercept.msrs().for_each(|msr| map.intercept(msr, intercept.reads_exit(), true));
    }
    Some(at)
}

impl Vcpu for SvmVcpu {
    #[inline(always)]
    fn run(&mut self) -> Exit {
        loop {
            // QEMU's SMM entry clears it in the saved state; VMRUN refuses a guest without.
            self.vmcb.save.efer |= Efer::SVME.bits();
            // SAFETY: `enable` has run, the VMCB is complete, and its nested tables leave VMM memory out.
            unsafe { switch::run(&mut self.gprs, self.at.0) };
            let control = &mut self.vmcb.control;
            control.event_inj = Event::NONE;
            control.tlb_control = TlbControl::NOTHING;
            return match ExitCode(control.exit_code) {
                ExitCode::CPUID => Exit::Cpuid,
                ExitCode::IOIO if control.exit_info1 & IoInfo::STR.bits() != 0 => Exit::StringIo,
                ExitCode::IOIO => Exit::Io,
                ExitCode::NPF if self.nested.map_on_demand(Gpa(control.exit_info2)) => {
                    self.reinject();
                    continue;
                }
                ExitCode::NPF => Exit::NestedFault,
                ExitCode::MSR if self.vmcb.control.exit_info1 & 1 == 0 => Exit::ReadMsr,
                ExitCode::MSR => Exit::WriteMsr,
                ExitCode::VMMCALL => Exit::Hypercall,
                ExitCode::VMRUN
                | ExitCode::VMLOAD
                | ExitCode::VMSAVE
                | ExitCode::STGI
                | ExitCode::CLGI
                | ExitCode::SKINIT
                | ExitCode::INVLPGA => Exit::VirtualizationInstruction,
                ExitCode::INVD => {
                    // SAFETY: no effect but on time. The exit itself has written nothing that INVD could have dropped.
                    unsafe { core::arch::asm!("wbinvd", options(nostack, preserves_flags)) };
                    Exit::InvalidateCaches
                }
                ExitCode::SHUTDOWN => Exit::Shutdown,
                // It stays pending, which is harmless while GIF is 0 (APM s. 15.13.4 and 15.17). QEMU 7.2 does not know
                // that rule and takes it in the host at once: there only a hooked ICR could keep it off.
                ExitCode::INIT => Exit::Init,
                other => refused(other),
            };
        }
    }

    #[inline(always)]
    fn io(&self) -> IoExit {
        let control = &self.vmcb.control;
        let info = IoInfo::from_bits_retain(control.exit_info1);
        IoExit {
            port: info.port(),
            width: match info.width_bytes() {
                1 => Width::Byte,
                2 => Width::Word,
                _ => Width::Dword,
            },
            input: info.contains(IoInfo::IN),
            rep: info.contains(IoInfo::REP),
            // EXITINFO2 is the next RIP (APM s. 15.10.2).
            instruction_len: control.exit_info2.wrapping_sub(self.vmcb.save.rip) as u8,
        }
    }

    fn nested_fault(&self) -> NestedFault {
        let control = &self.vmcb.control;
        let info = NestedFaultInfo::from_bits_retain(control.exit_info1);
        let event = control.exit_int_info;
        NestedFault {
            gpa: Gpa(control.exit_info2),
            write: info.contains(NestedFaultInfo::WRITE),
            fetch: info.contains(NestedFaultInfo::FETCH),
            page_walk: info.contains(NestedFaultInfo::PAGE_WALK),
            delivering: event.is_valid().then(|| event.vector()),
        }
    }

    fn gpr(&self, register: Gpr) -> u64 {
        match register {
            Gpr::Rax => self.vmcb.save.rax,
            Gpr::Rsp => self.vmcb.save.rsp,
            other => self.gprs.0[other as usize],
        }
    }

    fn set_gpr(&mut self, register: Gpr, value: u64) {
        match register {
            Gpr::Rax => self.vmcb.save.rax = value,
            Gpr::Rsp => self.vmcb.save.rsp = value,
            other => self.gprs.0[other as usize] = value,
        }
    }

    fn rip(&self) -> u64 {
        self.vmcb.save.rip
    }

    fn rflags(&self) -> u64 {
        self.vmcb.save.rflags
    }

    fn set_rflags(&mut self, value: u64) {
        self.vmcb.save.rflags = value;
    }

    fn segment(&self, name: SegmentName) -> Segment {
        let save = &self.vmcb.save;
        let register = match name {
            SegmentName::Es => save.es,
            SegmentName::Cs => save.cs,
            SegmentName::Ss => save.ss,
            SegmentName::Ds => save.ds,
            SegmentName::Fs => self.unswitched().fs,
            SegmentName::Gs => self.unswitched().gs,
        };
        Segment {
            selector: register.selector,
            base: register.base,
            limit: register.limit,
            long: register.attrib.contains(Attributes::LONG),
            default_32: register.attrib.contains(Attributes::DEFAULT_32),
            access: register.attrib.access(),
        }
    }

    fn control(&self) -> ControlRegisters {
        let save = &self.vmcb.save;
        ControlRegisters { cr0: save.cr0, cr3: save.cr3, cr4: save.cr4, efer: save.efer & !Efer::SVME.bits() }
    }

    fn set_efer(&mut self, value: u64) {
        self.vmcb.save.efer = value | Efer::SVME.bits();
    }

    fn cpl(&self) -> u8 {
        self.vmcb.save.cpl
    }

    fn instruction_len(&self) -> Option<u8> {
        if !self.next_rip_save {
            return None;
        }
        let len = self.vmcb.control.n_rip.wrapping_sub(self.vmcb.save.rip);
        u8::try_from(len).ok().filter(|len| (1..=15).contains(len))
    }

    fn skip_instruction(&mut self, len_bytes: u8) {
        let save = &mut self.vmcb.save;
        let next = save.rip.wrapping_add(u64::from(len_bytes));
        save.rip = if save.cs.attrib.contains(Attributes::LONG) { next } else { next & 0xffff_ffff };
        self.vmcb.control.interrupt_shadow = 0;
        if self.vmcb.save.rflags & RFLAGS_TRAP != 0 {
            // The trap that the instruction would have raised (APM s. 13.1.4).
            self.vmcb.save.dr6 |= DR6_SINGLE_STEP;
            self.raise(Event::new(EventKind::Exception, DEBUG));
        }
    }

    fn inject(&mut self, exception: Exception) {
        let save = &mut self.vmcb.save;
        match exception {
            Exception::PageFault { address, .. } => save.cr2 = address,
            Exception::Debug(bits) => save.dr6 |= bits,
            _ => {}
        }
        // In real mode no exception has an error code (APM s. 8.2).
        let error = exception.error_code().filter(|_| save.cr0 & CR0_PE != 0);
        self.raise(match error {
            None => Event::new(EventKind::Exception, exception.vector()),
            Some(error) => Event::exception(exception.vector(), error),
        });
    }

    fn reinject(&mut self) {
        let event = self.vmcb.control.exit_int_info;
        // RIP still points at INT n, INT3 or INTO: executing it again delivers the event.
        let by_instruction = event.kind() == Some(EventKind::SoftwareInterrupt)
            || (event.kind() == Some(EventKind::Exception) && [BREAKPOINT, OVERFLOW].contains(&event.vector()));
        if event.is_valid() && !by_instruction {
            self.raise(event);
        }
    }
}
