//! A stand-in until network cards are taken over.

/// Polls the card with this number on the bus soon: its tunnel has something to hand out.
pub fn wake(_: usize) {}
