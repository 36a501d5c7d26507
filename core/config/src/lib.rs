//! Boot configuration: schema, binary blob, validation.
//!
//! The command `shoji` compiles a TOML file to a [`Config`], checks it with [`validate`] and writes it with [`encode`];
//! GRUB loads the result as a module, and the VMM reads it with [`parse`]. TOML never reaches the VMM.
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

mod blob;
mod entry;
mod schema;
mod validate;

pub use blob::{BlobError, FORMAT_VERSION, MAX_BLOB_BYTES, encode, parse};
pub use schema::*;
pub use validate::{
    MAX_ARGON2_MIB, MAX_ARGON2_MIB_PASSED, MAX_ARGON2_PASSES, MAX_DISK_RULES, MAX_TEXT_BYTES, Problem, validate,
    validate_public,
};
