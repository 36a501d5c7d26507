//! System calls of programs in ring 3: `int 4` with the number in RAX and arguments in RDI, RSI, RDX, R8. Results come in RAX, which
//! is 0 or the number of an error (`message::Error`), RDI, RSI, RDX; all other registers stay. Buffers are an address and a length.

/// Ends the program: RDI, its status, 0 if all is well, else one of [`status`]. Does not return.
pub const EXIT: u64 = 0;
/// A line of the log: RDI, level (1 error to 5 trace); RSI, RDX, text.
pub const LOG: u64 = 1;
/// More heap: RDI, bytes, a multiple of 4096. RDI, where it begins: at the end of what there was.
pub const GROW: u64 = 2;
/// A port to a service: RDI, RSI, its name. RDI, the descriptor.
pub const OPEN: u64 = 3;
/// RDI, descriptor.
pub const CLOSE: u64 = 4;
/// RDI, descriptor; RSI, value.
pub const SEND_INT: u64 = 5;
/// RDI, descriptor; RSI, descriptor of the port that is sent.
pub const SEND_PORT: u64 = 6;
/// RDI, descriptor; RSI, operation; RDX, where the leases are ([`LEASE_BYTES`] each); R8, how many. RDI, the answer.
pub const CALL: u64 = 7;
/// RDI, RSI, name of a service that this program answers for. RDI, its number.
pub const REGISTER: u64 = 8;
/// RDI, number of a service.
pub const UNREGISTER: u64 = 9;
/// Answers the last call: RDI, 0 or an error; RSI, the answer. Then waits for what comes next: RDI, one of [`letter`]; RSI, number of
/// the service; RDX, operation, value or descriptor.
pub const RECEIVE: u64 = 10;
/// Of the call that is being answered: RDI, index. RDI, length; RSI, 1 if it is to be written.
pub const LEASE_INFO: u64 = 11;
/// RDI, index; RSI, offset; RDX, R8, buffer. RDI, bytes copied.
pub const LEASE_READ: u64 = 12;
/// As [`LEASE_READ`], the other way.
pub const LEASE_WRITE: u64 = 13;
/// Starts a program of the manifest: RDI, RSI, its name. RDI, number of the process.
pub const NEW_PROCESS: u64 = 14;
/// Ends a process: RDI, its number.
pub const END_PROCESS: u64 = 15;
/// RDI, nanoseconds since Shoji started.
pub const NOW: u64 = 16;

/// Past the last one.
pub const END: u64 = 17;

/// Leases of a call.
pub const MOST_LEASES: usize = 4;
/// Address, length, 1 if it is to be written; 8 bytes each.
pub const LEASE_BYTES: usize = 24;

/// What [`RECEIVE`] gives.
pub mod letter {
    pub const CALL: u64 = 0;
    pub const INT: u64 = 1;
    pub const PORT: u64 = 2;
}

/// Why a program ends itself.
pub mod status {
    pub const PANIC: u64 = 1;
    pub const OUT_OF_MEMORY: u64 = 2;
}
