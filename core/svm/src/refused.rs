//! What the CPU does not run.

use exit::Exit;
use x86::svm::ExitCode;

/// VMRUN refuses the guest's state (APM s. 15.5.1), or the guest was left for a cause that nobody asked for. The CPU does not
/// tell more.
#[cold]
pub fn exit(code: ExitCode) -> Exit {
    match ExitCode::new(code.0) {
        ExitCode::INVALID => Exit::InvalidState,
        other => Exit::Unexpected(other.0 as u32),
    }
}
