use crate::{Apic, Debt, Loan, Ratio, Register, VECTOR};
use std::vec::Vec;

/// The guest's.
const GUESTS: u8 = 0x40;
const ONE_SHOT: u32 = GUESTS as u32;
const PERIODIC: u32 = ONE_SHOT | 1 << 17;
const DEADLINE: u32 = ONE_SHOT | 2 << 17;
const MASKED: u32 = 1 << 16;
/// Divide by 1.
const UNDIVIDED: u32 = 0xb;
/// Ticks of the TSC for an undivided count.
const TICKS: u64 = 4;
const NEVER: u64 = u64::MAX;
/// Of the spurious vector register.
const ENABLED: u32 = 1 << 8;

/// A local APIC, whose timer counts once in [`TICKS`].
#[derive(Clone)]
struct Chip {
    tsc: u64,
    vector: u32,
    initial: u32,
    divide: u32,
    spurious: u32,
    loaded: u64,
    /// Of the count that was loaded; later ones come by the period.
    next: Option<u64>,
    deadline: u64,
    /// How long after the counter's zero the interrupt comes, if nobody stops the counter until then.
    late: u64,
    /// The guest is not done with its interrupt yet.
    held: bool,
    /// The VMM's interrupt waits.
    requested: bool,
    raised: Vec<(u64, u8)>,
}

impl Chip {
    fn new(vector: u32) -> Self {
        let divide = UNDIVIDED;
        let (initial, loaded, deadline, late) = (0, 0, 0, 0);
        Self {
            tsc: 1000,
            vector,
            initial,
            divide,
            spurious: ENABLED,
            loaded,
            next: None,
            deadline,
            late,
            held: false,
            requested: false,
            raised: Vec::new(),
        }
    }

    fn mode(&self) -> u32 {
        self.vector >> 17 & 3
    }

    fn unit(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        TICKS * if code == 7 { 1 } else { 2 << code }
    }

    /// When the hardware comes to zero.
    fn expiry(&self) -> Option<u64> {
        if self.mode() == 2 { Some(self.deadline).filter(|it| *it != 0) } else { self.next.map(|at| at + self.late) }
    }

    /// The next interrupt up to `end`, or the silence until then.
    fn run(&mut self, end: u64) -> Option<u8> {
        while let Some(at) = self.expiry().filter(|at| *at <= end) {
            self.tsc = self.tsc.max(at);
            match self.mode() {
                0 => self.next = None,
                1 => {
                    self.loaded = at;
                    self.next = Some(at + u64::from(self.initial) * self.unit());
                }
                _ => self.deadline = 0,
            }
            if self.vector & MASKED == 0 && self.spurious & ENABLED != 0 {
                let vector = self.vector as u8;
                if vector != VECTOR {
                    self.raise(vector);
                }
                return Some(vector);
            }
        }
        self.tsc = self.tsc.max(end);
        None
    }

    fn times(&self) -> Vec<u64> {
        self.raised.iter().map(|(at, vector)| if *vector == GUESTS { *at } else { 0 }).collect()
    }
}

impl Apic for Chip {
    fn read(&mut self, register: Register) -> u32 {
        match register {
            Register::LocalVector => self.vector,
            Register::InitialCount => self.initial,
            Register::CurrentCount => {
                self.next.map_or(0, |next| next.saturating_sub(self.tsc).div_ceil(self.unit())) as u32
            }
            Register::Divide => self.divide,
            Register::Spurious => self.spurious,
        }
    }

    fn write(&mut self, register: Register, value: u32) {
        match register {
            Register::LocalVector => {
                if (self.vector ^ value) >> 17 & 2 != 0 {
                    (self.next, self.deadline) = (None, 0);
                }
                let masked = if self.spurious & ENABLED == 0 { MASKED } else { 0 };
                self.vector = value | masked;
            }
            Register::InitialCount if self.mode() == 2 => {}
            Register::InitialCount => {
                (self.initial, self.loaded) = (value, self.tsc);
                self.next = (value != 0).then(|| self.tsc + u64::from(value) * self.unit());
            }
            Register::CurrentCount => {}
            Register::Divide => self.divide = value,
            Register::Spurious => {
                self.spurious = value;
                if value & ENABLED == 0 {
                    self.vector |= MASKED;
                }
            }
        }
    }

