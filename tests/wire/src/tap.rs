//! A TAP device: a card of this network namespace whose cable is a file. The only unsafe code of the crate: the kernel makes one out
//! of an open file by an ioctl that the standard library does not know.

use anyhow::{Context, Result, ensure};
use nix::libc;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);

/// Makes the device `name` in the calling thread's namespace; it lasts as long as the file. Reads and writes of the file are one frame
/// each and do not block.
pub fn open(name: &str) -> Result<File> {
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let file = file.context("cannot open /dev/net/tun")?;
    ensure!(name.len() < libc::IFNAMSIZ, "{name} is too long for a device's name");
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the file is open for the length of the call; TUNSETIFF reads and writes the one `ifreq` that the pointer leads to, whose
    // name ends with a zero and whose flags are set.
    unsafe { set_interface(file.as_raw_fd(), &raw const request) }
        .with_context(|| format!("cannot make the device {name}"))?;
    Ok(file)
}
