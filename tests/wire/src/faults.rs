//! What a bad wire does to frames.

use std::time::Duration;

/// How bad the wire is; by default it is perfect.
#[derive(Clone, Copy, Default, Debug)]
pub struct Faults {
    /// Nothing gets through.
    pub cut: bool,
    /// One frame in so many is lost; 0: none.
    pub lose_one_in: u32,
    /// One in so many comes twice.
    pub copy_one_in: u32,
    /// One in so many is held back for [`Faults::held_back`], so that later ones overtake it.
    pub hold_one_in: u32,
    pub held_back: Duration,
    /// Every frame takes so long.
    pub delay: Duration,
}

/// What happens to one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Lost,
    /// So many arrive, so much later.
    Arrives {
        copies: u32,
        after: Duration,
    },
}

/// Frames that the wire has treated badly: what a judge must allow for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Damage {
    pub lost: u64,
    pub copied: u64,
    pub held: u64,
}

/// Decides by a generator of numbers that is the same in each run.
#[derive(Debug)]
pub struct Dice {
    state: u64,
    pub damage: Damage,
}

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self { state: seed, damage: Damage { lost: 0, copied: 0, held: 0 } }
    }

    pub fn cast(&mut self, faults: &Faults) -> Fate {
        // Each question has its own throw, so that one kind of fault does not change the others.
        let [lose, copy, hold] = [faults.lose_one_in, faults.copy_one_in, faults.hold_one_in].map(|n| self.one_in(n));
        if faults.cut || lose {
            self.damage.lost += 1;
            return Fate::Lost;
        }
        self.damage.copied += u64::from(copy);
        self.damage.held += u64::from(hold);
        let after = faults.delay + if hold { faults.held_back } else { Duration::ZERO };
        Fate::Arrives { copies: 1 + u32::from(copy), after }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn one_in(&mut self, n: u32) -> bool {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        n != 0 && (z ^ z >> 31).is_multiple_of(u64::from(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_wire_does_nothing() {
        let mut dice = Dice::new(1);
        let once = Fate::Arrives { copies: 1, after: Duration::ZERO };
        assert!((0..1000).all(|_| dice.cast(&Faults::default()) == once));
        assert_eq!(dice.damage, Damage::default());
    }

    #[test]
    fn faults_are_as_frequent_as_asked_for_and_counted() {
        let mut dice = Dice::new(1);
        let held_back = Duration::from_millis(5);
        let faults = Faults { lose_one_in: 10, copy_one_in: 20, hold_one_in: 5, held_back, ..Faults::default() };
        let fates: Vec<Fate> = (0..10_000).map(|_| dice.cast(&faults)).collect();
        let lost = fates.iter().filter(|fate| **fate == Fate::Lost).count();
        let copied = fates.iter().filter(|fate| matches!(fate, Fate::Arrives { copies: 2, .. })).count();
        let held =
            fates.iter().filter(|fate| matches!(fate, Fate::Arrives { after, .. } if *after == held_back)).count();
        assert_eq!(dice.damage, Damage { lost: lost as u64, copied: copied as u64, held: held as u64 });
        assert!((900..1100).contains(&lost) && (350..550).contains(&copied) && (1650..1950).contains(&held));
    }

    #[test]
    fn nothing_gets_through_a_wire_that_is_cut() {
        let mut dice = Dice::new(1);
        let cut = Faults { cut: true, ..Faults::default() };
        assert!((0..100).all(|_| dice.cast(&cut) == Fate::Lost));
        assert_eq!(dice.damage.lost, 100);
    }
}
