//! The machine of the scenarios of network cards, a tunnel that can be looked into, and the oracle: no frame is on the wire that the tunnel
//! did not emit, and the card holds no address outside of the arena.

use mediator::net::{NetPolicy, Side, Tunnel};
use mediator::{Instant, Width};
use sim::e1000::{E1000Guest, E1000Machine, Frame};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

/// Most frames that the tunnel keeps for a side.
const KEPT: usize = 600;
/// What the tunnel's frames begin with: to a peer, from the card, of a type for experiments.
pub const OUTER: [u8; 14] = [2, 9, 9, 9, 9, 9, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 0x88, 0xb5];
/// What the tunnel makes of each byte.
const VEIL: u8 = 0x5a;

/// What a tunnel has seen and done.
#[derive(Default)]
pub struct Seen {
    pub from_guest: Vec<Vec<u8>>,
    pub from_wire: Vec<Vec<u8>>,
    to_guest: VecDeque<Vec<u8>>,
    to_wire: VecDeque<Vec<u8>>,
    /// Everything that it has handed out for the cable.
    pub emitted: Vec<Vec<u8>>,
    pub handed_to_guest: usize,
    pub links: Vec<bool>,
    pub timeouts: usize,
    pub deadline: Option<Instant>,
    /// Frames that it had no room for.
    pub dropped: usize,
    /// Hands out what it was not asked for, and lengths of nonsense.
    pub mad: bool,
}

/// Veils the guest's frames, and unveils those of the cable that begin as its own do.
pub struct TestTunnel(Arc<Mutex<Seen>>);

/// A frame as it is on the cable.
pub fn veiled(inner: &[u8]) -> Vec<u8> {
    OUTER.into_iter().chain(inner.iter().map(|byte| byte ^ VEIL)).collect()
}

impl Tunnel for TestTunnel {
    fn on_frame(&mut self, _: Instant, from: Side, frame: &[u8]) {
        let seen = &mut *self.0.lock().unwrap();
        let (to, frame) = match from {
            Side::Guest => {
                seen.from_guest.push(frame.to_vec());
                (&mut seen.to_wire, veiled(frame))
            }
            Side::Wire => {
                seen.from_wire.push(frame.to_vec());
                if frame[12..14] != OUTER[12..] {
                    return;
                }
                (&mut seen.to_guest, frame[14..].iter().map(|byte| byte ^ VEIL).collect())
            }
        };
        if to.len() < KEPT {
            to.push_back(frame);
        } else {
            seen.dropped += 1;
        }
    }

    fn poll_transmit(&mut self, _: Instant, room: &dyn Fn(Side) -> bool, to: &mut [u8]) -> Option<(Side, usize)> {
        let seen = &mut *self.0.lock().unwrap();
        let side = [Side::Wire, Side::Guest].into_iter().find(|side| {
            let queue = if *side == Side::Wire { &seen.to_wire } else { &seen.to_guest };
            !queue.is_empty() && (room(*side) || seen.mad)
        })?;
        let frame = match side {
            Side::Wire => seen.to_wire.pop_front(),
            Side::Guest => seen.to_guest.pop_front(),
        }?;
        let len = frame.len().min(to.len());
        to[..len].copy_from_slice(&frame[..len]);
        if seen.mad && len % 3 == 0 {
            return Some((side, usize::MAX - len));
        }
        match side {
            Side::Wire => seen.emitted.push(to[..len].to_vec()),
            Side::Guest => seen.handed_to_guest += 1,
        }
        Some((side, len))
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.lock().unwrap().deadline
    }

    fn on_timeout(&mut self, _: Instant) {
        let mut seen = self.0.lock().unwrap();
        seen.timeouts += 1;
        seen.deadline = None;
    }

    fn on_link(&mut self, _: Instant, up: bool) {
        self.0.lock().unwrap().links.push(up);
    }

    fn is_up(&self) -> bool {
        true
    }
}

