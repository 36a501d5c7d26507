//! Extended page tables (SDM s. 29.3).

use crate::features::Features;
use crate::instructions::{invept, invvpid};
use core::sync::atomic::Ordering;
use hw::nested::{Hook, Nested, OnDemand};
use hw::nmi::attention;
use hw::{HpaRange, cpus, msr};
use mediator::Gpa;
use x86::mtrr::Mtrrs;
use x86::vmx::{EptEntry, EptPointer, InvEpt, InvEptDescriptor, InvVpid, InvVpidDescriptor};
use x86::{MemoryType, vmx::EptVpidCapability};
use x86_64::structures::paging::PageTableFlags as Flags;

/// Entries with all rights and the memory type that the MTRRs give: under EPT the CPU does not ask them (s. 29.3.7.2).
#[derive(PartialEq, Eq)]
enum Format {
    Told(Mtrrs),
    Everywhere(MemoryType),
}

impl Format {
    fn of_this_cpu(features: &Features) -> Self {
        if !features.has_mtrrs {
            return Self::Everywhere(MemoryType::WriteBack);
        }
        match Mtrrs::read(msr::read) {
            // It has them and does not tell: the type that is never wrong.
            None => Self::Everywhere(MemoryType::Uncacheable),
            Some(mtrrs) => Self::told(mtrrs, features),
        }
    }

    fn told(mtrrs: Mtrrs, features: &Features) -> Self {
        // Only a guest that means no good writes such masks; page by page they would cost all memory and much time.
        if mtrrs.has_holes(features.address_bits) {
            Self::Everywhere(MemoryType::Uncacheable)
        } else {
            Self::Told(mtrrs)
        }
    }
}

impl hw::nested::Format for Format {
    fn leaf(&self, at: u64, size: u64) -> Option<Flags> {
        let memory = match self {
            Self::Told(mtrrs) => mtrrs.type_of(at, size)?,
            Self::Everywhere(memory) => *memory,
        };
        Some(Flags::from_bits_retain(EptEntry::page(0, memory, EptEntry::ALL_RIGHTS).bits()))
    }
}

/// The guest's memory: the nested tables of all its CPUs, and what each CPU caches of them.
pub struct Memory {
    tables: Nested<Format>,
    features: Features,
}

impl Memory {
    /// All memory but `vmm`, with the types that this CPU's MTRRs give. `None` when the frames do not suffice.
    pub fn new(features: &Features, vmm: HpaRange) -> Option<Self> {
        let format = Format::of_this_cpu(features);
        let tables = Nested::new(vmm, features.gib_pages(), features.address_bits, format)?;
        Some(Self { tables, features: *features })
    }

    /// As [`Nested::hook_page`].
    pub fn hook_page(&self, at: Gpa, hook: Hook) -> Option<()> {
        self.tables.hook_page(at, hook)
    }

    /// As [`Nested::hook_for_a_time`]; each CPU invalidates what it has cached before it enters the guest again.
    pub fn hook_for_a_time(&self, at: Gpa, on: bool) -> Option<()> {
        let done = self.tables.hook_for_a_time(at, on);
        make_stale();
        done
    }

    /// Memory has the types that the CPU's own MTRRs give, as the firmware has set them.
    pub(crate) fn follow_firmware(&self) {
        self.set_format(Format::of_this_cpu(&self.features));
    }

    /// Memory has these types. Each CPU of a guest tells the same.
    pub(crate) fn set_types(&self, types: &Mtrrs) {
        self.set_format(Format::told(types.clone(), &self.features));
    }

    /// Maps everything anew, unless nothing changes.
    fn set_format(&self, format: Format) {
        if !self.tables.has_format(&format) {
            cpus::while_others_stand(|| self.rebuild(format));
        }
    }

    /// No other CPU is in the guest, and none enters it again before it has forgotten the old tables.
    fn rebuild(&self, format: Format) {
        if self.tables.reformat(format).is_none() {
            log::error!(
                "the memory kept for Shoji does not suffice for the guest's memory types; raise `reserve` in [memory]"
            );
        }
        make_stale();
    }

    /// For the VMCS.
    pub(crate) fn pointer(&self) -> EptPointer {
        let capability = self.features.capabilities.ept_vpid;
        let cached = capability.contains(EptVpidCapability::WRITE_BACK);
        EptPointer::new(self.tables.root().0, if cached { MemoryType::WriteBack } else { MemoryType::Uncacheable })
    }

    /// As [`Nested::map_on_demand`]. Nothing is to be invalidated: what is not present is not cached (s. 29.4.2).
    #[inline(always)]
    pub(crate) fn map_on_demand(&self, at: Gpa) -> OnDemand {
        self.tables.map_on_demand(at)
    }

    /// This CPU forgets what it has cached of the tables, and of linear addresses with them.
    pub(crate) fn invalidate(&self) {
        let capability = self.features.capabilities.ept_vpid;
        let kind = if capability.contains(EptVpidCapability::INVEPT_SINGLE) {
            InvEpt::SingleContext
        } else {
            InvEpt::AllContexts
        };
        let mut result = invept(kind, &InvEptDescriptor::new(self.pointer()));
        if capability.contains(EptVpidCapability::INVVPID | EptVpidCapability::INVVPID_ALL) {
            result = result.and(invvpid(InvVpid::AllContexts, &InvVpidDescriptor::new(0, 0)));
        }
        if let Err(fail) = result {
            // Stale translations may reach memory that the tables no longer show.
            panic!("INVEPT or INVVPID fails: {fail}");
        }
    }
}

/// Before it enters the guest again each CPU forgets what it has cached of the tables.
fn make_stale() {
    for cpu in cpus::all() {
        cpu.nmi.attention.fetch_or(attention::STALE, Ordering::SeqCst);
    }
}
