//! The binary: phases in order, the manifest of what is linked, panic, console.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod bios;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod borrowed;
#[cfg(target_os = "none")]
mod calls;
#[cfg(target_os = "none")]
mod cards;
#[cfg(target_os = "none")]
mod cpus;
#[cfg(target_os = "none")]
mod deadlines;
#[cfg(target_os = "none")]
mod defect;
#[cfg(target_os = "none")]
mod devices;
#[cfg(target_os = "none")]
mod disks;
#[cfg(target_os = "none")]
mod failure;
#[cfg(target_os = "none")]
mod header_files;
#[cfg(target_os = "none")]
mod heartbeat;
#[cfg(target_os = "none")]
mod home;
#[cfg(target_os = "none")]
mod loaded;
#[cfg(target_os = "none")]
mod login;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod manifest;
#[cfg(target_os = "none")]
mod programs;
#[cfg(target_os = "none")]
mod reset;
#[cfg(target_os = "none")]
mod screen;
#[cfg(target_os = "none")]
mod services;
#[cfg(target_os = "none")]
mod sleep;
#[cfg(target_os = "none")]
mod tasks;
#[cfg(target_os = "none")]
mod tunnels;
#[cfg(target_os = "none")]
mod vendor;
#[cfg(target_os = "none")]
mod volumes;
#[cfg(target_os = "none")]
mod world;

/// Shoji runs on the bare machine only; `cargo xtask build` builds it.
#[cfg(not(target_os = "none"))]
fn main() {}
