//! The checker of VM entries against the CPU: thousands of virtual machines, valid ones and randomly changed ones, are
//! entered for real, and the CPU must refuse what the checker refuses, at the stage that it names, and nothing else.
//!
//! The guests run nowhere: the preemption timer is 0, and the nested tables are empty. On the bare machine only.

use crate::machine::cpu;
use crate::machine::memory::{buffer, buffer_address, peek, poke};
use crate::machine::vmx::{self, Launch};
use core::arch::asm;
use x86::vmx::entry_check::mutations::{Random, mutate};
use x86::vmx::entry_check::samples::{Mode, Sample, valid};
use x86::vmx::entry_check::{Broken, Cpu, Stage, check};
use x86::vmx::{AccessRights, ActivityState, Area, BasicReason, ExitReason, Field, InterruptionInfo, InterruptionKind};

const ROUNDS: usize = 10_000;
const SEED: u64 = 2024;
/// Disagreements that are printed.
const SHOWN: u32 = 20;
/// What a visit to the guest may change, since exits need not load them.
const MSRS: [u32; 2] = [cpu::EFER, x86::msr::PAT];

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Entered,
    /// At this stage.
    Refused(Stage),
    Other(u64),
}

/// Where Bochs 2.7 does not do what the manual says.
struct Deviation {
    why: &'static str,
    /// The rule is not there, for this VMCS.
    lacks: fn(&Broken, &Sample, &Cpu) -> bool,
    /// A rule of Bochs' own, or one that is found at another stage.
    adds: fn(&Sample) -> Option<Stage>,
}

const DEVIATIONS: &[Deviation] = &[
    Deviation {
        why: "IA32_DEBUGCTL is not checked",
        lacks: |rule, _, _| rule.field == Field::GUEST_DEBUGCTL,
        adds: |_| None,
    },
    Deviation {
        why: "of the pending debug exceptions 32 bits are kept",
        lacks: |rule, _, _| {
            rule.field == Field::GUEST_PENDING_DEBUG_EXCEPTIONS && rule.bits != 0 && rule.bits & 0xffff_ffff == 0
        },
        adds: |_| None,
    },
    Deviation {
        why: "any event may be injected into HLT",
        lacks: |rule, sample, _| rule.rule.contains("wake") && sample.get(Field::GUEST_ACTIVITY_STATE) == 1,
        adds: |_| None,
    },
    Deviation {
        why: "BS of the pending debug exceptions is not compared with RFLAGS.TF",
        lacks: |rule, _, _| rule.rule.contains("BS must be"),
        adds: |_| None,
    },
    Deviation {
        why: "a 64-bit RIP may have any bits",
        lacks: |rule, _, _| rule.field == Field::GUEST_RIP && rule.rule.contains("linear-address width"),
        adds: |_| None,
    },
    Deviation {
        why: "DPL of CS is compared with RPL of CS, not with DPL of SS",
        lacks: |rule, _, _| rule.field == Field::GUEST_CS_ACCESS_RIGHTS && rule.rule.contains("of SS"),
        adds: |sample| wrong_code_rpl(sample).then_some(Stage::GuestState),
    },
    Deviation {
        why: "CPUs that inject exceptions with or without error code inject any event with one",
        lacks: |rule, _, cpu| rule.rule.contains("has no error code") && cpu.capabilities.basic.error_code_is_free(),
        adds: |_| None,
    },
    Deviation {
        why: "entry to SMM from outside is found among the rules for the guest",
        lacks: |rule, _, _| rule.field == Field::VM_ENTRY_CONTROLS && rule.bits == ENTRY_TO_SMM,
        adds: |sample| (sample.get(Field::VM_ENTRY_CONTROLS) & ENTRY_TO_SMM != 0).then_some(Stage::GuestState),
    },
];

const ENTRY_TO_SMM: u64 = 1 << 10;

/// What Bochs finds wrong with the RPL of a code segment.
fn wrong_code_rpl(sample: &Sample) -> bool {
    let rights = AccessRights::from_bits_retain(sample.get(Field::GUEST_CS_ACCESS_RIGHTS) as u32);
    let rpl = (sample.get(Field::GUEST_CS_SELECTOR) & 3) as u8;
    let virtual_8086 = sample.get(Field::GUEST_RFLAGS) & 1 << 17 != 0;
    match rights.segment_type() {
        _ if virtual_8086 => false,
        9 | 11 => rpl != rights.dpl(),
        13 | 15 => rpl < rights.dpl(),
        _ => false,
    }
}

impl Verdict {
    /// With the stages at which rules are broken. Controls and host state are checked in any order.
    fn agrees(self, [controls, host_state, guest]: [bool; 3]) -> bool {
        match self {
            Self::Entered => !(controls || host_state || guest),
            Self::Refused(Stage::Controls) => controls,
            Self::Refused(Stage::HostState) => host_state,
            Self::Refused(Stage::GuestState) => guest && !(controls || host_state),
            Self::Other(_) => false,
        }
    }
}

