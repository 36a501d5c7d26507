//! Bits of CPUID that a guest does not see.

use alloc::vec::Vec;

/// What CPUID leaves in EAX, EBX, ECX and EDX.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuidLeaf {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

impl CpuidLeaf {
    /// All bits clear.
    pub const ZEROS: Self = Self { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    /// All bits set.
    pub const ONES: Self = Self { eax: !0, ebx: !0, ecx: !0, edx: !0 };

    /// Register by register.
    pub fn zip(self, other: Self, join: impl Fn(u32, u32) -> u32) -> Self {
        Self {
            eax: join(self.eax, other.eax),
            ebx: join(self.ebx, other.ebx),
            ecx: join(self.ecx, other.ecx),
            edx: join(self.edx, other.edx),
        }
    }
}

/// Bits of one CPUID leaf that read as zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HiddenBits {
    pub leaf: u32,
    /// `None`: the leaf has no subleaves, whatever ECX holds.
    pub subleaf: Option<u32>,
    pub bits: CpuidLeaf,
    /// As the manuals have it.
    pub name: &'static str,
    pub reason: &'static str,
}

impl HiddenBits {
    pub const fn eax(leaf: u32, subleaf: Option<u32>, eax: u32, name: &'static str, reason: &'static str) -> Self {
        Self { leaf, subleaf, bits: CpuidLeaf { eax, ..CpuidLeaf::ZEROS }, name, reason }
    }

    pub const fn ebx(leaf: u32, subleaf: Option<u32>, ebx: u32, name: &'static str, reason: &'static str) -> Self {
        Self { leaf, subleaf, bits: CpuidLeaf { ebx, ..CpuidLeaf::ZEROS }, name, reason }
    }

    pub const fn ecx(leaf: u32, subleaf: Option<u32>, ecx: u32, name: &'static str, reason: &'static str) -> Self {
        Self { leaf, subleaf, bits: CpuidLeaf { ecx, ..CpuidLeaf::ZEROS }, name, reason }
    }

    pub const fn edx(leaf: u32, subleaf: Option<u32>, edx: u32, name: &'static str, reason: &'static str) -> Self {
        Self { leaf, subleaf, bits: CpuidLeaf { edx, ..CpuidLeaf::ZEROS }, name, reason }
    }

    /// All of a leaf, or of one subleaf.
    pub const fn all(leaf: u32, subleaf: Option<u32>, name: &'static str, reason: &'static str) -> Self {
        Self { leaf, subleaf, bits: CpuidLeaf::ONES, name, reason }
    }
}

/// Whether a table ascends by leaf, and every row hides something and has a name and a reason. For a `const` assertion
/// beside the table.
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "no iterators in const; checked here")]
pub const fn bits_in_order(table: &[HiddenBits]) -> bool {
    let mut i = 0;
    while i < table.len() {
        let HiddenBits { leaf, bits, name, reason, .. } = table[i];
        let hides = bits.eax | bits.ebx | bits.ecx | bits.edx != 0;
        if (i > 0 && table[i - 1].leaf > leaf) || !hides || name.is_empty() || reason.is_empty() {
            return false;
        }
        i += 1;
    }
    true
}

/// Features of the CPU that the guest cannot have: those that the VMM keeps for itself, and those for which the CPU lacks
/// a control.
#[derive(Clone, Default)]
pub struct HiddenFeatures {
    /// Bit n: a leaf with n in its low five bits is among `leaves`. So the leaves that software asks for all the time cost
    /// one test.
    filter: u32,
    /// Leaf and subleaf at most once each.
    leaves: Vec<(u32, Option<u32>, CpuidLeaf)>,
}

impl HiddenFeatures {
    /// Hides these bits as well.
    pub fn hide(&mut self, hidden: &HiddenBits) {
        let HiddenBits { leaf, subleaf, bits, .. } = *hidden;
        self.filter |= filter_bit(leaf);
        match self.leaves.iter_mut().find(|known| (known.0, known.1) == (leaf, subleaf)) {
            Some(known) => known.2 = known.2.zip(bits, |a, b| a | b),
            None => self.leaves.push((leaf, subleaf, bits)),
        }
    }

    /// Clears what is hidden in an answer of the CPU's.
    #[inline(always)]
    pub fn clear_in(&self, leaf: u32, subleaf: u32, answer: &mut CpuidLeaf) {
        if self.filter & filter_bit(leaf) != 0 {
            *answer = self.without_hidden(leaf, subleaf, *answer);
        }
    }

    #[cold]
    fn without_hidden(&self, leaf: u32, subleaf: u32, native: CpuidLeaf) -> CpuidLeaf {
        self.leaves
            .iter()
            .filter(|hidden| hidden.0 == leaf && hidden.1.is_none_or(|its| its == subleaf))
            .fold(native, |answer, hidden| answer.zip(hidden.2, |shown, hidden| shown & !hidden))
    }
}

impl<'a> FromIterator<&'a HiddenBits> for HiddenFeatures {
    fn from_iter<I: IntoIterator<Item = &'a HiddenBits>>(all: I) -> Self {
        let mut features = Self::default();
        all.into_iter().for_each(|hidden| features.hide(hidden));
        features
    }
}

#[inline(always)]
fn filter_bit(leaf: u32) -> u32 {
    1_u32.wrapping_shl(leaf)
}
