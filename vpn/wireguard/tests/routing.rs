//! Three of ours: who gets a packet, and who may send one.

#[path = "../src/tests/rig.rs"]
mod rig;

use rig::{A_IN, Node, packet, peer};
use std::net::SocketAddr;
use wireguard::{DropReason, Options, PeerId, Received, Sent};

/// A with two peers: one has 10.0.0.0/8, the other 10.0.0.2/32 of it.
fn three() -> (Node, Node, Node) {
    let mut nodes =
        [1u8, 2, 3].map(|seed| Node::new(seed, SocketAddr::new([192, 0, 2, seed].into(), 51820), Options::default()));
    let keys = [0, 1, 2].map(|i: usize| nodes[i].tunnel.public_key());
    let at = [0, 1, 2].map(|i: usize| nodes[i].at);
    nodes[0].tunnel.add_peer(0, peer(keys[1], Some(at[1]), &["10.0.0.0/8"])).unwrap();
    nodes[0].tunnel.add_peer(0, peer(keys[2], Some(at[2]), &["10.0.0.2/32"])).unwrap();
    nodes[1].tunnel.add_peer(0, peer(keys[0], Some(at[0]), &["0.0.0.0/0"])).unwrap();
    nodes[2].tunnel.add_peer(0, peer(keys[0], Some(at[0]), &["0.0.0.0/0"])).unwrap();
    let [a, b, c] = nodes;
    (a, b, c)
}

fn settle(nodes: &mut [&mut Node]) -> Vec<(SocketAddr, Received)> {
    let mut seen = Vec::new();
    loop {
        let moved: Vec<_> = nodes
            .iter_mut()
            .flat_map(|node| {
                let from = node.at;
                node.drain(1000).into_iter().map(move |(to, bytes)| (from, to, bytes))
            })
            .collect();
        if moved.is_empty() {
            return seen;
        }
        for (from, to, bytes) in moved {
            let node = nodes.iter_mut().find(|node| node.at == to).unwrap();
            seen.push((to, node.receive(1000, from, &bytes).0));
        }
    }
}

#[test]
fn the_longest_prefix_decides_who_gets_a_packet_and_who_may_send_one() {
    let (mut a, mut b, mut c) = three();
    a.send(1000, &packet(A_IN, "10.0.0.1", 1, 60));
    a.send(1000, &packet(A_IN, "10.0.0.2", 2, 60));
    let seen = settle(&mut [&mut a, &mut b, &mut c]);
    let got = |at| seen.iter().filter(|(to, what)| *to == at && matches!(what, Received::Packet(..))).count();
    assert_eq!((got(b.at), got(c.at)), (1, 1));
    assert_eq!(a.send(1000, &packet(A_IN, "11.0.0.1", 3, 60)).0, Sent::Dropped(DropReason::NoRoute));
    let may = |a: &mut Node, node: &mut Node, source| {
        let (_, datagram) = node.send(1000, &packet(source, "10.9.9.9", 1, 60));
        a.receive(1000, node.at, &datagram.unwrap().1).0
    };
    assert!(matches!(may(&mut a, &mut b, "10.0.0.1"), Received::Packet(PeerId(0), _)));
    assert!(matches!(may(&mut a, &mut c, "10.0.0.2"), Received::Packet(PeerId(1), _)));
    let refused = Received::Dropped(DropReason::SourceNotAllowed);
    assert_eq!(may(&mut a, &mut b, "10.0.0.2"), refused, "inside its prefix, but the other one's");
    assert_eq!(may(&mut a, &mut c, "10.0.0.1"), refused);
    assert_eq!(may(&mut a, &mut b, "11.0.0.1"), refused);
}
