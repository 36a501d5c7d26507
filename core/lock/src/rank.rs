//! The order of the VMM's locks, lowest first.

/// The handler of the firmware stub's call.
pub const FIRMWARE: u8 = 0;
/// One controller with its mediator, over an access of the guest and the work that follows it.
pub const CONTROLLER: u8 = 1;
/// PCI configuration mechanism #1: from the address in CF8 to the data at CFC.
pub const CONFIG: u8 = 2;
/// The keyboard controller's command and data port.
pub const KEYBOARD: u8 = 3;
/// The guest's way to sleep.
pub const SLEEP: u8 = 4;
/// The guest's nested page tables.
pub const NESTED: u8 = 5;
/// What the DMA arena has free.
pub const ARENA: u8 = 6;
/// What is on its way between a network card and its tunnel. Whoever holds it may wake a task.
pub const TUNNEL: u8 = 7;
/// The list of the CPUs' exit counters.
pub const COUNTERS: u8 = 8;
/// The shell's sessions.
pub const SHELL: u8 = 9;
/// The list of the CPUs' last exits.
pub const TRAILS: u8 = 10;
/// What is kept of the programs in ring 3.
pub const PROGRAMS: u8 = 11;
/// What waits for a program.
pub const QUEUE: u8 = 12;
/// Which services there are.
pub const MESSAGES: u8 = 13;
/// Free page frames.
pub const FRAMES: u8 = 14;
/// The tasks and timers of one CPU: whoever holds a lock may wake a task.
pub const TASKS: u8 = 15;
/// A CPU's ring of the log.
pub const LOG: u8 = 16;
/// What numbers the records of all rings.
pub const LOG_CLOCK: u8 = 17;
/// The serial port.
pub const CONSOLE: u8 = 18;
/// The screen.
pub const SCREEN: u8 = 19;
/// The heap: whoever holds a lock may allocate.
pub const HEAP: u8 = 20;
/// Whose turn it is at the disks, among the VMM's own requests: nothing is done under it.
pub const TURNS: u8 = 21;

/// Past the last one.
pub(crate) const END: u8 = 22;
