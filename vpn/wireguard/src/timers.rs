//! Deadlines of one peer, and the protocol's constants (the paper, 6).

/// Times in milliseconds, and numbers of messages.
pub mod constants {
    /// After so many messages a session is renewed, and after so many it is dead (6.1, table).
    pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
    pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
    /// At this age its initiator renews a session.
    pub const REKEY_AFTER_TIME_MS: u64 = 120_000;
    /// At this age a session is dead.
    pub const REJECT_AFTER_TIME_MS: u64 = 180_000;
    /// How long initiations are repeated.
    pub const REKEY_ATTEMPT_TIME_MS: u64 = 90_000;
    /// How long an initiation waits for its response.
    pub const REKEY_TIMEOUT_MS: u64 = 5_000;
    /// Added at random, so that two peers do not stay in step (6.1).
    pub const MAX_JITTER_MS: u64 = 333;
    /// How long a peer waits for something to answer with before it answers with nothing.
    pub const KEEPALIVE_TIMEOUT_MS: u64 = 10_000;
    /// After this much silence, keys are wiped (6.3).
    pub const ZERO_KEYS_AFTER_MS: u64 = 3 * REJECT_AFTER_TIME_MS;
    /// How long cookies are made from one secret (5.4.7), and how long a message with one may take.
    pub const COOKIE_SECRET_MAX_AGE_MS: u64 = 120_000;
    pub const COOKIE_SECRET_LATENCY_MS: u64 = 5_000;
    /// Initiations of one peer come no faster than this: 50 a second.
    pub const MIN_INITIATION_INTERVAL_MS: u64 = 20;
}

/// What a peer can be waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// The initiation is sent again (6.4).
    Retransmit,
    /// The peer has sent data, and we nothing since (6.5).
    Keepalive,
    /// We have sent data, and the peer nothing since (6.5).
    Silence,
    /// No new session has taken the place of the old ones (6.3).
    ZeroKeys,
    /// Something must pass from time to time, for the sake of a router on the way (6.5).
    Persistent,
}

/// All in the order in which they are served.
const ALL: [Timer; 5] = [Timer::Retransmit, Timer::Keepalive, Timer::Silence, Timer::ZeroKeys, Timer::Persistent];

/// One deadline each.
#[derive(Default)]
pub struct Timers([Option<u64>; ALL.len()]);

impl Timers {
    pub fn arm(&mut self, timer: Timer, at_ms: u64) {
        self.set(timer, Some(at_ms));
    }

    pub fn disarm(&mut self, timer: Timer) {
        self.set(timer, None);
    }

    fn set(&mut self, timer: Timer, at_ms: Option<u64>) {
        if let Some(deadline) = self.0.get_mut(timer as usize) {
            *deadline = at_ms;
        }
    }

    pub fn is_armed(&self, timer: Timer) -> bool {
        self.0.get(timer as usize).is_some_and(Option::is_some)
    }

    pub fn at(&self, timer: Timer) -> Option<u64> {
        self.0.get(timer as usize).copied().flatten()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<u64> {
        self.0.iter().copied().flatten().min()
    }

    /// Whether this one is due; then it is no longer armed.
    pub fn take(&mut self, timer: Timer, now_ms: u64) -> bool {
        let due = self.0.get(timer as usize).copied().flatten().is_some_and(|at| at <= now_ms);
        if due {
            self.disarm(timer);
        }
        due
    }

    /// All that are due, each once, even if one is armed again for now meanwhile.
    pub fn take_due(&mut self, now_ms: u64) -> impl Iterator<Item = Timer> + use<> {
        let due = ALL.map(|timer| self.take(timer, now_ms).then_some(timer));
        due.into_iter().flatten()
    }
}
