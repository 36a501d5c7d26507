//! One guest: what all of its CPUs share.

use crate::calls::Allowed;
use crate::counters::{Counters, Notices};
use crate::hooks::HookedPage;
use crate::hypercall::Firmware;
use crate::local_apic::LocalApics;
use crate::msr_refusals::MsrRefusals;
use crate::walk::PagingFeatures;
use crate::{Bus, Callers, FirmwareCall, Machine, Policy, msr};
use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;
use lock::{Ranked, rank::COUNTERS};
use mediator::Gpa;

/// The state of one guest; nothing of it is global. Made while one CPU runs, then shared by all: see [`crate::Cpu`].
pub struct Guest {
    pub bus: Bus,
    pub(crate) policy: Policy,
    pub(crate) hypercalls: bool,
    pub(crate) defects: bool,
    pub(crate) calls: Allowed,
    pub(crate) firmware: Option<Firmware>,
    pub(crate) paging: PagingFeatures,
    /// Bits of EFER that the guest may set.
    pub(crate) efer_bits: u64,
    pub(crate) notices: Notices,
    pub(crate) msr_refusals: MsrRefusals,
    pub(crate) local_apics: Option<LocalApics>,
    /// Where accesses that leave the guest are those to its local APIC, guarded or not.
    pub(crate) local_apic_page: Option<Gpa>,
    pub(crate) hooked_pages: Vec<HookedPage>,
    /// Of each CPU, with its number.
    counters: Ranked<Vec<(usize, Arc<Counters>)>, COUNTERS>,
}

impl Guest {
    /// A guest on `machine` whose ports all pass. `policy`: that of the CPU's vendor. `hypercalls`: debug hypercalls are
    /// answered.
    pub fn new<M: Machine>(machine: &mut M, policy: Policy, hypercalls: bool) -> Self {
        Self {
            bus: Bus::new(),
            policy,
            hypercalls,
            defects: false,
            calls: Allowed::default(),
            firmware: None,
            paging: PagingFeatures::detect(machine),
            efer_bits: msr::efer_bits(machine),
            notices: Notices::default(),
            msr_refusals: MsrRefusals::default(),
            local_apics: None,
            local_apic_page: None,
            hooked_pages: Vec::new(),
            counters: Ranked::default(),
        }
    }

    /// Where debug hypercalls are answered, one of them provokes defects of the VMM.
    pub fn allow_defects(&mut self) {
        self.defects = true;
    }

    /// The guest may make the hypercall of this name, one that was given to [`crate::register`]. False: there is none.
    pub fn allow_call(&mut self, name: &str, callers: Callers) -> bool {
        self.calls.allow(name, callers)
    }

    /// The hypercall instruction at the linear address `at` calls `handler`, whether or not debug hypercalls are answered.
    pub fn set_firmware_call(&mut self, at: u64, handler: Box<dyn FirmwareCall>) {
        self.firmware = Some(Firmware { at, handler: Ranked::new(handler) });
    }

    /// Counters for one more CPU.
    pub(crate) fn add_counters(&self, number: usize) -> Arc<Counters> {
        let counters = Arc::<Counters>::default();
        self.counters.lock().push((number, Arc::clone(&counters)));
        counters
    }

    /// Those of each CPU that has started, with its number.
    ///
    /// # Errors
    /// The heap has no room for the list: a guest's calls ask for it.
    pub fn counters(&self) -> Result<Vec<(usize, Arc<Counters>)>, TryReserveError> {
        let counters = self.counters.lock();
        let mut all = Vec::new();
        all.try_reserve_exact(counters.len())?;
        all.extend_from_slice(&counters);
        Ok(all)
    }

    /// Writes the exit counters to the log, those of all CPUs together.
    pub fn log_counters(&self) {
        for (name, count) in Counters::sum(&self.counters.lock()) {
            log::info!("exits: {name}: {count}");
        }
    }
}
