//! `log`: the log, and what the last run has left.

use crate::defect;
use abi::hypercall::{Error, name};
use exit::{Call, Caller, register};
use initfunc::initfunc;

static LOG: Call = Call { name: name::LOG, handler: answer };

fn answer(caller: &Caller<'_>, request: &[u8], room: &mut [u8]) -> Result<usize, Error> {
    logs::answer(hw::logger::logs(), defect::previous(), caller.now.0, request, room)
}

fn init() -> Result<(), &'static str> {
    register(&LOG)
}
initfunc!("vmmcall0", init);
