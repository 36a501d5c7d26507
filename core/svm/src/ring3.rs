//! Ring 3 beside a guest whose registers are partly in the CPU (APM s. 15.5.2): TR, LDTR, FS and GS are put away meanwhile, and
//! GIF is set, so that NMIs and the timer's interrupt reach the CPU.

use crate::instructions::{clgi, stgi, vmload, vmsave};
use crate::nmi;
use hw::cpus;
use hw::ring3::{Extension, load_task};

pub static EXTENSION: Extension = Extension { open, close };

fn open() {
    // `enable` has asked for it.
    let Some(area) = cpus::this().switch_area() else { return };
    // SAFETY: AMD-V is on; the area is a frame for nothing else. Once the task register is the VMM's, whatever comes finds its
    // handler, and a stack.
    unsafe {
        vmsave(area);
        load_task();
        // It is set where the timer is lent while the guest runs. Ring 3 has a flag of its own.
        core::arch::asm!("cli", options(nomem, nostack));
        stgi();
    }
}

fn close() {
    let Some(area) = cpus::this().switch_area() else { return };
    // SAFETY: AMD-V is on; `open` has filled the area.
    unsafe {
        clgi();
        vmload(area);
    }
    nmi::send_again();
}
