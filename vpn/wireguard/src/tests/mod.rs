//! What cannot be seen from outside: windows, limits and ends of counters.

mod allowed_ips;
mod cookies;
mod ends;
mod replay;
mod rig;
mod vectors;