    fn deadline(&mut self) -> u64 {
        self.deadline
    }

    fn set_deadline(&mut self, tsc: u64) {
        assert_eq!(self.mode(), 2, "written in TSC-deadline mode only");
        self.deadline = tsc;
    }

    fn tsc(&mut self) -> u64 {
        self.tsc
    }

    fn raise(&mut self, vector: u8) {
        self.held |= vector == GUESTS;
        self.raised.push((self.tsc, vector));
    }

    fn is_requested(&mut self, vector: u8) -> bool {
        self.requested && vector == VECTOR
    }

    fn is_in_service(&mut self, vector: u8) -> bool {
        self.held && vector == GUESTS
    }
}

fn ratio() -> Ratio {
    Ratio::measured(1 << 20, TICKS << 20).unwrap()
}

/// Lets time pass; gives when the VMM was interrupted.
fn pass(chip: &mut Chip, loan: &mut Loan, end: u64) -> Vec<u64> {
    let mut own = Vec::new();
    while let Some(vector) = chip.run(end) {
        assert_eq!(vector, VECTOR, "the hardware is the VMM's");
        assert!(loan.is_own(chip));
        loan.on_interrupt(chip);
        if loan.deadline() <= chip.tsc {
            own.push(chip.tsc);
        }
    }
    own
}

#[test]
fn the_vmm_is_interrupted_once_at_its_deadline() {
    let mut chip = Chip::new(MASKED);
    let mut loan = Loan::begin(&mut chip, ratio(), 50_000, Debt::NONE);
    assert_eq!(pass(&mut chip, &mut loan, 1_000_000), [50_000]);
    loan.set_deadline(&mut chip, 1_200_000);
    assert_eq!(pass(&mut chip, &mut loan, 2_000_000), [1_200_000]);
    assert!(chip.raised.is_empty());
}

#[test]
fn an_interrupt_that_is_taken_only_when_the_timer_counts_again_is_still_the_vmms() {
    let mut chip = Chip::new(MASKED);
    let mut loan = Loan::begin(&mut chip, ratio(), 50_000, Debt::NONE);
    assert_eq!(chip.run(60_000), Some(VECTOR));
    chip.requested = true;
    loan.set_deadline(&mut chip, 90_000);
    chip.requested = false;
    assert!(chip.next.is_some(), "it counts");
    assert!(loan.is_own(&mut chip));
    loan.on_interrupt(&mut chip);
    assert!(!loan.is_own(&mut chip), "a second one is the guest's");
    chip.requested = true;
    loan.set_deadline(&mut chip, 91_000);
    assert!(!loan.is_own(&mut chip), "and so is one from before, if the timer had not come to zero");
    chip.requested = false;
    loan.set_deadline(&mut chip, 90_000);
    assert_eq!(pass(&mut chip, &mut loan, 100_000), [90_000]);
}

#[test]
fn a_deadline_that_has_passed_interrupts_at_once_and_a_far_one_in_parts() {
    let mut chip = Chip::new(MASKED);
    let mut loan = Loan::begin(&mut chip, ratio(), 10, Debt::NONE);
    assert_eq!(pass(&mut chip, &mut loan, 100_000).first(), Some(&(1000 + TICKS)));
    let far = (u64::from(u32::MAX) + 1000) * TICKS * 3;
    loan.set_deadline(&mut chip, far);
    assert_eq!(pass(&mut chip, &mut loan, far + 1000), [far]);
}

