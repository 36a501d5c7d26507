//! Pages of device memory that are hooked in the nested tables, and whose they are.

use crate::ecam::ConfigPage;
use crate::local_apic::{self, MESSAGES};
use crate::mediated_memory::Registers;
use crate::mmio::{MmioAccess, Operand};
use crate::{Guest, Machine, Vcpu};
use mediator::Gpa;

pub(crate) const PAGE_BYTES: u64 = 0x1000;
const PAGE_MASK: u64 = PAGE_BYTES - 1;
/// A driver in use touches two or three: its controller's registers and the local APIC.
const REMEMBERED: usize = 4;

/// Which of the guest's accesses to a page leave the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    Writes,
    All,
}

/// What answers for a page that the guest does not reach freely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    LocalApic,
    Config(ConfigPage),
    /// Registers of guarded controllers.
    Controllers,
    /// An empty bus: VMM memory, addresses without anything, pages that interrupt messages are sent to.
    Nobody,
}

/// One hooked page.
pub(crate) struct HookedPage {
    pub page: Gpa,
    pub hook: Hook,
    pub owner: Owner,
}

/// The owners of hooked pages that a CPU has touched lately. A page may still stand here as the controllers' after the guest has
/// moved their registers away; it was nobody else's, and they tell what is there now.
pub(crate) struct Owners([(u64, Owner); REMEMBERED]);

impl Owners {
    /// No page begins at 1.
    pub const NONE: Self = Self([(1, Owner::Nobody); REMEMBERED]);

    /// As [`Guest::owner_of_page`].
    #[inline]
    pub fn owner(&mut self, guest: &Guest, at: Gpa) -> Option<Owner> {
        let page = at.0 & !PAGE_MASK;
        let slot = self.0.get_mut((page / PAGE_BYTES) as usize % REMEMBERED)?;
        if slot.0 != page {
            *slot = (page, guest.owner_of_page(at)?);
        }
        Some(slot.1)
    }
}

impl Guest {
    /// Every page of device memory that must be hooked in the nested tables before the guest starts, and stays so, some of them twice. All lie
    /// below 4 GiB.
    pub fn hooked_pages(&self) -> impl Iterator<Item = (Gpa, Hook)> {
        let hooked = self.hooked_pages.iter().map(|hooked| (hooked.page, hooked.hook));
        let messages = self.messages().step_by(PAGE_BYTES as usize).map(Gpa);
        let messages = messages.filter(|&page| self.hooked_page(page).is_none());
        let registers = self.bus.register_pages().map(|page| (page, Hook::All));
        hooked.chain(registers).chain(messages.map(|page| (page, Hook::Writes)))
    }

    /// A CPU's own write of an interrupt message could be an INIT. No manual tells what it does, and none makes one.
    fn messages(&self) -> core::ops::Range<u64> {
        if self.local_apics.is_some() { MESSAGES } else { 0..0 }
    }

    /// No registers of a guarded controller are to be found there, wherever the guest places them: something of the VMM's, RAM, or
    /// what firmware has reserved.
    pub fn close_to_registers(&mut self, range: core::ops::Range<u64>) {
        self.bus.windows.close(range);
    }

    fn hooked_page(&self, at: Gpa) -> Option<&HookedPage> {
        let page = at.0 & !PAGE_MASK;
        self.hooked_pages.iter().find(|hooked| hooked.page.0 == page)
    }

    /// Who answers for an address whose page the guest could not reach. `None`: the page is not hooked.
    #[cold]
    fn owner_of_page(&self, at: Gpa) -> Option<Owner> {
        match self.hooked_page(at) {
            Some(hooked) => Some(hooked.owner),
            None if self.bus.has_registers(at) => Some(Owner::Controllers),
            None if self.local_apic_page == Some(Gpa(at.0 & !PAGE_MASK)) => Some(Owner::LocalApic),
            None => self.messages().contains(&at.0).then_some(Owner::Nobody),
        }
    }

    /// Carries out the guest's access to a page.
    #[inline]
    pub(crate) fn perform<V: Vcpu, M: Machine>(
        &self,
        vcpu: &mut V,
        machine: &mut M,
        owner: Owner,
        at: Gpa,
        access: &MmioAccess,
    ) {
        let width = access.width;
        match owner {
            Owner::LocalApic => access.perform(vcpu, &mut local_apic::Registers { guest: self, machine, at, width }),
            Owner::Config(page) => access.perform(vcpu, &mut page.operand(self, machine, at, width)),
            Owner::Controllers => access.perform(vcpu, &mut Registers::operand(&self.bus, machine, at, width)),
            Owner::Nobody => access.perform(vcpu, &mut EmptyBus),
        }
    }
}

/// Reads give all ones, writes vanish.
struct EmptyBus;

impl Operand for EmptyBus {
    fn read(&mut self) -> u64 {
        u64::MAX
    }

    fn write(&mut self, _: u64) {}
}
