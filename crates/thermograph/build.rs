//! Tells the crate what `cfg!` cannot say: whether it is built with optimisation and with frame
//! pointers, whether stacks can be sampled on this system, whether memory can, and whether Tokio
//! tells how long a task waited.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    println!("cargo:rustc-check-cfg=cfg(optimised)");
    println!("cargo:rustc-check-cfg=cfg(frame_pointers)");
    println!("cargo:rustc-check-cfg=cfg(sampler)");
    println!("cargo:rustc-check-cfg=cfg(schedule_latency)");
    println!("cargo:rustc-check-cfg=cfg(heap)");
    if env::var("OPT_LEVEL").is_ok_and(|level| level != "0") {
        println!("cargo:rustc-cfg=optimised");
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let forced = ["yes", "y", "on", "true", "always", "non-leaf"];
    if forced.iter().any(|value| flags.contains(&format!("force-frame-pointers={value}"))) {
        println!("cargo:rustc-cfg=frame_pointers");
    }
    // The signal handler reads registers by their place, and threads are reached as Linux does it.
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && ["x86_64", "aarch64"].contains(&target("ARCH").as_str()) {
        println!("cargo:rustc-cfg=sampler");
        if env::var_os("CARGO_FEATURE_JEMALLOC").is_some() {
            println!("cargo:rustc-cfg=heap");
        }
    }
    if env::var_os("CARGO_CFG_TOKIO_UNSTABLE").is_some() && target("POINTER_WIDTH") == "64" {
        println!("cargo:rustc-cfg=schedule_latency");
    }
}
