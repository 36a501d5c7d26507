//! VMM memory that a port's device may address: command list, received FISes, command tables.

use crate::fis::Fis;
use crate::spec::{header, received, table};
use mediator::{BusAddr, DmaArena, DmaBuffer};

/// Bytes of a command table of ours: all of a port's memory is 128 KiB then, which the arena lends without waste.
const TABLE_BYTES: usize = 3968;
/// Slots of a command list.
pub const SLOTS: usize = 32;
/// The received FISes lie behind the list, the tables from the next page on.
const RECEIVED_AT: usize = header::LIST_BYTES;
const TABLES_AT: usize = 4096;
const PORT_BYTES: usize = TABLES_AT + SLOTS * TABLE_BYTES;
const _: () = assert!(PORT_BYTES == 1 << 17 && TABLE_BYTES.is_multiple_of(128));

/// The memory of one port, kept once the port was started.
pub struct Memory(DmaBuffer);

/// No arena memory; nothing is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory;

impl Memory {
    pub fn new(arena: &mut dyn DmaArena) -> Option<Self> {
        arena.alloc(PORT_BYTES, 4096).map(Self)
    }

    fn at(&self, offset: usize) -> BusAddr {
        BusAddr(self.0.bus_addr().0.saturating_add(offset as u64))
    }

    pub fn list(&self) -> BusAddr {
        self.at(0)
    }

    pub fn received(&self) -> BusAddr {
        self.at(RECEIVED_AT)
    }

    fn table_at(slot: usize) -> usize {
        TABLES_AT.saturating_add((slot & (SLOTS - 1)).saturating_mul(TABLE_BYTES))
    }

    /// The descriptor table of a slot.
    ///
    /// # Errors
    /// [`NoMemory`]: the arena says so.
    pub fn prdt<'a>(&self, arena: &'a mut dyn DmaArena, slot: usize) -> Result<&'a mut [u8], NoMemory> {
        let at = self.at(Self::table_at(slot).saturating_add(table::HEAD_BYTES));
        arena.bytes(at, TABLE_BYTES - table::HEAD_BYTES).map_err(|_| NoMemory)
    }

    /// Writes FIS, packet and header of a slot; its descriptor table has `entries`.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn set_command(
        &self,
        arena: &mut dyn DmaArena,
        slot: usize,
        flags: u32,
        entries: u32,
        fis: &Fis,
        packet: &[u8; 16],
    ) -> Result<(), NoMemory> {
        self.set_header_and_table(
            arena,
            slot,
            self.at(Self::table_at(slot)),
            flags | entries.wrapping_shl(header::PRDTL_SHIFT),
            fis,
            packet,
        )
    }

    /// As [`Memory::set_command`], in slot 0, with a table that is no slot's.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn set_own_command(
        &self,
        arena: &mut dyn DmaArena,
        table: &OwnTable,
        flags: u32,
        entries: u32,
        fis: &Fis,
    ) -> Result<(), NoMemory> {
        let first = flags | entries.wrapping_shl(header::PRDTL_SHIFT);
        self.set_header_and_table(arena, 0, table.0.bus_addr(), first, fis, &[0; 16])
    }

    fn set_header_and_table(
        &self,
        arena: &mut dyn DmaArena,
        slot: usize,
        at: BusAddr,
        first: u32,
        fis: &Fis,
        packet: &[u8; 16],
    ) -> Result<(), NoMemory> {
        // What is reserved was zero in the arena, and nobody writes it.
        let head = arena.bytes(at, table::HEAD_BYTES).map_err(|_| NoMemory)?;
        head.first_chunk_mut().map(|to| *to = *fis).ok_or(NoMemory)?;
        head.get_mut(table::ACMD..).and_then(|to| to.first_chunk_mut()).map(|to| *to = *packet).ok_or(NoMemory)?;
        let slot_at = (slot & (SLOTS - 1)).saturating_mul(header::BYTES);
        let bytes = arena.bytes(self.at(slot_at), header::BYTES).map_err(|_| NoMemory)?;
        let fields = bytes.split_at_mut_checked(8).ok_or(NoMemory)?;
        // With the count of bytes that were moved, 0.
        fields.0.first_chunk_mut().map(|to| *to = u64::from(first).to_le_bytes()).ok_or(NoMemory)?;
        fields.1.first_chunk_mut().map(|to| *to = at.0.to_le_bytes()).ok_or(NoMemory)
    }

    /// Bytes that the device moved for the command of a slot.
    pub fn moved_bytes(&self, arena: &mut dyn DmaArena, slot: usize) -> u32 {
        let at = self.at((slot & (SLOTS - 1)).saturating_mul(header::BYTES).saturating_add(4));
        arena.bytes(at, 4).ok().and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u32::from_le_bytes)
    }

    /// The last register FIS becomes another one.
    pub fn set_register_fis(&self, arena: &mut dyn DmaArena, fis: &Fis) {
        let (offset, len) = received::REGISTER;
        if let Ok(bytes) = arena.bytes(self.at(RECEIVED_AT.saturating_add(offset)), len) {
            bytes.copy_from_slice(fis);
        }
    }

    /// One of the received FISes.
    pub fn fis<'a>(&self, arena: &'a mut dyn DmaArena, (offset, len): (usize, usize)) -> Option<&'a [u8]> {
        let (at, inside) = (RECEIVED_AT.checked_add(offset)?, offset.checked_add(len)? <= received::BYTES);
        arena.bytes(self.at(at), len).ok().filter(|_| inside).map(|bytes| &*bytes)
    }
}

/// The command table of the VMM's own commands.
pub struct OwnTable(DmaBuffer);

impl OwnTable {
    /// Room for a few entries; one is enough for all that is asked for.
    const BYTES: usize = table::HEAD_BYTES + 128;

    pub fn new(arena: &mut dyn DmaArena) -> Option<Self> {
        arena.alloc(Self::BYTES, 128).map(Self)
    }

    /// Its descriptors.
    ///
    /// # Errors
    /// [`NoMemory`]: the arena says so.
    pub fn prdt<'a>(&self, arena: &'a mut dyn DmaArena) -> Result<&'a mut [u8], NoMemory> {
        let at = self.0.bus_addr().checked_add(table::HEAD_BYTES as u64).ok_or(NoMemory)?;
        arena.bytes(at, Self::BYTES - table::HEAD_BYTES).map_err(|_| NoMemory)
    }
}
