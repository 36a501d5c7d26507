//! A virtual CPU and its VMCB.

use crate::control::{self, Places};
use crate::features::Features;
use crate::nested::Memory;
use crate::nmi::{self, Step};
use crate::policy;
use crate::recall::{self, Watch};
use crate::refused;
use crate::switch::{self, Gprs};
use crate::{event, instructions};
use exit::{
    ControlRegisters, Exception, Exit, ExitKind, Gpr, IoExit, NestedFault, QueuedInterrupts, Recall, Segment,
    SegmentName, Vcpu,
};
use hw::nested::Touched;
use hw::{Hpa, cpu, direct, frames, trails};
use mediator::{Gpa, Width};
use record::Trail;
use sleep::WakingVector;
use x86::msr::Efer;
use x86::svm::{
    Attributes, Event, ExitCode, IoInfo, Misc1, MsrPermissionMap, NestedFaultInfo, SaveArea, TlbControl, Vmcb,
};

const RFLAGS_TRAP: u64 = 1 << 8;
const RFLAGS_RESUME: u64 = 1 << 16;

pub struct SvmVcpu {
    pub(crate) vmcb: &'static mut Vmcb,
    at: Hpa,
    gprs: Gprs,
    memory: &'static Memory,
    touched: Touched,
    next_rip_save: bool,
    /// As in [`Features`].
    injects_twice: bool,
    /// Target of VMSAVE.
    scratch: Hpa,
    msr_permissions: &'static mut MsrPermissionMap,
    queued: QueuedInterrupts,
    /// Something is to be done before the next entry: [`SvmVcpu::prepare`].
    busy: bool,
    pub(crate) watch: Watch,
    trail: &'static Trail,
}

impl SvmVcpu {
    /// A virtual CPU in real mode at `segment`:0, on the CPU that runs this. `kicks`: other CPUs get it out of the guest by NMIs, which
    /// exit therefore. `None` when the frames do not suffice.
    pub fn new(
        features: &Features,
        memory: &'static Memory,
        io_permissions: Hpa,
        segment: u16,
        kicks: bool,
    ) -> Option<Self> {
        let at = frames::alloc(1)?;
        let (msr_permissions, msr_permissions_at) = policy::msr_permissions()?;
        let places = Places { io_permissions, msr_permissions: msr_permissions_at, nested: memory.root() };
        // SAFETY: a zeroed frame of our own; a VMCB of zeroes is a valid value, and its size is a frame.
        let vmcb = unsafe { &mut *direct::pointer(at).cast::<Vmcb>() };
        control::set_up(vmcb, &places, segment);
        if kicks {
            nmi::intercept(vmcb);
        }
        hw::interrupts::set_window(recall::admit);
        // SAFETY: the guest's FS, GS, TR, LDTR and SYSCALL registers get their initial values; the VMM uses none.
        unsafe { instructions::vmload(at) };
        Some(Self {
            vmcb,
            at,
            gprs: Gprs::default(),
            memory,
            touched: Touched::default(),
            next_rip_save: features.next_rip_save,
            injects_twice: features.injects_twice,
            scratch: frames::alloc(1)?,
            msr_permissions,
            queued: QueuedInterrupts::default(),
            busy: false,
            watch: Watch::default(),
            trail: trails::of_this_cpu(),
        })
    }

    /// The instruction that exited has been carried out; `next` is the next one's RIP.
    #[inline(always)]
    fn go_on_at(&mut self, next: u64) {
        let vmcb = &mut *self.vmcb;
        vmcb.save.rip = next;
        vmcb.control.interrupt_shadow = 0;
        if vmcb.save.rflags & (RFLAGS_TRAP | RFLAGS_RESUME) != 0 {
            self.end_instruction();
        }
    }

    #[inline(always)]
    fn enter(&mut self) {
        // QEMU's SMM entry clears it in the saved state; VMRUN refuses a guest without.
        self.vmcb.save.efer |= Efer::SVME.bits();
        // SAFETY: `enable` has run, the VMCB is complete, and its nested tables leave VMM memory out.
        unsafe { switch::run(&mut self.gprs, self.at.0) };
        let control = &mut self.vmcb.control;
        control.event_inj = Event::NONE;
        control.tlb_control = TlbControl::NOTHING;
    }

