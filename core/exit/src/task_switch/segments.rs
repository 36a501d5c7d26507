//! The new task's CR3, LDTR and segment registers. All of it happens in the new task: what a fault finds unread stays
//! unusable, with the new selector.
//!
//! Specification: Intel SDM Vol. 3A (325462) rev. 083, table 8-1.

use super::Switch;
use super::descriptor::{self, Descriptor, Selector};
use super::linear::{READ, WRITE};
use super::tss::{Format, SEGMENTS, TaskImage};
use super::{DESCRIPTOR_BYTES, RFLAGS_VM};
use crate::{Exception, Machine, Segment, SegmentName};

impl<M: Machine> Switch<'_, M> {
    /// # Errors
    /// The exception that a selector or the instruction pointer raises.
    pub(super) fn load_segments(
        &mut self,
        image: &TaskImage,
        format: Format,
        ldt: u16,
        cr3: Option<u32>,
    ) -> Result<(), Exception> {
        let [es, cs, ss, ds, fs, gs] = image.segments.map(Selector);
        let virtual_8086 = image.eflags & RFLAGS_VM != 0;
        let cpl = if virtual_8086 { 3 } else { cs.rpl() };
        for (name, selector) in SEGMENTS.into_iter().zip(image.segments) {
            let segment = match name {
                _ if virtual_8086 => descriptor::virtual_8086(selector),
                SegmentName::Cs => descriptor::flat_code(selector, cpl, format == Format::Bits32),
                _ => descriptor::unusable(selector, cpl),
            };
            self.vcpu.set_segment(name, segment);
        }
        self.vcpu.set_ldtr(Segment { selector: ldt, access: 2, ..Segment::default() });
        if let Some(value) = cr3 {
            self.load_cr3(value)?;
        }
        let table = self.load_ldtr(Selector(ldt))?;
        if !virtual_8086 {
            self.load_code(cs, table)?;
            self.load_stack(ss, cpl, table)?;
            for (name, selector) in
                [(SegmentName::Es, es), (SegmentName::Ds, ds), (SegmentName::Fs, fs), (SegmentName::Gs, gs)]
            {
                self.load_data(name, selector, cpl, table)?;
            }
        }
        if image.eip > self.vcpu.segment(SegmentName::Cs).limit {
            return Err(Exception::GeneralProtection(self.external));
        }
        Ok(())
    }

    fn invalid(&self, selector: Selector) -> Exception {
        Exception::InvalidTss(selector.error(self.external))
    }

    fn not_present(&self, selector: Selector) -> Exception {
        Exception::SegmentNotPresent(selector.error(self.external))
    }

    /// The LDT, or `None` where the task has none.
    fn load_ldtr(&mut self, selector: Selector) -> Result<Option<Segment>, Exception> {
        if selector.is_null() {
            return Ok(None);
        }
        if selector.is_local() {
            return Err(self.invalid(selector));
        }
        let (descriptor, _) = self.descriptor(selector, None)?;
        if !descriptor.is_ldt() || !descriptor.is_present() {
            return Err(self.invalid(selector));
        }
        let table = descriptor.segment(selector);
        self.vcpu.set_ldtr(table);
        Ok(Some(table))
    }

    fn load_code(&mut self, selector: Selector, ldt: Option<Segment>) -> Result<(), Exception> {
        let (code, at) = self.descriptor(selector, ldt)?;
        let fits = if code.is_conforming_code() { code.dpl() <= selector.rpl() } else { code.dpl() == selector.rpl() };
        if !code.is_code() || !fits {
            return Err(self.invalid(selector));
        }
        if !code.is_present() {
            return Err(self.not_present(selector));
        }
        self.accept(SegmentName::Cs, selector, code, at)
    }

    fn load_stack(&mut self, selector: Selector, cpl: u8, ldt: Option<Segment>) -> Result<(), Exception> {
        let (stack, at) = self.descriptor(selector, ldt)?;
        if !stack.is_writable_data() || stack.dpl() != cpl || selector.rpl() != cpl {
            return Err(self.invalid(selector));
        }
        if !stack.is_present() {
            return Err(Exception::StackFault(selector.error(self.external)));
        }
        self.accept(SegmentName::Ss, selector, stack, at)
    }

    fn load_data(
        &mut self,
        name: SegmentName,
        selector: Selector,
        cpl: u8,
        ldt: Option<Segment>,
    ) -> Result<(), Exception> {
        if selector.is_null() {
            return Ok(());
        }
        let (data, at) = self.descriptor(selector, ldt)?;
        let reachable = data.is_conforming_code() || data.dpl() >= cpl.max(selector.rpl());
        if !data.is_readable() || !reachable {
            return Err(self.invalid(selector));
        }
        if !data.is_present() {
            return Err(self.not_present(selector));
        }
        self.accept(name, selector, data, at)
    }

    /// Reads a descriptor of the GDT or of the new task's LDT, and tells where it is.
    fn descriptor(&mut self, selector: Selector, ldt: Option<Segment>) -> Result<(Descriptor, u64), Exception> {
        let (base, limit) = match ldt {
            _ if selector.is_null() => return Err(self.invalid(selector)),
            Some(table) if selector.is_local() => (table.base, table.limit),
            None if selector.is_local() => return Err(self.invalid(selector)),
            _ => {
                let (base, limit) = self.vcpu.gdtr();
                (base, limit.into())
            }
        };
        if u32::from(selector.offset() | 7) > limit {
            return Err(self.invalid(selector));
        }
        let at = base.wrapping_add(selector.offset().into());
        let mapped = self.memory.map(at, DESCRIPTOR_BYTES, READ)?;
        Ok((Descriptor(u64::from_le_bytes(self.memory.read(mapped))), at))
    }

    /// Fills a segment register; its descriptor is marked as accessed.
    fn accept(
        &mut self,
        name: SegmentName,
        selector: Selector,
        descriptor: Descriptor,
        at: u64,
    ) -> Result<(), Exception> {
        let accessed = descriptor.accessed();
        if accessed != descriptor {
            let mapped = self.memory.map(at, DESCRIPTOR_BYTES, WRITE)?;
            // If it has changed since, another CPU has marked it or replaced it; what was read holds for this one.
            self.memory.exchange_access(mapped, descriptor, accessed);
        }
        self.vcpu.set_segment(name, accessed.segment(selector));
        Ok(())
    }
}
