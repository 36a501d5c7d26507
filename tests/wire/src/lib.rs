//! The wire between a machine under test and the world, and a real WireGuard peer in that world.
//!
//! | part | file |
//! |---|---|
//! | QEMU's card <-> relay <-> TAP device or a second machine; each frame goes to a capture | `relay.rs`, `port.rs`, `tap.rs` |
//! | what the relay does to frames besides: loss, delay, other order, copies, a cut | `faults.rs` |
//! | the capture's file (pcapng), and tcpdump's | `pcapng.rs`, `pcap.rs` |
//! | namespaces that end with the test | `space.rs` |
//! | the peer: wireguard-go, DHCP, router advertisements, DNS, iperf3, HTTP | `peer.rs`, `http.rs` |
//! | the oracle: does the capture hold anything but the tunnel? | `oracle.rs`, `oracle/` |
//! | the packets inside: nothing lost, nothing twice, in order | `inner.rs` |
//!
//! Everything of the network lies in a network and a mount namespace without names, which last as long as a thread of the test
//! and the programs that it has started; these are killed when the thread ends, and by the kernel if the test is. Nothing is left, whatever happens.
#![deny(unsafe_code)]

pub mod faults;
pub mod frame;
pub mod http;
pub mod inner;
pub mod oracle;
pub mod pcap;
pub mod pcapng;
pub mod peer;
pub mod port;
pub mod relay;
pub mod space;
#[allow(unsafe_code, reason = "the one ioctl that makes a TAP device")]
mod tap;
