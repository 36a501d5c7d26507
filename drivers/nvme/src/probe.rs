//! Before the guest starts: the controller is taken over, its namespaces are found, sectors are read by polling.
//!
//! [`mediator::Ctx::now`] does not move within a call, so waiting is bounded by the number of register reads. One over the bus takes
//! about a microsecond.

use crate::cmd::{Command, Completion};
use crate::controller::{Nvme, no_queues};
use crate::identify::{self, Page};
use crate::namespaces::Namespace;
use crate::own::OwnRequests;
use crate::queues::{ADMIN, Cq, Flight, Sq};
use crate::registers::{self, Power, Registers};
use crate::ring::{CQ_ENTRIES, SQ_ENTRIES};
use crate::spec::{IDENTIFY_BYTES, PAGE_BYTES, admin, cc, cns, csts, feature, nvm, queue, reg};
use crate::{BOUNCE_BYTES, guard};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use mediator::disk::DiskError;
use mediator::pci::AttachError;
use mediator::{BusAddr, Ctx};
use pci::MemoryGuard;

/// Register reads in a millisecond.
const READS_PER_MS: u64 = 1_000;
/// Milliseconds until a command is given up.
const COMMAND_MS: u64 = 5_000;
/// The queues that sectors are read by.
const IO: u16 = 1;
/// Most namespaces that are looked at.
const MAX_NAMESPACES: usize = 256;
/// Numbers in a list of namespaces.
const LISTED: usize = IDENTIFY_BYTES / 4;

const UNKNOWN: AttachError = AttachError("it offers no queues, pages or commands that Shoji knows");
const NO_MEMORY: AttachError = AttachError("no DMA memory for its queues");

/// Takes the controller over.
///
/// # Errors
/// [`AttachError`].
pub fn attach(cx: &mut Ctx<'_>, name: String) -> Result<Nvme, AttachError> {
    guard::switch_on(cx.device);
    let registers = Registers::read(cx.device).ok_or(UNKNOWN)?;
    let guard = MemoryGuard::attach(cx.device, &[guard::block(registers.doorbells_end())])?;
    if guard.regions().first().is_none_or(|region| region.len < registers.doorbells_end()) {
        return Err(UNKNOWN);
    }
    let page = PAGE_BYTES as usize;
    let scratch = cx.arena.alloc(page, page).ok_or(NO_MEMORY)?;
    let pool = block::Pool::new(cx.arena, BOUNCE_BYTES, page).ok_or(NO_MEMORY)?;
    let identity = identify::Controller::parse(&[0; IDENTIFY_BYTES]);
    let mut nvme = Nvme {
        name,
        registers,
        guard,
        sqs: no_queues(),
        cqs: no_queues(),
        last_queue: ADMIN,
        turn: ADMIN,
        identity,
        is_known: true,
        namespaces: Vec::new(),
        block: block::Queue::new(0, pool),
        open: Vec::new(),
        next_tag: 0,
        interrupts: 0,
        interrupts_pass: false,
        busy: false,
        events_by_pin: false,
        scratch,
        segments: Vec::new(),
        pieces: Vec::new(),
        own: None,
        own_requests: OwnRequests::default(),
        complained: false,
    };
    nvme.take_over(cx)?;
    Ok(nvme)
}

fn failed(_: DiskError) -> AttachError {
    AttachError("it does not answer; switch the machine off and on")
}

impl Nvme {
    fn take_over(&mut self, cx: &mut Ctx<'_>) -> Result<(), AttachError> {
        if registers::read(cx.device, reg::CC) & cc::EN != 0 {
            // Where its queues lie cannot be read back, so the firmware is left without them.
            log::info!("{}: was used by the firmware, which cannot read it from here on", self.name);
        }
        registers::disable(cx.device);
        if !self.wait(cx, |device| registers::is_disabled(device)) {
            return Err(AttachError("it cannot be disabled; switch the machine off and on"));
        }
        let sq = Sq::new(cx.arena, None, ADMIN).ok_or(NO_MEMORY)?;
        let cq = Cq::new(cx.arena, None, true, CQ_ENTRIES).ok_or(NO_MEMORY)?;
        self.start_with(cx, sq, cq);
        self.registers.power = Power::Ours;
        if !self.wait(cx, |device| registers::read(device, reg::CSTS) & (csts::RDY | csts::CFS) == csts::RDY) {
            return Err(AttachError("it cannot be enabled; switch the machine off and on"));
        }
        let page = self.identify_polling(cx, cns::CONTROLLER, 0).map_err(failed)?;
        self.identity = identify::Controller::parse(&page);
        self.create_own_queues(cx).map_err(failed)?;
        self.find_namespaces(cx).map_err(failed)
    }

    fn wait(&mut self, cx: &mut Ctx<'_>, until: impl Fn(&mut dyn mediator::Device) -> bool) -> bool {
        let reads = self.registers.timeout_ms().saturating_mul(READS_PER_MS);
        (0..reads).any(|_| until(cx.device))
    }

    /// A command of ours, waited for.
    fn execute(
        &mut self,
        cx: &mut Ctx<'_>,
        sq: u16,
        command: Command,
        data: (BusAddr, u32),
    ) -> Result<Completion, DiskError> {
        self.own = None;
        self.send(cx, sq, command, core::iter::once(data), Flight::Own).map_err(|_| DiskError::Request)?;
        self.ring(cx);
        for _ in 0..COMMAND_MS.saturating_mul(READS_PER_MS) {
            self.collect(cx, sq);
            if let Some(completion) = self.own.take() {
                self.ring(cx);
                let (status, error) = completion.status.code();
                return if completion.status.is_success() {
                    Ok(completion)
                } else {
                    Err(DiskError::Device { status, error })
                };
            }
            if registers::read(cx.device, reg::CSTS) & csts::CFS != 0 {
                break;
            }
        }
        Err(DiskError::Timeout)
    }

