//! What the CPU crates tell of their vendor's CPUs: the rules beside those that hold for every guest.

use crate::{CpuidLeaf, MsrIntercept};
use alloc::vec::Vec;

/// What a guest on this vendor's CPUs neither reaches nor sees.
#[derive(Clone, Default)]
pub struct Policy {
    /// As [`crate::in_order`] wants it.
    pub msrs: &'static [MsrIntercept],
    pub hidden: HiddenFeatures,
    /// The instruction that calls the VMM.
    pub hypercall: [u8; 3],
}

/// Bits of one CPUID leaf that read as zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HiddenBits {
    pub leaf: u32,
    /// `None`: the leaf has no subleaves, whatever ECX holds.
    pub subleaf: Option<u32>,
    pub bits: CpuidLeaf,
}

/// Features of the CPU that the guest cannot have: those that the VMM keeps for itself, and those for which the CPU lacks
/// a control.
#[derive(Clone, Default)]
pub struct HiddenFeatures {
    /// Bit n: a leaf with n in its low five bits is among `leaves`. So the leaves that software asks for all the time cost
    /// one test.
    filter: u32,
    /// Leaf and subleaf at most once each.
    leaves: Vec<HiddenBits>,
}

impl HiddenFeatures {
    /// Hides these bits as well.
    pub fn hide(&mut self, hidden: HiddenBits) {
        self.filter |= filter_bit(hidden.leaf);
        match self.leaves.iter_mut().find(|known| known.leaf == hidden.leaf && known.subleaf == hidden.subleaf) {
            Some(known) => known.bits = known.bits.zip(hidden.bits, |a, b| a | b),
            None => self.leaves.push(hidden),
        }
    }

    #[inline(always)]
    pub(crate) fn clear_in(&self, leaf: u32, subleaf: u32, answer: &mut CpuidLeaf) {
        if self.filter & filter_bit(leaf) != 0 {
            *answer = self.without_hidden(leaf, subleaf, *answer);
        }
    }

    #[cold]
    fn without_hidden(&self, leaf: u32, subleaf: u32, native: CpuidLeaf) -> CpuidLeaf {
        self.leaves
            .iter()
            .filter(|hidden| hidden.leaf == leaf && hidden.subleaf.is_none_or(|its| its == subleaf))
            .fold(native, |answer, hidden| answer.zip(hidden.bits, |shown, hidden| shown & !hidden))
    }
}

impl FromIterator<HiddenBits> for HiddenFeatures {
    fn from_iter<I: IntoIterator<Item = HiddenBits>>(all: I) -> Self {
        let mut features = Self::default();
        all.into_iter().for_each(|hidden| features.hide(hidden));
        features
    }
}

#[inline(always)]
fn filter_bit(leaf: u32) -> u32 {
    1_u32.wrapping_shl(leaf)
}
