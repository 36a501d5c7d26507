//! `cargo xtask image`: only the disk.

use crate::setup;
use anyhow::Result;
use clap::Args;
use testbed::{Workspace, disks};

#[derive(Args)]
pub struct ImageArgs {
    /// The small test guest (kernel and busybox) instead of Debian
    #[arg(long)]
    small: bool,
    /// Not encrypted and without Shoji: for comparing with the bare machine
    #[arg(long)]
    plain: bool,
    /// Install what is missing without asking
    #[arg(long)]
    yes: bool,
}

pub fn image(workspace: &Workspace, args: &ImageArgs) -> Result<()> {
    setup::ensure(&[setup::For::Emulate], args.yes)?;
    let disk = if args.small { disks::small(workspace, args.plain) } else { disks::demo(workspace, args.plain) }?;
    println!("{}", disk.path.display());
    Ok(())
}
