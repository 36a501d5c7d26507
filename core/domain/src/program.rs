//! What the manifest tells of a program.

/// A line of the manifest.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    /// The file.
    pub elf: &'static [u8],
    /// Services that it provides: who opens one starts it.
    pub services: &'static [&'static str],
    pub start: Start,
    pub heap_kib: u32,
    pub stack_kib: u32,
    /// What it may take to answer a call, calls of its own included.
    pub time_ms: u32,
    /// What it may send and log while it answers a call.
    pub messages: u32,
    /// It may start and end others.
    pub manages: bool,
    /// It may open the service `disk`, and so read and write what the guest has on its disks.
    pub disks: bool,
    /// After a failure it is started anew, first after this time, then after twice as long each time.
    pub restart_ms: Option<u32>,
}

/// When a program is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    AtBoot,
    /// When one of its services is opened.
    OnDemand,
}

impl Program {
    /// What suits most.
    pub const USUAL: Self = Self {
        name: "",
        elf: &[],
        services: &[],
        start: Start::OnDemand,
        heap_kib: 64,
        stack_kib: 32,
        time_ms: 100,
        messages: 64,
        manages: false,
        disks: false,
        restart_ms: Some(10),
    };
}