/// Machine, driver, tunnel.
pub struct E1000Rig {
    pub machine: E1000Machine,
    pub guest: E1000Guest,
    seen: Arc<Mutex<Seen>>,
}

impl E1000Rig {
    /// With the tunnel, and the guest's driver started.
    ///
    /// # Panics
    /// When the mediator does not take the card over.
    pub fn new(id: u16) -> Self {
        Self::with(id, E1000Guest::default())
    }

    /// Likewise, with another driver.
    ///
    /// # Panics
    /// Likewise.
    pub fn with(id: u16, guest: E1000Guest) -> Self {
        let mut rig = Self::bare(id);
        rig.set_tunnel();
        rig.guest = guest;
        rig.start();
        rig
    }

    /// Before a policy is set: blocked.
    ///
    /// # Panics
    /// Likewise.
    pub fn bare(id: u16) -> Self {
        let mut machine = E1000Machine::new(id);
        machine.attach(&e1000::DRIVER).expect("the mediator takes the card over");
        Self { machine, guest: E1000Guest::default(), seen: Arc::default() }
    }

    /// # Panics
    /// When the mediator does not take the tunnel.
    pub fn set_tunnel(&mut self) {
        let tunnel = Box::new(TestTunnel(self.seen.clone()));
        self.machine.set_policy(NetPolicy::Tunnel(tunnel)).expect("the card takes a tunnel");
    }

    /// The guest's driver starts.
    pub fn start(&mut self) {
        self.guest.start(&mut self.machine);
    }

    /// What the tunnel has seen.
    ///
    /// # Panics
    /// When the tunnel did.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Runs the machine for a while, and gives the frames that the driver has got by its interrupts.
    pub fn run(&mut self, steps: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..steps {
            self.machine.tick();
            self.machine.poll_if_due();
            if let Some((_, more)) = self.guest.interrupt(&mut self.machine) {
                frames.extend(more);
            }
        }
        self.check();
        frames
    }

    /// A frame of the peer's for the guest comes by the cable.
    pub fn incoming(&mut self, inner: &[u8]) {
        self.machine.card.coming.push_back(veiled(inner));
    }

    /// The guest sends a frame and gets one: all of it works.
    ///
    /// # Panics
    /// When it does not.
    pub fn works(&mut self) {
        self.run(20);
        let (before, sent) = (self.seen().from_guest.len(), self.machine.card.sent.len());
        let index = self.guest.send(&mut self.machine, &frame(100));
        self.incoming(&frame(200));
        let got = self.run(20);
        assert!(self.guest.is_done(&self.machine, index), "the descriptor is not done");
        assert!(self.seen().from_guest[before..] == [frame(100)], "the guest's frame");
        assert!(self.machine.card.sent[sent..] == [veiled(&frame(100))], "on the cable");
        assert_eq!(got.iter().filter(|it| it.bytes.starts_with(&frame(200))).count(), 1, "the frame for the guest");
    }

    /// What must hold after every step.
    ///
    /// # Panics
    /// When it does not.
    pub fn check(&self) {
        assert_eq!(self.machine.faults, [], "addresses that the card must not hold");
        let seen = self.seen();
        let mut emitted = seen.emitted.iter();
        for frame in &self.machine.card.sent {
            let is_it = |from: &&Vec<u8>| {
                let (data, padding) = frame.split_at(from.len().min(frame.len()));
                data == from.as_slice() && padding.iter().all(|byte| *byte == 0) && frame.len() == from.len().max(60)
            };
            assert!(emitted.any(|from| is_it(&from)), "a frame on the wire that the tunnel did not emit: {frame:02x?}");
        }
    }
}

/// A frame to the guest's card, or from it, of this length; each length has its own bytes.
pub fn frame(len: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = [0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 7, 0x08, 0x06].into();
    frame.extend((14..len).map(|n| (n * 7 + len) as u8));
    frame.truncate(len);
    frame
}

/// Configuration space, as the guest reads it.
pub fn dword(rig: &mut E1000Rig, offset: u16) -> u32 {
    rig.machine.config_read(offset, Width::Dword)
}