#[test]
fn a_one_shot_of_the_guest_comes_in_time_whatever_the_vmm_wants() {
    for deadline in [0, 2000, 40_999, 41_000, 41_004, 90_000, NEVER] {
        let mut chip = Chip::new(ONE_SHOT);
        chip.write(Register::InitialCount, 10_000);
        let mut loan = Loan::begin(&mut chip, ratio(), deadline, Debt::NONE);
        pass(&mut chip, &mut loan, 200_000);
        assert_eq!(chip.times(), [41_000], "deadline {deadline}");
        let _ = loan.end(&mut chip);
        assert_eq!((chip.vector, chip.next), (ONE_SHOT, None));
    }
}

#[test]
fn a_one_shot_goes_on_where_it_would_stand_without_the_loan() {
    let mut chip = Chip::new(ONE_SHOT);
    chip.write(Register::InitialCount, 10_000);
    chip.run(9_000);
    let mut loan = Loan::begin(&mut chip, ratio(), 20_000, Debt::NONE);
    pass(&mut chip, &mut loan, 33_000);
    let _ = loan.end(&mut chip);
    assert_eq!(chip.read(Register::CurrentCount), 2000);
    assert_eq!(chip.run(100_000), Some(GUESTS));
    assert_eq!(chip.times(), [41_000]);
}

#[test]
fn a_one_shot_whose_interrupt_is_late_is_not_lost() {
    let mut chip = Chip { late: 500, ..Chip::new(ONE_SHOT) };
    chip.write(Register::InitialCount, 10_000);
    assert_eq!(chip.run(41_100), None);
    assert_eq!(chip.read(Register::CurrentCount), 0);
    let loan = Loan::begin(&mut chip, ratio(), NEVER, Debt::NONE);
    let _ = loan.end(&mut chip);
    assert_eq!(chip.run(100_000), None);
    assert_eq!(chip.times(), [41_100]);
}

#[test]
fn a_one_shot_that_nobody_sets_anew_interrupts_at_most_once_more() {
    let mut chip = Chip::new(ONE_SHOT);
    chip.write(Register::InitialCount, 10_000);
    chip.run(41_000);
    chip.run(50_000);
    for _ in 0..3 {
        chip.held = false;
        let loan = Loan::begin(&mut chip, ratio(), NEVER, Debt::NONE);
        let _ = loan.end(&mut chip);
    }
    assert_eq!(chip.times(), [41_000, 50_000]);
    let mut masked = Chip::new(ONE_SHOT | MASKED);
    masked.write(Register::InitialCount, 10_000);
    masked.run(50_000);
    let _ = Loan::begin(&mut masked, ratio(), NEVER, Debt::NONE).end(&mut masked);
    assert!(masked.raised.is_empty());
}

#[test]
fn a_periodic_timer_keeps_its_times_while_it_is_lent() {
    let mut chip = Chip::new(PERIODIC);
    chip.write(Register::InitialCount, 1000);
    chip.run(2_000);
    let mut loan = Loan::begin(&mut chip, ratio(), 6_500, Debt::NONE);
    pass(&mut chip, &mut loan, 21_000);
    assert_eq!(chip.times(), [5_000, 9_000, 13_000, 17_000, 21_000]);
}

#[test]
fn a_periodic_timer_keeps_the_number_of_its_ticks_over_many_loans() {
    let mut chip = Chip::new(PERIODIC);
    chip.write(Register::InitialCount, 1000);
    let mut debt = Debt::NONE;
    for turn in 0..1000 {
        let (begin, end) = (turn * 2500 + 2000, turn * 2500 + 3000);
        while chip.run(begin).is_some() {}
        let mut loan = Loan::begin(&mut chip, ratio(), NEVER, debt);
        pass(&mut chip, &mut loan, end);
        debt = loan.end(&mut chip);
    }
    let bare = (chip.tsc - 1000) / 4000;
    assert!(chip.times().len().abs_diff(bare as usize) <= 1, "{} ticks, not {bare}", chip.times().len());
}

