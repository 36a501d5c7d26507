//! `seeds NAME DIR`: writes the seeds of a fuzz target into a corpus directory.
#![forbid(unsafe_code)]

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (name, dir) = (args.next().unwrap_or_default(), PathBuf::from(args.next().unwrap_or_default()));
    let Some(target) = fuzz::TARGETS.iter().find(|target| target.name == name) else {
        let names: Vec<_> = fuzz::TARGETS.iter().map(|target| target.name).collect();
        return Err(std::io::Error::other(format!("no target {name:?}; there are {}", names.join(", "))));
    };
    std::fs::create_dir_all(&dir)?;
    for (index, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(dir.join(format!("seed-{index:02}")), seed)?;
    }
    Ok(())
}
