//! All cases, in the order in which they run: what others stand on first.

mod ahci;
mod cpu;
mod debian;
mod defect;
mod disk_image;
mod dmesg;
mod fio;
mod heartbeat;
mod inside;
mod login;
mod luks2;
mod luks2_headers;
mod net;
mod nvme;
mod oracle;
mod own;
mod power_cut;
mod read_only;
mod refusal;
mod replug;
mod restarts;
mod sleep;
mod small;
mod smp;
mod tiny;
mod traces;
mod tunnel;
mod tunnel_debian;
mod tunnel_kernel;
mod tunnel_rig;

use crate::case::Case;

pub fn all() -> Vec<Case> {
    [
        tiny::cases(),
        traces::cases(),
        small::cases(),
        disk_image::cases(),
        fio::cases(),
        nvme::cases(),
        net::cases(),
        tunnel::cases(),
        own::cases(),
        ahci::cases(),
        replug::cases(),
        oracle::cases(),
        power_cut::cases(),
        refusal::cases(),
        cpu::cases(),
        login::cases(),
        luks2::cases(),
        luks2_headers::cases(),
        read_only::cases(),
        sleep::cases(),
        smp::cases(),
        restarts::cases(),
        defect::cases(),
        heartbeat::cases(),
        inside::cases(),
        debian::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