#[test]
fn a_tsc_deadline_comes_in_time_or_goes_back_to_the_hardware() {
    let mut chip = Chip::new(DEADLINE);
    chip.deadline = 30_000;
    let mut loan = Loan::begin(&mut chip, ratio(), 9_000, Debt::NONE);
    assert_eq!(loan.read_deadline(&mut chip), 30_000);
    pass(&mut chip, &mut loan, 10_000);
    let _ = loan.end(&mut chip);
    assert_eq!((chip.vector, chip.deadline), (DEADLINE, 30_000));
    let mut loan = Loan::begin(&mut chip, ratio(), 99_000, Debt::NONE);
    pass(&mut chip, &mut loan, 40_000);
    assert_eq!(chip.times(), [30_000]);
    assert_eq!(loan.read_deadline(&mut chip), 0, "it is disarmed by its expiry");
    loan.write_deadline(&mut chip, 50_000);
    pass(&mut chip, &mut loan, 60_000);
    assert_eq!(chip.times(), [30_000, 50_000]);
    let _ = loan.end(&mut chip);
    assert_eq!(chip.deadline, 0);
}

#[test]
fn a_masked_timer_counts_and_interrupts_nobody() {
    let mut chip = Chip::new(ONE_SHOT | MASKED);
    chip.write(Register::InitialCount, 10_000);
    let mut loan = Loan::begin(&mut chip, ratio(), NEVER, Debt::NONE);
    assert_eq!(pass(&mut chip, &mut loan, 21_000), []);
    assert_eq!(loan.read(&mut chip, Register::CurrentCount), 5_000);
    pass(&mut chip, &mut loan, 100_000);
    assert_eq!(loan.read(&mut chip, Register::CurrentCount), 0);
    let _ = loan.end(&mut chip);
    assert!(chip.raised.is_empty());
}

#[test]
fn the_guest_finds_in_its_registers_what_it_has_written() {
    let mut chip = Chip::new(MASKED);
    let mut loan = Loan::begin(&mut chip, ratio(), NEVER, Debt::NONE);
    for (register, value, reads) in [
        (Register::LocalVector, 0x1_2041, 0x1_0041),
        (Register::Divide, 0xff, 0xb),
        (Register::InitialCount, 123_456, 123_456),
        (Register::CurrentCount, 7, 123_456),
    ] {
        loan.write(&mut chip, register, value);
        assert_eq!(loan.read(&mut chip, register), reads, "{register:?}");
    }
    // Into TSC-deadline mode: the counter is disarmed.
    loan.write(&mut chip, Register::LocalVector, DEADLINE);
    assert_eq!(loan.read(&mut chip, Register::CurrentCount), 0);
    loan.write(&mut chip, Register::LocalVector, ONE_SHOT);
    loan.write_deadline(&mut chip, 5_000);
    assert_eq!(loan.read_deadline(&mut chip), 0, "not armed in another mode");
}

#[test]
fn a_guest_that_switches_its_local_apic_off_meanwhile_loses_its_own_interrupts_alone() {
    let mut chip = Chip::new(ONE_SHOT);
    chip.write(Register::InitialCount, 10_000);
    let mut loan = Loan::begin(&mut chip, ratio(), 20_000, Debt::NONE);
    loan.write(&mut chip, Register::Spurious, 0xff);
    assert_eq!(loan.read(&mut chip, Register::Spurious), 0xff);
    assert_eq!(loan.read(&mut chip, Register::LocalVector), ONE_SHOT | MASKED);
    loan.write(&mut chip, Register::LocalVector, ONE_SHOT);
    assert_eq!(loan.read(&mut chip, Register::LocalVector), ONE_SHOT | MASKED, "its mask cannot be cleared");
    assert_eq!(pass(&mut chip, &mut loan, 60_000), [20_000]);
    let _ = loan.end(&mut chip);
    assert_eq!((chip.spurious, chip.vector), (0xff, ONE_SHOT | MASKED));
    assert!(chip.raised.is_empty());
}

