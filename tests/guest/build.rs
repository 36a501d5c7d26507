//! Gives the bare-metal program its memory layout.

fn main() {
    println!("cargo:rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-T{here}/link.ld");
        // The flat image itself: what the disk holds is what memory will hold.
        println!("cargo:rustc-link-arg-bins=--oformat=binary");
    }
}
