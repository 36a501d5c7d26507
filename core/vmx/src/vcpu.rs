//! A virtual CPU and its VMCS.

use crate::control::{self, EXCEPTIONS, KeptBits, Places, segment_fields};
use crate::features::{Features, control_region};
use crate::instructions::{self, read, write};
use crate::nested::Memory;
use crate::policy;
use crate::recall::Watch;
use crate::refused;
use crate::switch::{self, Entry, Registers};
use crate::{event, nmi};
use exit::{
    ControlRegisters, Exception, Exit, ExitKind, Gpr, IoExit, NestedFault, QueuedInterrupts, Recall, Segment,
    SegmentName, TaskState, Vcpu, second_exception,
};
use hw::nested::Touched;
use hw::nmi::attention;
use hw::{Hpa, cpu, cpus, trails, xcr};
use mediator::{Gpa, Width};
use record::Trail;
use sleep::WakingVector;
use x86::msr::{self, Efer};
use x86::mtrr::Mtrrs;
use x86::vmx::{
    AccessRights, BasicReason, ControlRegisterAccess, EptViolation, ExitReason, Field, Interruptibility,
    InterruptionInfo, InterruptionKind, IoQualification, MsrBitmap, PendingDebug,
};

const GENERAL_PROTECTION: u8 = 13;
const CR0_PE: u64 = 1 << 0;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const RFLAGS_TRAP: u64 = 1 << 8;
const RFLAGS_IF: u64 = 1 << 9;
const RFLAGS_RESUME: u64 = 1 << 16;
const DEBUGCTL_BTF: u64 = 1 << 1;

/// What a MOV to CR0 has changed before it is executed again: to be undone if it faults then.
#[derive(Clone, Copy)]
struct Rewritten {
    rip: u64,
    /// The register and its shadow before.
    cr0: u64,
    shadow: u64,
}

pub struct VmxVcpu {
    vmcs: Hpa,
    registers: Registers,
    memory: &'static Memory,
    touched: Touched,
    kept: KeptBits,
    features: Features,
    msr_bitmap: &'static mut MsrBitmap,
    queued: QueuedInterrupts,
    /// The next entry is to be prepared.
    busy: bool,
    pub(crate) watch: Watch,
    /// A MOV to CR0 that is being executed again.
    rewritten: Option<Rewritten>,
    trail: &'static Trail,
}

impl VmxVcpu {
    /// A virtual CPU in real mode at `segment`:0, with its VMCS as the current one of this CPU. `None` when the frames do not
    /// suffice.
    ///
    /// # Panics
    /// VMX is not on, or the CPU refuses what its capabilities tell.
    pub fn new(features: &Features, memory: &'static Memory, io_permissions: Hpa, segment: u16) -> Option<Self> {
        let (msr_bitmap, msr_bitmap_at) = policy::msr_bitmap(features)?;
        let places = Places { io_bitmaps: io_permissions, msr_bitmap: msr_bitmap_at, nested: memory.pointer() };
        let vmcs = control_region(features)?;
        // SAFETY: VMX is on; the frame holds the revision and is the CPU's from now on.
        if let Err(fail) = unsafe { instructions::vmclear(vmcs).and_then(|()| instructions::vmptrld(vmcs)) } {
            panic!("VMCLEAR or VMPTRLD fails: {fail}");
        }
        control::set_up(features, &places, segment);
        // What another hypervisor may have left (s. 29.4.3.3).
        memory.invalidate();
        nmi::keep(features.controls.processor);
        let kept = KeptBits::of(features);
        Some(Self {
            vmcs,
            registers: Registers::new(&cpus::this().nmi.attention),
            memory,
            touched: Touched::default(),
            kept,
            features: *features,
            msr_bitmap,
            queued: QueuedInterrupts::default(),
            busy: false,
            watch: Watch::default(),
            rewritten: None,
            trail: trails::of_this_cpu(),
        })
    }

    /// A new start: general purpose and debug registers as after INIT, nothing queued or being delivered, nothing cached.
    fn begin(&mut self) {
        cpu::clear_breakpoints();
        event::clear_debug();
        self.registers.gprs = [0; 16];
        self.set_gpr(Gpr::Rdx, cpu::signature().into());
        self.queued = QueuedInterrupts::default();
        event::deliver_queued(&mut self.queued);
        nmi::forget();
        self.rewritten = None;
        self.memory.invalidate();
    }

