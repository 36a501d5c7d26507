//! NMIs that arrive while the VMM runs. They are the guest's.

use core::sync::atomic::{AtomicPtr, Ordering};

static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// From now on `handler` is called for each NMI, at any moment, on the stack of whatever it interrupts. It may take no
/// lock. Without a handler, before the guest runs, NMIs are dropped.
pub fn set_handler(handler: fn()) {
    HANDLER.store(handler as *mut (), Ordering::Relaxed);
}

pub(crate) fn on_nmi() {
    let handler = HANDLER.load(Ordering::Relaxed);
    if !handler.is_null() {
        // SAFETY: only `set_handler` writes it.
        let handler = unsafe { core::mem::transmute::<*mut (), fn()>(handler) };
        handler();
    }
}
