//! The VMM's side.

use crate::mac::{BootNonce, Meeting, SessionKey, SharedKey};
use crate::throttle::Throttle;
use abi::shell::{Answer, CHALLENGE_NS, CLIENT_BYTES, MAX_LINE_BYTES, Mac, Request};
use lock::{Ranked, rank::SHELL};

const MOST_SESSIONS: usize = 4;
/// A session that nobody has used for so long is gone.
const IDLE_NS: u64 = 15 * 60 * 1_000_000_000;

/// Checks what comes from the guest.
pub struct Server {
    key: SharedKey,
    boot: BootNonce,
    state: Ranked<State, SHELL>,
}

#[derive(Default)]
struct State {
    throttle: Throttle,
    /// Time of the newest challenge that has led to a session: older ones do not any more.
    last_ns: u64,
    sessions: [Option<Session>; MOST_SESSIONS],
    next_number: u32,
}

struct Session {
    number: u32,
    key: SessionKey,
    /// Of the last line.
    count: u64,
    used_ns: u64,
}

/// What follows a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    Answer(Answer),
    /// The line is to be carried out, and [`Answer::Text`] is the answer.
    Run(&'a str),
}

impl Server {
    /// `boot`: another one at each start of the VMM.
    pub fn new(key: SharedKey, boot: BootNonce) -> Self {
        Self { key, boot, state: Ranked::default() }
    }

    /// One request, at this time of the VMM. No lock is held when this returns.
    pub fn handle<'a>(&self, now_ns: u64, request: Request<'a>) -> Step<'a> {
        match request {
            Request::Hello { client } => Step::Answer(self.hello(now_ns, client)),
            Request::Prove { client, time_ns, proof } => Step::Answer(self.prove(now_ns, client, time_ns, &proof)),
            Request::Line { session, count, mac, line } => match self.line(now_ns, session, count, &mac, line) {
                true => Step::Run(line),
                false => Step::Answer(Answer::Refused),
            },
        }
    }

    fn hello(&self, now_ns: u64, client: [u8; CLIENT_BYTES]) -> Answer {
        if let Some(pause) = self.state.lock().throttle.pause_ns(now_ns) {
            return wait(pause);
        }
        Answer::Challenge { time_ns: now_ns, challenge: Meeting::new(&self.key, &self.boot, client, now_ns).challenge }
    }

    fn prove(&self, now_ns: u64, client: [u8; CLIENT_BYTES], time_ns: u64, proof: &Mac) -> Answer {
        let mut state = self.state.lock();
        if let Some(pause) = state.throttle.pause_ns(now_ns) {
            return wait(pause);
        }
        let is_fresh = now_ns.checked_sub(time_ns).is_some_and(|age| age <= CHALLENGE_NS);
        if !is_fresh || time_ns <= state.last_ns {
            return Answer::Expired;
        }
        let meeting = Meeting::new(&self.key, &self.boot, client, time_ns);
        if !meeting.is_proof(&self.key, proof) {
            state.throttle.failed(now_ns);
            drop(state);
            log::warn!("dbgsh: a wrong proof: whoever it was does not know the key");
            return Answer::Refused;
        }
        state.throttle.succeeded();
        state.last_ns = time_ns;
        let session = state.open(meeting.session_key(&self.key), now_ns);
        drop(state);
        log::info!("dbgsh: session {session} is open");
        Answer::Open { session }
    }

    /// Is the line the session's next one?
    fn line(&self, now_ns: u64, number: u32, count: u64, mac: &Mac, line: &str) -> bool {
        let mut state = self.state.lock();
        let State { throttle, sessions, .. } = &mut *state;
        sessions.iter_mut().for_each(|place| {
            place.take_if(|session| now_ns.saturating_sub(session.used_ns) > IDLE_NS);
        });
        let Some(session) = sessions.iter_mut().flatten().find(|session| session.number == number) else {
            return false;
        };
        if line.len() > MAX_LINE_BYTES || count <= session.count {
            return false;
        }
        if !session.key.is_line(count, line, mac) {
            // The session stays its owner's. During a pause nothing more comes of it, so that no program fills the log.
            if throttle.pause_ns(now_ns).is_none() {
                throttle.failed(now_ns);
                drop(state);
                log::warn!("dbgsh: a line for session {number} that is not its owner's");
            }
            return false;
        }
        (session.count, session.used_ns) = (count, now_ns);
        true
    }
}

impl State {
    /// In the place of the one that was not used for the longest time, where all are taken.
    fn open(&mut self, key: SessionKey, now_ns: u64) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        let session = Session { number: self.next_number, key, count: 0, used_ns: now_ns };
        let place = self.sessions.iter_mut().min_by_key(|place| place.as_ref().map(|session| session.used_ns));
        if let Some(place) = place {
            *place = Some(session);
        }
        self.next_number
    }
}

fn wait(pause_ns: u64) -> Answer {
    Answer::Wait { ms: pause_ns.div_ceil(1_000_000) }
}
