//! How fast the timer counts, against the TSC.

/// Counts of the undivided timer in 2 to the power of 32 ticks of the TSC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ratio(u64);

/// No timer counts more slowly than this many ticks of a TSC a count; it bounds what a wrong measurement can do.
const SLOWEST: u64 = 1 << 16;

impl Ratio {
    /// Measured: so many counts of the timer, undivided, in so many ticks. `None`: it does not count, or the two are no measure.
    pub fn measured(counts: u64, ticks: u64) -> Option<Self> {
        let ratio = u128::from(counts).wrapping_shl(32).checked_div(ticks.into())?;
        let fits = u64::try_from(ratio).ok().filter(|ratio| *ratio < 1 << 48)?;
        (fits.saturating_mul(SLOWEST) >= 1 << 32).then_some(Self(fits))
    }

    /// Whole counts in that many ticks, of a timer with this divisor; as many as the register can hold.
    pub fn counts(self, ticks: u64, divisor: u32) -> u32 {
        let counts = u128::from(ticks).saturating_mul(self.0.into()).wrapping_shr(32);
        let counts = counts.checked_div(divisor.into()).unwrap_or(0);
        u32::try_from(counts).unwrap_or(u32::MAX)
    }

    /// Ticks after which that many counts are over.
    pub fn ticks(self, counts: u32, divisor: u32) -> u64 {
        let scaled = u128::from(counts).saturating_mul(divisor.into()).wrapping_shl(32);
        u64::try_from(scaled.div_ceil(u128::from(self.0.max(1)))).unwrap_or(u64::MAX)
    }
}