    /// Before an entry: what waits for the guest, and when the VMM wants to be back.
    #[cold]
    fn prepare(&mut self) {
        if !self.queued.is_empty() {
            event::deliver_queued(&mut self.queued);
        }
        self.set_timer();
        self.busy = self.watch.is_timed() || !self.queued.is_empty();
    }

    /// The next entry is to be prepared.
    pub(crate) fn make_busy(&mut self) {
        self.busy = true;
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    /// What is cached of the guest's linear addresses is dropped.
    pub(crate) fn flush_translations(&self) {
        self.memory.invalidate();
    }

    /// CS.L counts in IA-32e mode only.
    fn is_in_64_bit_mode(&self) -> bool {
        self.segment(SegmentName::Cs).long && read(Field::GUEST_EFER) & Efer::LMA.bits() != 0
    }

    /// MOV to CR0 or CR4 of a bit that the guest sees but does not have.
    fn on_control_register(&mut self) -> ExitKind {
        let access = ControlRegisterAccess(read(Field::EXIT_QUALIFICATION));
        let value = Gpr::by_number(access.register().into()).map_or(0, |register| self.gpr(register));
        let value = if self.is_in_64_bit_mode() { value } else { value & 0xffff_ffff };
        let fault = match access.number() {
            // The shadow takes the guest's value of the kept bits, and the instruction is executed again: nothing
            // differs any more, so that the CPU itself does all the rest.
            0 if is_plausible_cr0(value) => {
                let shadow = read(Field::CR0_READ_SHADOW);
                write(Field::CR0_READ_SHADOW, shadow & !self.kept.cr0 | value & self.kept.cr0);
                self.watch_rewritten(Rewritten { rip: self.rip(), cr0: read(Field::GUEST_CR0), shadow });
                None
            }
            // VMXE, SMXE, FRED: reserved on a CPU without.
            _ => Some(Exception::GeneralProtection(0)),
        };
        if let Some(exception) = fault {
            event::inject(exception);
        }
        ExitKind::ControlRegister
    }

    /// The instruction is about to be executed again. Whether it is valid depends on more than its value (PDPTEs in memory, the mode):
    /// if not, the CPU raises #GP, which exits.
    fn watch_rewritten(&mut self, rewritten: Rewritten) {
        self.rewritten = Some(rewritten);
        write(Field::EXCEPTION_BITMAP, (EXCEPTIONS | 1 << GENERAL_PROTECTION).into());
    }

    /// The first #GP since.
    fn on_general_protection(&mut self, event: InterruptionInfo) -> Exit {
        write(Field::EXCEPTION_BITMAP, EXCEPTIONS.into());
        let at = (read(Field::GUEST_RIP), read(Field::GUEST_CR0));
        if let Some(rewritten) = self.rewritten.take().filter(|it| (it.rip, it.cr0) == at) {
            write(Field::CR0_READ_SHADOW, rewritten.shadow);
        }
        if !InterruptionInfo(read(Field::IDT_VECTORING_INFORMATION) as u32).is_valid() {
            event::on_exception(event);
            return Exit::Answered(ExitKind::Exception);
        }
        let error = read(Field::VM_EXIT_INTERRUPTION_ERROR_CODE) as u32;
        match second_exception(event::delivered().0, Exception::GeneralProtection(error)) {
            Some(exception) => {
                event::inject(exception);
                Exit::Answered(ExitKind::Exception)
            }
            None => Exit::Shutdown,
        }
    }

    #[cold]
    fn on_exception(&mut self) -> Exit {
        let event = InterruptionInfo(read(Field::VM_EXIT_INTERRUPTION_INFORMATION) as u32);
        if event.kind() == Some(InterruptionKind::Nmi) {
            return nmi::on_nmi();
        }
        if event.vector() == GENERAL_PROTECTION {
            return self.on_general_protection(event);
        }
        event::on_exception(event);
        Exit::Answered(ExitKind::Exception)
    }

    /// The guest was not entered. `None`: it may be tried again.
    #[cold]
    fn on_attention(&mut self) -> Option<Exit> {
        let attention = nmi::take_attention();
        if attention & attention::STALE != 0 {
            self.memory.invalidate();
            self.touched = Touched::default();
        }
        (attention & attention::KICK != 0).then_some(Exit::Signal)
    }

    #[inline(always)]
    fn map_on_demand(&mut self) -> bool {
        let at = Gpa(read(Field::GUEST_PHYSICAL_ADDRESS));
        self.touched.retries(at, self.memory.map_on_demand(at))
    }

    fn on_xsetbv(&mut self) -> ExitKind {
        // On a CPU the privilege comes first (s. 26.1.1), in Bochs 2.7 the exit does.
        if self.cpl() != 0 {
            event::inject(Exception::GeneralProtection(0));
            return ExitKind::Xsetbv;
        }
        let value = self.gpr(Gpr::Rdx) << 32 | self.gpr(Gpr::Rax) & 0xffff_ffff;
        // SAFETY: the guest's own register, CR4.OSXSAVE is set; the VMM asks before it uses state that XCR0 enables.
        match unsafe { xcr::write(self.gpr(Gpr::Rcx) as u32, value) } {
            Some(()) => self.skip_instruction(read(Field::VM_EXIT_INSTRUCTION_LENGTH) as u8),
            None => event::inject(Exception::GeneralProtection(0)),
        }
        ExitKind::Xsetbv
    }

    #[cold]
    fn other(&mut self, reason: ExitReason) -> Exit {
        if reason.is_entry_failure() {
            return refused::guest_state(&self.features, reason);
        }
        match reason.basic() {
            BasicReason::EXCEPTION_OR_NMI => self.on_exception(),
            BasicReason::NMI_WINDOW => {
                nmi::on_window();
                Exit::Answered(ExitKind::NmiWindow)
            }
            BasicReason::EXTERNAL_INTERRUPT => self.on_interrupt(),
            BasicReason::PREEMPTION_TIMER => self.on_timer(),
            // What waits goes with the next entry.
            BasicReason::INTERRUPT_WINDOW => Exit::Answered(ExitKind::InterruptWindow),
            BasicReason::CONTROL_REGISTER_ACCESS => Exit::Answered(self.on_control_register()),
            BasicReason::XSETBV => Exit::Answered(self.on_xsetbv()),
            BasicReason::TASK_SWITCH => Exit::TaskSwitch,
            BasicReason::VMCALL => Exit::Hypercall,
            BasicReason::VMCLEAR
            | BasicReason::VMLAUNCH
            | BasicReason::VMPTRLD
            | BasicReason::VMPTRST
            | BasicReason::VMREAD
            | BasicReason::VMRESUME
            | BasicReason::VMWRITE
            | BasicReason::VMXOFF
            | BasicReason::VMXON
            | BasicReason::INVEPT
            | BasicReason::INVVPID
            | BasicReason::VMFUNC
            | BasicReason::GETSEC
            // Exit on every CPU with TDX, whatever the controls say.
            | BasicReason::SEAMCALL
            | BasicReason::TDCALL => Exit::VirtualizationInstruction,
            BasicReason::HLT => Exit::Halt,
            BasicReason::INVD => {
                // The exit itself has written nothing that INVD could have dropped.
                cpu::write_back_caches();
                Exit::InvalidateCaches
            }
            BasicReason::TRIPLE_FAULT => Exit::Shutdown,
            // It is consumed by the exit (s. 26.2).
            BasicReason::INIT_SIGNAL => Exit::Init,
            // An instruction of a CPU that is younger than this list.
            unknown if unknown.words().is_none() => Exit::VirtualizationInstruction,
            _ => {
                log::error!("nobody asked for this VM exit: {reason:?}");
                Exit::Unexpected(reason.0)
            }
        }
    }
}

/// The conditions of MOV to CR0 that depend on the value alone (SDM Vol. 2B, MOV).
fn is_plausible_cr0(value: u64) -> bool {
    let has = |bit| value & bit != 0;
    value >> 32 == 0 && (has(CR0_PE) || !has(CR0_PG)) && (has(CR0_CD) || !has(CR0_NW))
}

/// The first of the four fields of a segment register.
pub(crate) fn selector_field(name: SegmentName) -> Field {
    match name {
        SegmentName::Es => Field::GUEST_ES_SELECTOR,
        SegmentName::Cs => Field::GUEST_CS_SELECTOR,
        SegmentName::Ss => Field::GUEST_SS_SELECTOR,
        SegmentName::Ds => Field::GUEST_DS_SELECTOR,
        SegmentName::Fs => Field::GUEST_FS_SELECTOR,
        SegmentName::Gs => Field::GUEST_GS_SELECTOR,
    }
}

pub(crate) fn segment_at(selector: Field) -> Segment {
    let [selector, base, limit, access] = segment_fields(selector);
    let rights = AccessRights::from_bits_retain(read(access) as u32);
    Segment {
        selector: read(selector) as u16,
        base: read(base),
        limit: read(limit) as u32,
        long: rights.contains(AccessRights::LONG),
        default_32: rights.contains(AccessRights::DEFAULT_32),
        access: if rights.is_usable() { rights.bits() as u8 } else { 0 },
    }
}

impl Vcpu for VmxVcpu {
    #[inline(always)]
    fn run(&mut self) -> Exit {
        loop {
            if self.busy {
                self.prepare();
            }
            // SAFETY: VMX is on, the VMCS is complete, and its nested tables leave VMM memory out.
            let entry = unsafe { switch::run(&mut self.registers) };
            if entry == Entry::ABANDONED {
                match self.on_attention() {
                    Some(exit) => return exit,
                    None => continue,
                }
            }
            if entry != Entry::EXITED {
                return refused::instruction(&self.features, entry);
            }
            let reason = ExitReason(read(Field::EXIT_REASON) as u32);
            self.trail.note(reason.0, read(Field::GUEST_RIP));
            return match reason.basic() {
                BasicReason::CPUID => Exit::Cpuid,
                BasicReason::IO_INSTRUCTION => Exit::Io,
                BasicReason::RDMSR => Exit::ReadMsr,
                BasicReason::WRMSR => Exit::WriteMsr,
                BasicReason::EPT_VIOLATION => {
                    nmi::undo_unblocking(ept_violation().contains(EptViolation::NMI_UNBLOCKED_BY_IRET));
                    if self.map_on_demand() {
                        self.reinject();
                        continue;
                    }
                    Exit::NestedFault
                }
                _ => self.other(reason),
            };
        }
    }