    /// Before an entry: what waits for the guest. True: there is an exit to be answered already, as the guest has run, or waits in
    /// the host.
    #[cold]
    fn prepare(&mut self) -> bool {
        let is_iret = ExitCode(self.vmcb.control.exit_code) == ExitCode::IRET;
        let step = if is_iret { Step::begin(self.vmcb) } else { None };
        // The handler that ends by such an IRET, or by the fault that it raises, is to end before the next NMI: that goes with the
        // entry after the next exit.
        let is_unseen = is_iret && step.is_none();
        if let Some(step) = step {
            self.enter();
            let is_done = step.end(self.vmcb);
            self.vmcb.control.intercept_misc1.set(Misc1::INTR, self.watch.is_on);
            if !is_done {
                return true;
            }
        }
        if !self.before_entry() {
            return true;
        }
        if !is_unseen {
            nmi::deliver(self.vmcb);
        }
        event::deliver_queued(self.vmcb, &mut self.queued, self.injects_twice);
        self.busy = self.is_watched() || !self.queued.is_empty() || nmi::waits(self.vmcb);
        false
    }

    pub(crate) fn forget_touched(&mut self) {
        self.touched = Touched::default();
    }

    pub(crate) fn memory(&self) -> &'static Memory {
        self.memory
    }

    pub(crate) fn msr_permissions(&mut self) -> &mut MsrPermissionMap {
        self.msr_permissions
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// The next entry is to be prepared.
    pub(crate) fn make_busy(&mut self) {
        self.busy = true;
    }

    /// An NMI is pending, and still is in the host.
    #[cold]
    fn on_nmi(&mut self) -> Exit {
        self.busy = true;
        if nmi::take() { Exit::Signal } else { Exit::Answered(ExitKind::Nmi) }
    }

    #[inline(always)]
    fn map_on_demand(&mut self) -> bool {
        let at = Gpa(self.vmcb.control.exit_info2);
        self.touched.retries(at, self.memory.map_on_demand(at))
    }

    /// A new start: general purpose and debug registers as after INIT, nothing queued or being delivered, nothing cached.
    fn begin(&mut self) {
        cpu::clear_breakpoints();
        self.gprs = Gprs::default();
        self.set_gpr(Gpr::Rdx, cpu::signature().into());
        self.queued = QueuedInterrupts::default();
        nmi::forget(self.vmcb);
        let control = &mut self.vmcb.control;
        control.event_inj = Event::NONE;
        control.interrupt_shadow = 0;
        control.exit_code = 0;
        control.tlb_control = TlbControl::ALL;
        self.watch.is_halted = false;
        event::deliver_queued(self.vmcb, &mut self.queued, self.injects_twice);
        self.busy = self.is_watched();
    }

    /// What the CPU does when an instruction has been carried out: RF ends (APM s. 3.1.6), and TF raises its trap.
    #[cold]
    fn end_instruction(&mut self) {
        self.vmcb.save.rflags &= !RFLAGS_RESUME;
        if self.vmcb.save.rflags & RFLAGS_TRAP != 0 {
            event::inject_single_step(self.vmcb);
        }
    }

    /// The guest's registers that an exit leaves in the CPU, FS and GS among them (APM s. 15.5.2).
    fn unswitched(&self) -> &SaveArea {
        // SAFETY: VMSAVE fills parts of a frame of our own that only this function reads.
        unsafe {
            instructions::vmsave(self.scratch);
            &(*direct::pointer(self.scratch).cast::<Vmcb>()).save
        }
    }
}