    fn scratch_page(&self) -> (BusAddr, u32) {
        (self.scratch.bus_addr(), PAGE_BYTES as u32)
    }

    fn identify_polling(&mut self, cx: &mut Ctx<'_>, what: u8, nsid: u32) -> Result<Box<Page>, DiskError> {
        let (at, len) = self.scratch_page();
        let command = Command::new(admin::IDENTIFY, nsid).with_dword(10, what.into());
        self.execute(cx, ADMIN, command, (at, len))?;
        let bytes = cx.arena.bytes(at, IDENTIFY_BYTES).map_err(|_| DiskError::Request)?;
        let mut page = Box::new([0; IDENTIFY_BYTES]);
        page.copy_from_slice(bytes);
        Ok(page)
    }

    fn create_own_queues(&mut self, cx: &mut Ctx<'_>) -> Result<(), DiskError> {
        let none = (BusAddr(0), 0);
        let one_of_each = Command::new(admin::SET_FEATURES, 0).with_dword(10, feature::NUMBER_OF_QUEUES.into());
        self.execute(cx, ADMIN, one_of_each, none)?;
        let cq_last = self.registers.last_entry(CQ_ENTRIES);
        let cq = Cq::new(cx.arena, None, false, cq_last.saturating_add(1)).ok_or(DiskError::Request)?;
        let at = (cq.shadow.bus_addr(), PAGE_BYTES as u32);
        self.place(IO, None, Some(cq));
        let size = |entries: u16| u32::from(IO) | u32::from(entries) << 16;
        let create = Command::new(admin::CREATE_CQ, 0).with_dword(10, size(cq_last));
        self.execute(cx, ADMIN, create.with_dword(11, queue::PC), at)?;
        let sq = Sq::new(cx.arena, None, IO).ok_or(DiskError::Request)?;
        let at = (sq.shadow.bus_addr(), PAGE_BYTES as u32);
        self.place(IO, Some(sq), None);
        let create = Command::new(admin::CREATE_SQ, 0).with_dword(10, size(self.registers.last_entry(SQ_ENTRIES)));
        self.execute(cx, ADMIN, create.with_dword(11, queue::PC | u32::from(IO) << 16), at)?;
        Ok(())
    }

    fn place(&mut self, id: u16, sq: Option<Sq>, cq: Option<Cq>) {
        self.last_queue = self.last_queue.max(id);
        if let (Some(sq), Some(place)) = (sq, self.sqs.get_mut(usize::from(id))) {
            *place = Some(sq);
        }
        if let (Some(cq), Some(place)) = (cq, self.cqs.get_mut(usize::from(id))) {
            *place = Some(cq);
        }
    }

    fn find_namespaces(&mut self, cx: &mut Ctx<'_>) -> Result<(), DiskError> {
        for nsid in self.active_namespaces(cx)? {
            let page = self.identify_polling(cx, cns::NAMESPACE, nsid)?;
            if let Some(identity) = identify::Namespace::parse(&page) {
                self.namespaces.push(Namespace { nsid, identity, ranges: None, is_known: true });
            }
        }
        Ok(())
    }

    /// Their numbers. Controllers before revision 1.1 have no list, and their namespaces are numbered from 1.
    fn active_namespaces(&mut self, cx: &mut Ctx<'_>) -> Result<Vec<u32>, DiskError> {
        match self.identify_polling(cx, cns::ACTIVE_NAMESPACES, 0) {
            Ok(page) => {
                let listed = page.as_chunks().0.iter().map(|number| u32::from_le_bytes(*number));
                Ok(listed.take(LISTED).take_while(|number| *number != 0).take(MAX_NAMESPACES).collect())
            }
            Err(DiskError::Device { .. }) => Ok((1..=self.identity.namespaces).take(MAX_NAMESPACES).collect()),
            Err(other) => Err(other),
        }
    }

    /// Reads whole sectors by polling, before the guest starts.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn read_polling(&mut self, cx: &mut Ctx<'_>, disk: usize, lba: u64, data: &mut [u8]) -> Result<(), DiskError> {
        let ns = self.namespaces.get(disk).filter(|ns| ns.identity.usable).ok_or(DiskError::Request)?;
        let (nsid, sector_bytes) = (ns.nsid, usize::try_from(ns.identity.sector_bytes).unwrap_or(usize::MAX));
        let sectors = data.len().checked_div(sector_bytes).and_then(|n| u32::try_from(n).ok());
        let whole = data.len().checked_rem(sector_bytes) == Some(0);
        let sectors = sectors.filter(|n| whole && ns.holds(lba, *n)).ok_or(DiskError::Request)?;
        debug_assert!(sectors > 0 || data.is_empty());
        let (at, len) = self.scratch_page();
        let per_page = (PAGE_BYTES as usize).checked_div(sector_bytes).ok_or(DiskError::Request)?;
        let mut lba = lba;
        for piece in data.chunks_mut(PAGE_BYTES as usize) {
            let count = u32::try_from(piece.len().checked_div(sector_bytes).unwrap_or(per_page)).unwrap_or(1);
            self.execute(cx, IO, Command::new(nvm::READ, nsid).with_blocks(lba, count), (at, len))?;
            let bytes = cx.arena.bytes(at, piece.len()).map_err(|_| DiskError::Request)?;
            piece.copy_from_slice(bytes);
            lba = lba.saturating_add(count.into());
        }
        Ok(())
    }
}