    #[inline(always)]
    fn io(&self) -> IoExit {
        let info = IoQualification::from_bits_retain(read(Field::EXIT_QUALIFICATION));
        IoExit {
            port: info.port(),
            width: match info.width_bytes() {
                1 => Width::Byte,
                2 => Width::Word,
                _ => Width::Dword,
            },
            input: info.contains(IoQualification::IN),
            string: info.contains(IoQualification::STRING),
            rep: info.contains(IoQualification::REP),
        }
    }

    fn nested_fault(&self) -> NestedFault {
        let info = ept_violation();
        let event = InterruptionInfo(read(Field::IDT_VECTORING_INFORMATION) as u32);
        NestedFault {
            gpa: Gpa(read(Field::GUEST_PHYSICAL_ADDRESS)),
            write: info.contains(EptViolation::WRITE),
            fetch: info.contains(EptViolation::FETCH),
            page_walk: info.contains(EptViolation::LINEAR_ADDRESS_VALID) && !info.contains(EptViolation::FINAL),
            delivering: event.is_valid().then(|| event::delivered().0),
        }
    }

    fn gpr(&self, register: Gpr) -> u64 {
        match register {
            Gpr::Rsp => read(Field::GUEST_RSP),
            other => self.registers.gprs[other as usize],
        }
    }