/// Pages in a buffer of this guest's own.
struct Pages {
    vmxon: u64,
    vmcs: u64,
    zeroes: u64,
}

/// The CPU that is asked, and what it has said so far.
struct Trial {
    pages: Pages,
    cpu: Cpu,
    counts: Counts,
}

pub fn run() {
    if crate::guests::shoji() {
        crate::report::fail(format_args!("this guest is for the bare machine"));
    }
    check!(cpu::cpuid(1).ecx & x86::vmx::cpuid::VMX != 0, "the CPU has no VMX");
    buffer(1).fill(0);
    let first = buffer_address(1);
    let pages = Pages { vmxon: first, vmcs: first + 0x1000, zeroes: first + 0x2000 };
    let cpu = describe(pages.vmxon);
    poke(pages.vmcs, cpu.capabilities.basic.revision());
    let mut trial = Trial { pages, cpu, counts: Counts::default() };
    for (mode, unrestricted) in Mode::ALL.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        trial.attempt(mode, unrestricted, |_, _| {});
        access_rights(&mut trial, mode, unrestricted);
    }
    let mut random = Random::new(SEED);
    for round in 0..ROUNDS {
        let unrestricted = random.below(2) == 0;
        trial.attempt(Mode::ALL[round % Mode::ALL.len()], unrestricted, |sample, cpu| mutate(sample, cpu, &mut random));
    }
    trial.counts.conclude();
}

/// Each type, and each other bit, of each segment register.
fn access_rights(trial: &mut Trial, mode: Mode, unrestricted: bool) {
    for register in 0..8 {
        let field = Field(Field::GUEST_ES_ACCESS_RIGHTS.0 + 2 * register);
        for kind in 0..16 {
            trial.attempt(mode, unrestricted, |sample, _| sample.set(field, sample.get(field) & !0xf | kind));
        }
        for bit in 4..18 {
            trial.attempt(mode, unrestricted, |sample, _| sample.set(field, sample.get(field) ^ 1 << bit));
        }
    }
}

/// The CPU as the checker wants to know it; VMX is on afterwards.
fn describe(vmxon: u64) -> Cpu {
    let widths = cpu::cpuid(x86::vmx::cpuid::ADDRESS_WIDTHS).eax;
    let features = cpu::cpuid(7);
    Cpu {
        capabilities: vmx::enable(vmxon),
        physical_bits: widths as u8,
        linear_bits: (widths >> 8) as u8,
        long_mode: true,
        bus_lock_detection: features.ecx & 1 << 24 != 0,
        rtm: features.ebx & 1 << 11 != 0,
        sgx: features.ebx & 1 << 2 != 0,
    }
}

/// Host state: this program's.
fn host(sample: &mut Sample) {
    let (mut gdtr, mut idtr) = ([0_u8; 10], [0_u8; 10]);
    // SAFETY: store the two registers, ten bytes each.
    unsafe {
        asm!("sgdt [{}]", in(reg) &raw mut gdtr);
        asm!("sidt [{}]", in(reg) &raw mut idtr);
    }
    let base = |register: &[u8; 10]| u64::from_le_bytes(core::array::from_fn(|i| register[2 + i]));
    let tss: u64 = peek(base(&gdtr) + 0x40);
    let [efer, pat] = MSRS.map(|msr| cpu::rdmsr(msr).unwrap_or(0));
    for (field, value) in [
        (Field::HOST_CR0, cpu::cr0()),
        (Field::HOST_CR3, cpu::cr3()),
        (Field::HOST_CR4, cpu::cr4()),
        (Field::HOST_EFER, efer),
        (Field::HOST_PAT, pat),
        (Field::HOST_CS_SELECTOR, 0x18),
        (Field::HOST_SS_SELECTOR, 0x10),
        (Field::HOST_DS_SELECTOR, 0x10),
        (Field::HOST_ES_SELECTOR, 0x10),
        (Field::HOST_FS_SELECTOR, 0x10),
        (Field::HOST_GS_SELECTOR, 0x10),
        (Field::HOST_TR_SELECTOR, 0x40),
        (Field::HOST_TR_BASE, tss >> 16 & 0xff_ffff | tss >> 56 << 24),
        (Field::HOST_GDTR_BASE, base(&gdtr)),
        (Field::HOST_IDTR_BASE, base(&idtr)),
        (Field::HOST_RIP, vmx::exit_address()),
    ] {
        sample.set(field, value);
    }
}

