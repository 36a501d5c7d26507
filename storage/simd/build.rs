//! Links the SIMD object into whatever uses this crate. `cargo xtask build` makes it and names its folder in
//! SHOJI_SIMD_DIR.

use std::env;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(simd_object)");
    println!("cargo::rerun-if-env-changed=SHOJI_SIMD_DIR");
    let bare_metal = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none");
    match env::var("SHOJI_SIMD_DIR") {
        Ok(dir) => {
            println!("cargo::rerun-if-changed={dir}/libvmm_simd.a");
            println!("cargo::rustc-link-search=native={dir}");
            println!("cargo::rustc-link-lib=static=vmm_simd");
            println!("cargo::rustc-cfg=simd_object");
        }
        Err(_) if bare_metal => {
            println!("cargo::error=SHOJI_SIMD_DIR does not name the folder of libvmm_simd.a; use `cargo xtask build`");
        }
        // On the host the tests take the entry points from the crate simd_object.
        Err(_) => {}
    }
}