    fn set_gpr(&mut self, register: Gpr, value: u64) {
        match register {
            Gpr::Rsp => write(Field::GUEST_RSP, value),
            other => self.registers.gprs[other as usize] = value,
        }
    }

    fn rip(&self) -> u64 {
        read(Field::GUEST_RIP)
    }

    fn rflags(&self) -> u64 {
        read(Field::GUEST_RFLAGS)
    }

    fn set_rflags(&mut self, value: u64) {
        write(Field::GUEST_RFLAGS, value);
    }

    fn segment(&self, name: SegmentName) -> Segment {
        segment_at(selector_field(name))
    }

    fn control(&self) -> ControlRegisters {
        let shown = |value, shadow, kept: u64| read(value) & !kept | read(shadow) & kept;
        ControlRegisters {
            cr0: shown(Field::GUEST_CR0, Field::CR0_READ_SHADOW, self.kept.cr0),
            cr3: read(Field::GUEST_CR3),
            cr4: shown(Field::GUEST_CR4, Field::CR4_READ_SHADOW, self.kept.cr4),
            efer: read(Field::GUEST_EFER),
        }
    }

    fn set_efer(&mut self, value: u64) {
        write(Field::GUEST_EFER, value);
    }

    fn memory_types_changed(&mut self, types: &Mtrrs) {
        self.memory.set_types(types);
    }

