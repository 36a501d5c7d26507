//! Both ends with a real tunnel between them, which fails in every way.

mod hostile;
mod queue;
mod scenarios;
mod world;
