//! A guest, the tunnel, a wire with an oracle, a peer and a server behind it.

mod hostile;
mod oracle;
mod scenarios;
mod world;
