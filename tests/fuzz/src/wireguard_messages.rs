//! Datagrams and packets as an attacker makes them, into a peer that has a session with another one.
//!
//! Input: records, see [`step`]. Whatever they say, the peer hands out what the other one has sent and nothing else, each packet once, and
//! answers nobody with more than it was asked with.

use crate::wireguard_rig::{A_IN, B_IN, Node, Pair, packet};
use blake2::digest::consts::U16;
use blake2::digest::{Digest, FixedOutput, Update};
use blake2::{Blake2s256, Blake2sMac};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use wireguard::{Options, PublicKey, Received};

const GENUINE: u32 = 4;
const MACS_BYTES: usize = 32;

/// The peer under attack, and what the attacker has heard on the wire.
struct Attack {
    victim: Node,
    friend: SocketAddr,
    now_ms: u64,
    heard: Vec<Vec<u8>>,
    /// Packets that were really sent to it, and not yet handed out.
    due: BTreeSet<Vec<u8>>,
}

impl Attack {
    /// The attacker has heard a handshake, packets that arrived, and packets that it holds back.
    fn new(load: bool) -> Self {
        let options = Options { handshakes_per_second: if load { 0 } else { 64 }, ..Options::default() };
        let mut pair = Pair::new();
        let mut heard = Vec::new();
        pair.a.send(pair.now_ms, &packet(A_IN, B_IN, 0, 64));
        let first = pair.a.drain(pair.now_ms);
        heard.extend(first.iter().map(|(_, bytes)| bytes.clone()));
        first.iter().for_each(|(_, bytes)| drop(pair.b.receive(pair.now_ms, pair.a.at, bytes)));
        let response = pair.b.drain(pair.now_ms);
        heard.extend(response.iter().map(|(_, bytes)| bytes.clone()));
        response.iter().for_each(|(_, bytes)| drop(pair.a.receive(pair.now_ms, pair.b.at, bytes)));
        let confirming = pair.a.drain(pair.now_ms);
        heard.extend(confirming.iter().map(|(_, bytes)| bytes.clone()));
        confirming.iter().for_each(|(_, bytes)| drop(pair.b.receive(pair.now_ms, pair.a.at, bytes)));
        let mut due = BTreeSet::new();
        for number in 1..=GENUINE {
            let sent = packet(A_IN, B_IN, number, 64);
            heard.extend(pair.a.send(pair.now_ms, &sent).1.map(|(_, bytes)| bytes));
            due.insert(sent);
        }
        let mut victim = pair.b;
        victim.tunnel.set_options(options);
        Self { victim, friend: pair.a.at, now_ms: pair.now_ms, heard, due }
    }

    fn datagram(&mut self, bytes: &[u8]) {
        let (received, delivery) = self.victim.receive(self.now_ms, self.friend, bytes);
        if let Some((_, packet)) = delivery {
            assert!(self.due.remove(&packet), "a packet that was not sent, or a second time");
        }
        let genuine = self.heard.iter().any(|heard| heard == bytes);
        let answers = self.victim.drain(self.now_ms);
        assert!(answers.len() <= 1 + usize::from(genuine), "{} answers to one datagram", answers.len());
        if !genuine && !matches!(received, Received::Dropped(_)) {
            // MAC2 alone may differ: nobody looks at it without load.
            let body = bytes.len() - MACS_BYTES / 2;
            assert!(self.heard.iter().any(|heard| heard.get(..body) == bytes.get(..body)), "a forgery was taken");
        }
        answers.iter().for_each(|(_, answer)| assert!(genuine || answer.len() <= bytes.len(), "an amplifier"));
    }
}

/// MAC1 as whoever knows the public key can make it.
fn sign(message: &mut [u8], key: &PublicKey) {
    let Some(at) = message.len().checked_sub(MACS_BYTES) else { return };
    let mut hash = Blake2s256::new();
    Digest::update(&mut hash, b"mac1----");
    Digest::update(&mut hash, key.0);
    let mut mac = Blake2sMac::<U16>::new_with_salt_and_personal(Some(&hash.finalize()), &[], &[]).expect("32 bytes");
    Update::update(&mut mac, &message[..at]);
    message[at..at + 16].copy_from_slice(&mac.finalize_fixed());
}

/// Performs the first record: what it is, then its length or place, then its bytes. Gives the rest.
fn step<'a>(attack: &mut Attack, record: &'a [u8]) -> Option<&'a [u8]> {
    let ([what, argument], rest) = record.split_first_chunk()?;
    let argument = usize::from(*argument);
    let (bytes, behind) = rest.split_at(argument.min(rest.len()));
    match what % 6 {
        // As it is; with its MAC1 made right.
        0 => attack.datagram(bytes),
        1 => {
            let mut message = bytes.to_vec();
            sign(&mut message, &attack.victim.tunnel.public_key());
            attack.datagram(&message);
        }
        // Something heard, once more, or changed in one byte, with MAC1 made right or not.
        kind @ 2..=4 => {
            let ([place, change], behind) = rest.split_first_chunk()?;
            let mut message = attack.heard[argument % attack.heard.len()].clone();
            let place = usize::from(*place) % message.len();
            message[place] ^= if kind == 2 { 0 } else { *change };
            if kind == 4 && matches!(message[0], 1 | 2) {
                sign(&mut message, &attack.victim.tunnel.public_key());
            }
            attack.datagram(&message);
            return Some(behind);
        }
        // The guest's own packet, of any bytes; time goes on.
        _ => {
            attack.victim.send(attack.now_ms, bytes);
            attack.now_ms += bytes.len() as u64 * 100;
            attack.victim.tunnel.on_timeout(attack.now_ms);
            attack.victim.drain(attack.now_ms);
        }
    }
    Some(behind)
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((flags, mut rest)) = data.split_first() else { return };
    let mut attack = Attack::new(flags & 1 != 0);
    for _ in 0..200 {
        let Some(behind) = step(&mut attack, rest) else { break };
        rest = behind;
    }
}

/// Each message that was heard, as it is and changed, and messages made of nothing.
pub fn seeds() -> Vec<Vec<u8>> {
    let repeat: Vec<u8> = [0].into_iter().chain((0..8).flat_map(|n| [2, n, 0, 0, 2, n, 0, 0])).collect();
    let change: Vec<u8> = [1].into_iter().chain((0..8).flat_map(|n| [3, n, 30, 1, 4, n, 120, 1])).collect();
    let mut made = vec![1];
    for (kind, len) in [(1u8, 148u8), (2, 92), (3, 64), (4, 32)] {
        made.extend([1, len, kind, 0, 0, 0]);
        made.extend((4..len).map(|i| i.wrapping_mul(7)));
    }
    let inside = [&[0, 5, 64][..], &packet(B_IN, A_IN, 1, 64), &[5, 3, 0, 0, 0]].concat();
    vec![repeat, change, made, inside]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_attacker_holds_back_arrives_once_when_it_is_let_through() {
        let mut attack = Attack::new(false);
        assert_eq!((attack.heard.len(), attack.due.len()), (7, GENUINE as usize));
        for bytes in [attack.heard.clone(), attack.heard.clone()].concat() {
            attack.datagram(&bytes);
        }
        assert!(attack.due.is_empty());
    }

    #[test]
    fn a_signed_message_of_nothing_is_looked_into() {
        let mut attack = Attack::new(false);
        let mut message = vec![1; 148];
        message[1..4].fill(0);
        sign(&mut message, &attack.victim.tunnel.public_key());
        attack.datagram(&message);
        assert_eq!(attack.victim.tunnel.drops().of(wireguard::DropReason::Forged), 1);
    }
}