impl Trial {
    /// Changes a valid VMCS, and asks the checker and the CPU.
    fn attempt(&mut self, mode: Mode, unrestricted: bool, change: impl FnOnce(&mut Sample, &Cpu)) {
        let Some(mut before) = valid(&self.cpu, mode, unrestricted, self.pages.zeroes) else { return };
        host(&mut before);
        let mut sample = before.clone();
        change(&mut sample, &self.cpu);
        let broken = check(&self.cpu, &|field| sample.get(field));
        let mut stages = [false; 3];
        broken.iter().for_each(|rule| stages[rule.stage as usize] = true);
        let deviant = deviant_stages(&broken, &sample, &self.cpu);
        if never_comes_back(&sample, deviant) {
            self.counts.skipped += 1;
            return;
        }
        let verdict = enter(&self.pages, &sample);
        self.counts.count(verdict);
        if verdict.agrees(stages) {
            return;
        }
        if verdict.agrees(deviant) {
            self.counts.deviations += 1;
            return;
        }
        self.counts.disagreements += 1;
        if self.counts.disagreements <= SHOWN {
            say!("{mode:?}, unrestricted {unrestricted}: the CPU says {verdict:x?}, the checker:");
            broken.iter().for_each(|rule| say!("  {:?}: {rule}", rule.stage));
            for field in Field::all().filter(|field| sample.get(*field) != before.get(*field)) {
                say!("  changed: {field} {:#x} -> {:#x}", before.get(field), sample.get(field));
            }
        }
    }
}

/// The stages at which Bochs finds broken rules.
fn deviant_stages(all: &[Broken], sample: &Sample, cpu: &Cpu) -> [bool; 3] {
    let mut stages = [false; 3];
    let stands = |rule: &&Broken| !DEVIATIONS.iter().any(|deviation| (deviation.lacks)(rule, sample, cpu));
    all.iter().filter(stands).for_each(|rule| stages[rule.stage as usize] = true);
    DEVIATIONS.iter().filter_map(|deviation| (deviation.adds)(sample)).for_each(|stage| stages[stage as usize] = true);
    stages
}

/// The preemption timer does not end shutdown and wait-for-SIPI; Bochs 2.7 panics at a pending monitor-trap-flag exit.
fn never_comes_back(sample: &Sample, stages: [bool; 3]) -> bool {
    let asleep = sample.get(Field::GUEST_ACTIVITY_STATE) > ActivityState::Hlt as u64;
    let event = InterruptionInfo(sample.get(Field::VM_ENTRY_INTERRUPTION_INFORMATION) as u32);
    let pending_mtf = event.is_valid() && event.kind() == Some(InterruptionKind::Other);
    pending_mtf || asleep && stages == [false; 3]
}

fn enter(pages: &Pages, sample: &Sample) -> Verdict {
    vmx::load(pages.vmcs);
    for field in Field::all().filter(|field| field.area() != Area::ExitInformation) {
        let value = sample.get(field);
        let written = vmx::write(field, value);
        check!(written || !matters(field), "VMWRITE of {field}");
    }
    let saved = MSRS.map(|msr| cpu::rdmsr(msr).unwrap_or(0));
    // SAFETY: host state is this program's, or breaks a rule; the guest's tables are empty, so that it touches nothing.
    let launch = unsafe { vmx::launch() };
    for (msr, value) in MSRS.into_iter().zip(saved) {
        // SAFETY: what they held before.
        let restored = unsafe { cpu::wrmsr(msr, value) };
        check!(restored.is_ok(), "MSR {msr:#x} cannot be restored");
    }
    match launch {
        Launch::FailInvalid => Verdict::Other(u64::MAX),
        Launch::FailValid => match vmx::read(Field::VM_INSTRUCTION_ERROR) {
            7 => Verdict::Refused(Stage::Controls),
            8 => Verdict::Refused(Stage::HostState),
            other => Verdict::Other(other),
        },
        Launch::Exit => {
            let reason = ExitReason(vmx::read(Field::EXIT_REASON) as u32);
            match (reason.is_entry_failure(), reason.basic()) {
                (false, _) => Verdict::Entered,
                (true, BasicReason::INVALID_GUEST_STATE) => Verdict::Refused(Stage::GuestState),
                (true, _) => Verdict::Other(reason.0.into()),
            }
        }
    }
}

/// Fields that every CPU has which runs this guest.
fn matters(field: Field) -> bool {
    matches!(field, Field::EPT_POINTER | Field::PIN_CONTROLS | Field::HOST_RIP | Field::GUEST_EFER | Field::HOST_EFER)
}

#[derive(Default)]
struct Counts {
    entered: u32,
    /// By stage.
    refused: [u32; 3],
    skipped: u32,
    deviations: u32,
    disagreements: u32,
}

impl Counts {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Entered => self.entered += 1,
            Verdict::Refused(stage) => self.refused[stage as usize] += 1,
            Verdict::Other(_) => {}
        }
    }

    fn conclude(&self) {
        let Self { entered, refused: [controls, host_state, guest], skipped, deviations, disagreements } = *self;
        say!("entered {entered}; refused: controls {controls}, host state {host_state}, guest state {guest}");
        say!(
            "not tried (shutdown, wait for SIPI, pending MTF exit) {skipped}; known deviations {deviations}; disagreements {disagreements}"
        );
        DEVIATIONS.iter().for_each(|deviation| say!("known deviation: {}", deviation.why));
        check!(entered.min(controls).min(host_state).min(guest) > 200, "some verdict is hardly ever met");
        check_eq!(disagreements, 0, "the checker and the CPU disagree");
    }
}
