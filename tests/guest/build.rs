//! Gives the bare-metal program its memory layout.

fn main() {
    println!("cargo:rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        println!("cargo:rustc-link-arg-bins=-T{}/link.ld", env!("CARGO_MANIFEST_DIR"));
        // The flat image itself: what the disk holds is what memory will hold.
        println!("cargo:rustc-link-arg-bins=--oformat=binary");
    }
}
