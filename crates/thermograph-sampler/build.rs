//! Tells the crate what `cfg!` cannot say: whether stacks can be sampled on this system, and whether
//! memory can.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(sampler)");
    println!("cargo:rustc-check-cfg=cfg(heap)");
    println!("cargo:rustc-check-cfg=cfg(loom)");
    // The signal handler reads registers by their place, and threads are reached as Linux does it.
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && ["x86_64", "aarch64"].contains(&target("ARCH").as_str()) {
        println!("cargo:rustc-cfg=sampler");
        if env::var_os("CARGO_FEATURE_JEMALLOC").is_some() {
            println!("cargo:rustc-cfg=heap");
        }
    }
}
