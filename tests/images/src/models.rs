//! The CPU models of Bochs that the guests run on, and which guest cannot run on which.

use crate::{Board, TinyGuest};

/// A CPU that Bochs can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model {
    /// As `bochs-bin --help cpu` lists it.
    pub name: &'static str,
    /// Runs with every change; the others in long runs only, but for [`Model::even_so`].
    pub always: bool,
    /// Guests that run with every change all the same: what they are about is on no other model.
    pub even_so: &'static [&'static str],
    /// As many as it can be made of, and no more than Bochs gets through in reasonable time.
    pub cpus: u32,
    /// What it is there for.
    pub purpose: &'static str,
}

/// All of them.
pub const MODELS: &[Model] = &[
    Model { name: "corei7_haswell_4770", always: true, even_so: &[], cpus: 2, purpose: "VT-x" },
    Model {
        name: "corei7_skylake_x",
        always: false,
        even_so: &[],
        cpus: 2,
        purpose: "VT-x with PML and TSC scaling, AVX-512",
    },
    Model { name: "tigerlake", always: false, even_so: &["fpu"], cpus: 2, purpose: "VT-x of today, CET, VAES-512" },
    Model {
        name: "trinity_apu",
        always: true,
        even_so: &[],
        cpus: AMD_CPUS,
        purpose: "AMD-V with next RIP save and flush by ASID",
    },
    Model {
        name: "phenom_8650_toliman",
        always: false,
        even_so: &[],
        cpus: AMD_CPUS,
        purpose: "AMD-V of the first CPUs with nested paging",
    },
];

/// Bochs 2.7 has AMD-V for machines of one CPU.
const AMD_CPUS: u32 = 1;

/// What is left out, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exclusion {
    pub guest: &'static str,
    /// `None`: on all models.
    pub model: Option<&'static str>,
    /// On machines of so many CPUs and more.
    pub from_cpus: u32,
    pub why: &'static str,
}

/// All that is left out.
pub const EXCLUSIONS: &[Exclusion] = &[
    Exclusion {
        guest: "fpu",
        model: Some("phenom_8650_toliman"),
        from_cpus: 1,
        why: "the CPU has no XSAVE and no AVX, which are half of the guest",
    },
    Exclusion { guest: "debug", model: Some("trinity_apu"), from_cpus: 1, why: NO_DR6 },
    Exclusion { guest: "debug", model: Some("phenom_8650_toliman"), from_cpus: 1, why: NO_DR6 },
    Exclusion { guest: "task_switch", model: Some("trinity_apu"), from_cpus: 1, why: NO_DR6 },
    Exclusion { guest: "task_switch", model: Some("phenom_8650_toliman"), from_cpus: 1, why: NO_DR6 },
    Exclusion { guest: "control_regs", model: Some("trinity_apu"), from_cpus: 1, why: PAGED_REAL_MODE },
    Exclusion { guest: "control_regs", model: Some("phenom_8650_toliman"), from_cpus: 1, why: PAGED_REAL_MODE },
    Exclusion {
        guest: "ecam",
        model: None,
        from_cpus: 1,
        why: "Bochs' chipsets have configuration space by ports only",
    },
    Exclusion { guest: "legacy", model: Some("trinity_apu"), from_cpus: 1, why: NO_V86 },
    Exclusion { guest: "legacy", model: Some("phenom_8650_toliman"), from_cpus: 1, why: NO_V86 },
    Exclusion { guest: "deadlines", model: Some("trinity_apu"), from_cpus: 1, why: NO_INTR_MASKING },
    Exclusion { guest: "deadlines", model: Some("phenom_8650_toliman"), from_cpus: 1, why: NO_INTR_MASKING },
    Exclusion { guest: "triple_fault", model: None, from_cpus: 2, why: NO_RESET },
    Exclusion { guest: "self_ipi", model: None, from_cpus: 2, why: NO_RESET },
    Exclusion { guest: "mmio_forms", model: None, from_cpus: 2, why: NO_RESET },
    Exclusion { guest: "vm_entry", model: Some("trinity_apu"), from_cpus: 1, why: USES_VTX },
    Exclusion { guest: "vm_entry", model: Some("phenom_8650_toliman"), from_cpus: 1, why: USES_VTX },
];
const NO_DR6: &str = "Bochs 2.7 does not write DR6 into the VMCB when #DB is intercepted (APM Vol. 2 15.12.2 wants it)";
const PAGED_REAL_MODE: &str =
    "Bochs 2.7 lets a guest of AMD-V clear CR0.PE under paging, which only VMRUN may, and panics at it";
const NO_V86: &str = "Bochs 2.7 panics at a #VMEXIT from virtual-8086 mode: it looks at RFLAGS.VM before it has loaded the host's RFLAGS";
const NO_INTR_MASKING: &str = "in Bochs 2.7 an interrupt does not leave a guest that loops with RFLAGS.IF = 0, though V_INTR_MASKING and the \
                               host's IF are set (APM Vol. 2 15.21.1); as observed, the cause was not looked for. In QEMU it does";
const NO_RESET: &str = "Bochs 2.7 with two CPUs does not come up after a reset by CF9h: the clock of its devices stands still, and the \
                        BIOS finds no keyboard";
const USES_VTX: &str = "it uses VT-x itself";

impl Model {
    /// Does this guest run on it with every change?
    pub fn always_runs(&self, guest: &TinyGuest) -> bool {
        self.always || self.even_so.contains(&guest.name)
    }

    /// Why a guest does not run on this model at all, if so.
    pub fn excludes(&self, guest: &TinyGuest) -> Option<&'static str> {
        let reasons: Option<Vec<_>> = guest.cpus.iter().map(|&cpus| self.excludes_with(guest, cpus)).collect();
        reasons.map(|reasons| reasons.first().copied().unwrap_or("it wants no CPU"))
    }

    /// Why it does not run on a machine with so many of these CPUs, if so.
    pub fn excludes_with(&self, guest: &TinyGuest, cpus: u32) -> Option<&'static str> {
        if cpus > self.cpus {
            return Some("it has too few CPUs");
        }
        if matches!(guest.board, Board::Ahci | Board::Nvme) {
            return Some("Bochs 2.7 has no such controller");
        }
        let applies = |e: &&Exclusion| {
            e.guest == guest.name && e.model.is_none_or(|model| model == self.name) && cpus >= e.from_cpus
        };
        EXCLUSIONS.iter().find(applies).map(|exclusion| exclusion.why)
    }
}

/// The model of this name.
pub fn model(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

#[cfg(test)]
mod tests {
    use super::{EXCLUSIONS, MODELS, model};
    use crate::{Board, GUESTS, TinyGuest, guest};

    #[test]
    fn every_exclusion_names_a_guest_and_a_model_and_leaves_models_for_most_guests() {
        for exclusion in EXCLUSIONS {
            assert!(guest(exclusion.guest).is_some(), "{}", exclusion.guest);
            assert!(exclusion.model.is_none_or(|name| model(name).is_some()), "{:?}", exclusion.model);
            assert!(!exclusion.why.is_empty());
        }
        // Those that want several CPUs, or a controller that Bochs has not, do not run there by their nature.
        let is_ordinary =
            |guest: &&TinyGuest| guest.cpus.contains(&1) && !matches!(guest.board, Board::Ahci | Board::Nvme);
        let one_cpu: Vec<_> = GUESTS.iter().filter(is_ordinary).collect();
        let everywhere = one_cpu.iter().filter(|guest| MODELS.iter().all(|model| model.excludes(guest).is_none()));
        assert!(everywhere.count() * 4 > one_cpu.len() * 3);
    }
}