    fn tsc_offset(&self) -> u64 {
        read(Field::TSC_OFFSET)
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        write(Field::TSC_OFFSET, offset);
        self.msr_bitmap.intercept(msr::TSC_DEADLINE, offset != 0, offset != 0);
    }

    fn set_counter_control(&mut self, value: u64) {
        write(Field::GUEST_PERF_GLOBAL_CTRL, value);
    }

    fn cpl(&self) -> u8 {
        // The DPL of SS always is the CPL (s. 25.4.1).
        AccessRights::from_bits_retain(read(Field::GUEST_SS_ACCESS_RIGHTS) as u32).dpl()
    }

    fn instruction_len(&self) -> Option<u8> {
        Some(read(Field::VM_EXIT_INSTRUCTION_LENGTH) as u8)
    }

    #[inline(always)]
    fn skip_instruction(&mut self, len_bytes: u8) {
        let next = read(Field::GUEST_RIP).wrapping_add(len_bytes.into());
        let wraps = next >> 32 != 0 && !self.is_in_64_bit_mode();
        write(Field::GUEST_RIP, if wraps { next & 0xffff_ffff } else { next });
        let shadow = Interruptibility::BLOCKING_BY_STI | Interruptibility::BLOCKING_BY_MOV_SS;
        let state = read(Field::GUEST_INTERRUPTIBILITY_STATE);
        if state & u64::from(shadow.bits()) != 0 {
            write(Field::GUEST_INTERRUPTIBILITY_STATE, state & !u64::from(shadow.bits()));
        }
        let flags = read(Field::GUEST_RFLAGS);
        if flags & (RFLAGS_TRAP | RFLAGS_RESUME) != 0 {
            end_instruction(flags);
        }
    }

    #[inline(always)]
    fn skip_io(&mut self) {
        self.skip_instruction(read(Field::VM_EXIT_INSTRUCTION_LENGTH) as u8);
    }

    fn inject(&mut self, exception: Exception) {
        event::inject(exception);
    }

    fn reinject(&mut self) {
        event::reinject();
    }

    fn queue_interrupt(&mut self, vector: u8) {
        self.queued.insert(vector);
        self.busy = true;
    }

    fn set_recall(&mut self, recall: Recall) {
        self.watch_for(recall);
    }

    fn halt(&mut self, len_bytes: u8) {
        // With IF = 0 it is executed again: what is queued does not end it.
        if self.rflags() & RFLAGS_IF != 0 {
            self.skip_instruction(len_bytes);
        }
    }

    fn start(&mut self, page: u8) {
        control::start(&self.features, page);
        self.begin();
    }

    fn put_away(&mut self) {
        // SAFETY: VMX is on, and the VMCS is this CPU's.
        if let Err(fail) = unsafe { instructions::vmclear(self.vmcs) } {
            panic!("VMCLEAR fails: {fail}");
        }
        self.registers.relaunch();
    }

    fn take_up(&mut self) {
        // SAFETY: VMX is on; the VMCS was cleared.
        if let Err(fail) = unsafe { instructions::vmptrld(self.vmcs) } {
            panic!("VMPTRLD fails: {fail}");
        }
        event::write_windows();
    }

    fn wake(&mut self, vector: WakingVector) {
        control::wake(&self.features, vector);
        self.begin();
        // The firmware has set the MTRRs anew.
        self.memory.follow_firmware();
    }

    fn task_state(&mut self) -> Option<&mut dyn TaskState> {
        Some(self)
    }
}

/// RF ends with the instruction; TF raises the trap that the instruction would have raised (SDM Vol. 3B s. 18.3.1.4).
#[cold]
fn end_instruction(flags: u64) {
    write(Field::GUEST_RFLAGS, flags & !RFLAGS_RESUME);
    if flags & RFLAGS_TRAP != 0 && read(Field::GUEST_DEBUGCTL) & DEBUGCTL_BTF == 0 {
        let pending = read(Field::GUEST_PENDING_DEBUG_EXCEPTIONS) | PendingDebug::BS.bits();
        write(Field::GUEST_PENDING_DEBUG_EXCEPTIONS, pending);
    }
}

fn ept_violation() -> EptViolation {
    EptViolation::from_bits_retain(read(Field::EXIT_QUALIFICATION))
}
