//! Source files: those of dependencies, and the path of a function by the file that it is in.

/// Directories below which `cargo` and `rustc` keep the source of others: registries, checkouts of
/// git, the standard library as it was built (`/rustc/HASH`), as `rustup component add rust-src`
/// installs it, and the crates that it depends on.
const DEPENDENCIES: [&str; 5] =
    ["/registry/src/", "/git/checkouts/", "/rustc/", "/lib/rustlib/src/rust/", "/rust/deps/"];

/// The directory with the packages of the diagnostics, which is neither below a registry nor a
/// checkout where they are path dependencies.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Returns whether a source file is one of a dependency, or not known.
pub(super) fn is_dependency(file: &str) -> bool {
    file.is_empty() || DEPENDENCIES.iter().any(|at| file.contains(at)) || is_vendored(file)
}

/// Whether a source file is the diagnostics' own.
pub(super) fn is_of_the_diagnostics(file: &str) -> bool {
    own_package(file).is_some()
}

/// The package of the diagnostics that a source file is in, and the file's path below its `src`.
fn own_package(file: &str) -> Option<(&'static str, &str)> {
    // `file!()` is absolute for a path dependency, and follows `--remap-path-prefix`.
    let remapped = file!().strip_suffix("/src/plumbing/source.rs");
    [Some(HERE), remapped].into_iter().flatten().find_map(|here| {
        let (directory, _) = here.rsplit_once('/').filter(|_| here.starts_with('/'))?;
        let inside = file.strip_prefix(directory)?.strip_prefix('/')?;
        let (package, inside) = inside.split_once("/src/")?;
        super::OURS.iter().find(|own| **own == package).map(|own| (*own, inside))
    })
}

/// Whether `cargo vendor` has put it there: `vendor/NAME/src/…`.
fn is_vendored(file: &str) -> bool {
    let parts = file.match_indices("/vendor/").map(|(at, found)| &file[at + found.len()..]);
    let mut after = parts.filter_map(|rest| rest.split_once('/'));
    after.any(|(_name, rest)| rest.starts_with("src/"))
}

/// The path of a function whose name has none, by its file where that is not the app's own: crate
/// and modules, such as `tokio::runtime::park`. `None` where the file does not tell them.
pub fn path_of(file: &str) -> Option<String> {
    if let Some((package, inside)) = own_package(file) {
        return Some(joined(&package.replace('-', "_"), inside));
    }
    if file.is_empty() || !is_dependency(file) {
        return None;
    }
    let (package, inside) = file.rsplit_once("/src/")?;
    let (above, package) = package.rsplit_once('/')?;
    // A checkout of a repository with one package: `checkouts/NAME-HASH/REVISION/src`.
    let package = match above.rsplit_once('/') {
        Some((above, repository)) if above.ends_with("/git/checkouts") => repository,
        _ => package,
    };
    Some(joined(&unversioned(package).replace('-', "_"), inside))
}

/// The name of a package without its version, and of a checkout without its hash.
fn unversioned(package: &str) -> &str {
    let is_version = |text: &str| {
        let is_hash = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let major = text.split_once('.').map_or("", |(major, _)| major);
        is_hash || !major.is_empty() && major.bytes().all(|byte| byte.is_ascii_digit())
    };
    let dashes = package.match_indices('-').map(|(at, _)| at);
    let end = dashes.into_iter().find(|at| is_version(&package[at + 1..]));
    &package[..end.unwrap_or(package.len())]
}

/// A crate and the modules of a file below its `src`.
fn joined(name: &str, inside: &str) -> String {
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let modules = inside.split('/').filter(|part| !["lib", "main", "mod"].contains(part));
    std::iter::once(name).chain(modules).collect::<Vec<_>>().join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_others_are_dependencies() {
        for file in [
            "/root/.cargo/registry/src/index.crates.io-1949cf8c/tokio-1.54.1/src/lib.rs",
            "/root/.cargo/git/checkouts/tokio-0123456789abcdef/8be/tokio/src/lib.rs",
            "/rustc/59807616/library/core/src/hint.rs",
            "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/std/src/lib.rs",
            "/rust/deps/hashbrown-0.16.1/src/raw.rs",
            "/usr/src/app/vendor/serde/src/lib.rs",
            "",
        ] {
            assert!(is_dependency(file), "{file}");
        }
        for file in [
            "/usr/src/app/src/main.rs",
            "src/main.rs",
            "/usr/src/app/src/vendor/mod.rs",
            "/srv/shop/crates/vendor/src/lib.rs",
        ] {
            assert!(!is_dependency(file), "{file}");
        }
    }

    #[test]
    fn the_diagnostics_are_known_by_their_directory() {
        let (crates, _) = env!("CARGO_MANIFEST_DIR").rsplit_once('/').expect("a directory above");
        assert!(is_of_the_diagnostics(&format!("{crates}/thermograph/src/watch/future.rs")));
        assert!(is_of_the_diagnostics(&format!("{crates}/thermograph-sampler/src/lib.rs")));
        assert!(!is_of_the_diagnostics(&format!("{crates}/thermograph/examples/mount.rs")));
        assert!(!is_of_the_diagnostics(&format!("{crates}/thermograph-of-mine/src/lib.rs")));
        assert!(!is_of_the_diagnostics("/srv/app/thermograph/src/lib.rs"));
    }

    #[test]
    fn path_of_a_dependency_is_crate_and_modules() {
        let registry = "/root/.cargo/registry/src/index.crates.io-1949cf8c";
        let checkouts = "/root/.cargo/git/checkouts";
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plumbing/source.rs");
        for (file, path) in [
            (format!("{registry}/tokio-1.54.1/src/runtime/park.rs"), Some("tokio::runtime::park")),
            (format!("{registry}/sha-1-0.10.1/src/compress/mod.rs"), Some("sha_1::compress")),
            (format!("{registry}/base64ct-1.0.0-rc.1/src/lib.rs"), Some("base64ct")),
            (format!("{checkouts}/h2-0123456789abcdef/8be/src/frame.rs"), Some("h2::frame")),
            (
                format!("{checkouts}/tower-0123456789abcdef/8be/tower-http/src/lib.rs"),
                Some("tower_http"),
            ),
            ("/rustc/5980/library/core/src/hint.rs".to_owned(), Some("core::hint")),
            ("/srv/app/vendor/serde/src/de.rs".to_owned(), Some("serde::de")),
            (ours.to_owned(), Some("thermograph_profile::plumbing::source")),
            ("/srv/app/src/main.rs".to_owned(), None),
            ("./nptl/pthread_mutex_lock.c".to_owned(), None),
        ] {
            assert_eq!(path_of(&file).as_deref(), path, "{file}");
        }
    }
}