impl Vcpu for SvmVcpu {
    #[inline(always)]
    fn run(&mut self) -> Exit {
        loop {
            if !self.busy {
                self.enter();
            } else if !self.prepare() {
                self.enter();
                self.busy |= self.injects_twice && event::take_back(self.vmcb, &mut self.queued);
            }
            let vmcb = &mut *self.vmcb;
            let code = ExitCode(vmcb.control.exit_code);
            self.trail.note(code.0 as u32, vmcb.save.rip);
            return match code {
                ExitCode::CPUID => Exit::Cpuid,
                ExitCode::IOIO => Exit::Io,
                ExitCode::NPF if self.map_on_demand() => {
                    event::reinject(self.vmcb);
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
                ExitCode::HLT => Exit::Halt,
                ExitCode::INVD => {
                    // The exit itself has written nothing that INVD could have dropped.
                    cpu::write_back_caches();
                    Exit::InvalidateCaches
                }
                ExitCode::SHUTDOWN => Exit::Shutdown,
                // It stays pending, which is harmless while GIF is 0 (APM s. 15.13.4 and 15.17). QEMU 7.2 does not know
                // that rule and takes it in the host at once: there only a hooked ICR could keep it off.
                ExitCode::INIT => Exit::Init,
                ExitCode::NMI => self.on_nmi(),
                ExitCode::INTR => self.on_interrupt(),
                // It is stepped over before anything else happens.
                ExitCode::IRET => {
                    self.busy = true;
                    Exit::Answered(ExitKind::NmiWindow)
                }
                // What waits goes with the next entry.
                ExitCode::VINTR => Exit::Answered(ExitKind::InterruptWindow),
                other => match other.exception() {
                    Some(vector) => {
                        event::deliver(self.vmcb, vector);
                        Exit::Answered(ExitKind::Exception)
                    }
                    None => refused::exit(other),
                },
            };
        }
    }

    #[inline(always)]
    fn io(&self) -> IoExit {
        let control = &self.vmcb.control;
        let info = IoInfo::from_bits_retain(control.exit_info1);
        IoExit {
            port: info.port(),
            width: if info.contains(IoInfo::SZ32) {
                Width::Dword
            } else if info.contains(IoInfo::SZ16) {
                Width::Word
            } else {
                // Also if the CPU names no size.
                Width::Byte
            },
            input: info.contains(IoInfo::IN),
            string: info.contains(IoInfo::STR),
            rep: info.contains(IoInfo::REP),
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
            delivering: event::delivered(event),
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

    fn tsc_offset(&self) -> u64 {
        self.vmcb.control.tsc_offset
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb.control.tsc_offset = offset;
        self.intercept_timer();
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

    #[inline(always)]
    fn skip_instruction(&mut self, len_bytes: u8) {
        let save = &self.vmcb.save;
        let next = save.rip.wrapping_add(u64::from(len_bytes));
        self.go_on_at(if save.cs.attrib.contains(Attributes::LONG) { next } else { next & 0xffff_ffff });
    }

    #[inline(always)]
    fn skip_io(&mut self) {
        // The next RIP (APM s. 15.10.2).
        self.go_on_at(self.vmcb.control.exit_info2);
    }

    fn inject(&mut self, exception: Exception) {
        event::inject(self.vmcb, exception);
    }

    fn reinject(&mut self) {
        event::reinject(self.vmcb);
    }
    fn queue_interrupt(&mut self, vector: u8) {
        self.queued.insert(vector);
        self.busy = true;
    }

    fn set_recall(&mut self, recall: Recall) {
        self.watch(recall);
    }

    fn halt(&mut self, len_bytes: u8) {
        self.halt_at(len_bytes);
    }

    fn put_away(&mut self) {
        self.suspend_watch();
    }

    fn take_up(&mut self) {
        self.resume_watch();
    }

    fn start(&mut self, page: u8) {
        // SAFETY: what VMSAVE stores goes to the VMCB, of which `start` sets the segments and leaves the MSRs; VMLOAD loads
        // all of it again. The VMM uses none of these registers.
        unsafe {
            instructions::vmsave(self.at);
            control::start(&mut self.vmcb.save, page);
            instructions::vmload(self.at);
        }
        self.begin();
    }

    fn wake(&mut self, vector: WakingVector) {
        control::wake(&mut self.vmcb.save, vector);
        // SAFETY: the guest's FS, GS, TR, LDTR and SYSCALL registers get their initial values; the VMM uses none.
        unsafe { instructions::vmload(self.at) };
        self.begin();
    }
}
