//! The request model of the disk drivers: ATA, AHCI and NVMe turn their commands into a [`Request`], and what becomes of
//! it into their own tables and status. Everything between is here, once.
//!
//! - [`Sectors`]: a disk's range map in the disk's own sectors. Who may do what ([`Sectors::plan`]), which pieces lie
//!   together on the disk ([`Part`]), what is transformed.
//! - [`Plan::Direct`]: wholly plain and in one piece; the driver points the device at guest memory that it has checked.
//! - [`Plan::Bounced`]: the request goes to a [`Queue`], part by part through a bounded [`Pool`] of arena memory. Copy and
//!   transform are [`mediator::Work`]; memory of the guest is never encrypted in place.
//! - Pool empty: requests are held, in order, and started when a buffer comes back. With none under way the pool is
//!   whole, so at least one is always in flight.
//! - Each disk of a queue is sure of a share of buffers and places ([`Queue::share`]), so that one whose requests never end holds
//!   up no other. What other disks do not lack of their shares any disk may have.
//! - A payload of at most a page never waits for long behind such requests, if the pool has a spare page for it
//!   ([`Pool::with_spare`]).
//! - A guest that asks for more than keeps a disk busy is not heard until there is room ([`Queue::has_room`]), so that it
//!   cannot fill the heap.
//! - Sectors of a transform that are larger than the disk's are read, changed and written where a request does not cover
//!   them; what touches the same sectors waits meanwhile.
//!
//! - Requests of the VMM's own ([`Own`]) go the same way, in turn with the guest's.
//!
//! # A driver's part
//! [`Queue::submit`] takes a request; after every call the driver takes [`Queue::poll`]'s steps until there is none: give
//! the device a [`Transfer`], or end a request. It tells [`Queue::on_device_done`] what the device made of a transfer, and
//! hands the work of the queue back to [`Queue::on_work_done`]. After a reset it drops requests by [`Queue::cancel`], once
//! the device cannot reach the arena any more.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

mod extents;
mod job;
mod own;
mod pool;
mod queue;
mod request;
mod scatter;
mod shares;

#[cfg(test)]
mod tests;

pub use extents::{Part, Plan, Refusal, Sectors, Unserved};
pub use own::{Own, OwnDisk, Plain};
pub use pool::{Chunk, PAGE_BYTES, Pool};
pub use queue::{MAX_SEGMENTS, Queue};
pub use request::{Content, DeviceError, Failure, Memory, Request, Step, Transfer};
pub use scatter::Scatter;
pub use shares::SHARE_BYTES;
