//! Tells the crate whether it is built with frame pointers, which `cfg!` cannot say.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    println!("cargo:rustc-check-cfg=cfg(frame_pointers)");
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let forced = ["yes", "y", "on", "true", "always", "non-leaf"];
    if forced.iter().any(|value| flags.contains(&format!("force-frame-pointers={value}"))) {
        println!("cargo:rustc-cfg=frame_pointers");
    }
}