#[test]
fn a_guest_that_switches_its_local_apic_on_meanwhile_keeps_it() {
    let mut chip = Chip { spurious: 0xff, ..Chip::new(ONE_SHOT | MASKED) };
    let mut loan = Loan::begin(&mut chip, ratio(), 20_000, Debt::NONE);
    assert_eq!(loan.read(&mut chip, Register::Spurious), 0xff);
    loan.write(&mut chip, Register::Spurious, ENABLED | 0xfe);
    assert_eq!(loan.read(&mut chip, Register::Spurious), ENABLED | 0xfe);
    loan.write(&mut chip, Register::LocalVector, ONE_SHOT);
    loan.write(&mut chip, Register::InitialCount, 10_000);
    assert_eq!(pass(&mut chip, &mut loan, 30_000), [20_000]);
    let _ = loan.end(&mut chip);
    assert_eq!((chip.spurious, chip.vector), (ENABLED | 0xfe, ONE_SHOT));
    assert_eq!(chip.run(100_000), Some(GUESTS));
}

#[test]
fn a_local_apic_that_is_off_is_off_again_after_a_loan() {
    let mut chip = Chip { spurious: 0xff, ..Chip::new(ONE_SHOT | MASKED) };
    let mut loan = Loan::begin(&mut chip, ratio(), 20_000, Debt::NONE);
    assert_eq!(pass(&mut chip, &mut loan, 30_000), [20_000]);
    let _ = loan.end(&mut chip);
    assert_eq!(chip.spurious, 0xff);
}

#[test]
fn an_illegal_vector_raises_nothing() {
    let mut chip = Chip::new(15);
    chip.write(Register::InitialCount, 10);
    let mut loan = Loan::begin(&mut chip, ratio(), NEVER, Debt::NONE);
    pass(&mut chip, &mut loan, 100_000);
    assert!(chip.raised.is_empty());
}

#[test]
fn a_nonsense_measurement_is_none() {
    for (counts, ticks) in [(0, 1000), (1, 1 << 17), (1 << 20, 1), (1000, 0), (u64::MAX, 1)] {
        assert_eq!(Ratio::measured(counts, ticks), None, "{counts} in {ticks}");
    }
}

/// The guest reprograms its timer at random moments, the VMM lends and gives back at others: interrupts come as on a bare chip, but
/// for one count of each loan.
#[test]
fn a_guest_cannot_tell_a_lent_timer_from_its_own() {
    let mut random = 12345_u32;
    let mut next = move |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    let (mut bare, mut chip, mut loan) = (Chip::new(ONE_SHOT), Chip::new(ONE_SHOT), None::<Loan>);
    let (mut loans, mut judged) = (0, 0);
    for _ in 0..20_000 {
        let end = bare.tsc + u64::from(next(3000)) * bare.unit();
        while bare.run(end).is_some() {}
        match &mut loan {
            Some(loan) => drop(pass(&mut chip, loan, end)),
            None => while chip.run(end).is_some() {},
        }
        // A loan takes up to two counts longer or less, of which a shot sees some.
        let tolerance = 16 * bare.unit();
        let settled = |chip: &Chip| chip.expiry().is_none_or(|at| at > end + tolerance);
        if settled(&bare) && chip.times().len() == bare.times().len() {
            for (bare, chip) in bare.raised.drain(..).zip(chip.raised.drain(..)) {
                assert!(bare.0.abs_diff(chip.0) <= tolerance && bare.1 == chip.1, "{bare:?} {chip:?}");
            }
            judged += 1;
        }
        match next(4) {
            0 if settled(&bare) => {
                let (count, divide) = (next(8000) + 100, next(16) & 0xb);
                chip.held = false;
                for (register, value) in [(Register::Divide, divide), (Register::InitialCount, count)] {
                    bare.write(register, value);
                    match &mut loan {
                        Some(loan) => loan.write(&mut chip, register, value),
                        None => chip.write(register, value),
                    }
                }
            }
            1 | 2 if loan.is_none() => {
                let deadline = end + u64::from(next(9000)) * bare.unit();
                loan = Some(Loan::begin(&mut chip, ratio(), deadline, Debt::NONE));
            }
            _ => {
                if let Some(loan) = loan.take() {
                    loans += 1;
                    let _ = loan.end(&mut chip);
                }
            }
        }
    }
    assert!(loans > 1000 && judged > 10_000, "{loans} {judged}");
}
