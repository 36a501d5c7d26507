//! Units: the mediator against a small scripted drive. Whole scenarios are in `tests/scenario`.

mod commands;
mod dma;
mod fake;
mod guard;
mod machine;
mod parsers;
mod pio;
mod resets;
mod storm;
