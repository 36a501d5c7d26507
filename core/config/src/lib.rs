//! Boot configuration: schema, binary blob, validation.
//!
//! The command `shoji` compiles a TOML file to a [`Config`], checks it with [`validate`] and writes it with [`encode`];
//! GRUB loads the result as a module, and the VMM reads it with [`open`]. TOML never reaches the VMM. A configuration
//! can be locked: then [`Locked`] gives its [`Public`] part, and the whole [`Config`] for a pass phrase, a recovery key or
//! a key file; [`Envelope`] writes it.
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
mod cards;
mod entry;
mod envelope;
mod network;
mod parts;
mod recovery;
mod schema;
mod slot;
mod validate;
mod validate_network;

/// 1 KiB of the memory that trying a pass phrase takes.
pub use argon2::Block;
pub use blob::{BlobError, FORMAT_VERSION, MAX_BLOB_BYTES, encode, parse};
pub use cards::{Card, CardsError, Mac, rules_of_cards};
pub use envelope::{Envelope, Locked, Opened, SlotError, UnlockError, open};
pub use network::*;
pub use recovery::{RECOVERY_KEY_BYTES, RecoveryKey, RecoveryKeyError};
pub use schema::*;
pub use slot::{
    Cost, Credential, MAX_PASS_PHRASE_BYTES, MAX_SLOTS, Method, NONCE_BYTES, RAW_KEY_BYTES, SLOT_RANDOM_BYTES, Slot,
};
pub use validate::{
    MAX_ARGON2_MIB, MAX_ARGON2_MIB_PASSED, MAX_ARGON2_PASSES, MAX_DISK_RULES, MAX_TEXT_BYTES, Problem, RuleIndex,
    check_file_name, check_text, validate, validate_public,
};
pub use validate_network::{MAX_NETWORK_RULES, MAX_WIRE_DNS, WIRE_MTU};
