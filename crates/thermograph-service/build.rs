//! Has the crate compiled again where a migration is added.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // `sqlx::migrate!` embeds the files that are there; the compiler does not notice a new one.
    println!("cargo:rerun-if-changed=migrations");
}
