//! Registration through the linker, as any crate of the workspace does it: without unsafe code of its own.
#![forbid(unsafe_code)]

use initfunc::{Phase, initfunc};
use std::sync::Mutex;

static CALLED: Mutex<Vec<&str>> = Mutex::new(Vec::new());

fn call(name: &'static str) -> Result<(), &'static str> {
    CALLED.lock().unwrap().push(name);
    Ok(())
}

mod second {
    pub fn b() -> Result<(), &'static str> {
        super::call("b")
    }
    initfunc::initfunc!("driver1", b);
}

fn a() -> Result<(), &'static str> {
    call("a")
}

fn c() -> Result<(), &'static str> {
    call("c")
}

fn fail() -> Result<(), &'static str> {
    Err("It never works.")
}

fn never() -> Result<(), &'static str> {
    call("never")
}

initfunc!("driver9", c);
initfunc!("driver0", a);
initfunc!("config10", never);
initfunc!("resume0", fail);
initfunc!("resume1", never);
initfunc!("msg0", second::b);

#[test]
fn functions_of_a_phase_are_called_in_the_order_of_their_labels() {
    initfunc::call(Phase::Driver).unwrap();
    // Nothing is registered for it.
    initfunc::call(Phase::Config0).unwrap();
    let error = initfunc::call(Phase::Resume).unwrap_err();
    assert_eq!((error.path, error.reason), ("registered::fail", "It never works."));
    assert_eq!(*CALLED.lock().unwrap(), ["a", "b", "c"], "and nothing behind the failure");
}

#[test]
fn every_registered_function_is_listed() {
    let list: Vec<_> = initfunc::registered().map(|entry| format!("{} {}", entry.label(), entry.path())).collect();
    assert_eq!(
        list,
        [
            "config10 registered::never",
            "driver0 registered::a",
            "driver1 registered::second::b",
            "driver9 registered::c",
            "msg0 registered::second::b",
            "resume0 registered::fail",
            "resume1 registered::never",
        ]
    );
    assert!(initfunc::duplicate().is_none());
}
