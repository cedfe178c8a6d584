//! What this build can show, and the line that mends what it cannot.

use serde::Serialize;

/// Flags the crate was built with.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BuildInfo {
    /// `--cfg tokio_unstable`: tokio-console lists tasks only with it.
    pub tokio_unstable: bool,
    /// `-C force-frame-pointers=yes`: stacks can be walked without unwind tables.
    pub frame_pointers: bool,
}

impl BuildInfo {
    /// The build that is running.
    pub const CURRENT: Self =
        Self { tokio_unstable: cfg!(tokio_unstable), frame_pointers: cfg!(frame_pointers) };

    /// A sentence for each thing that is missing: what is lost, and what brings it back.
    pub fn missing(self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.tokio_unstable {
            missing.push(
                "built without `--cfg tokio_unstable`: tokio-console is off and tasks have no \
                 names; unset RUSTFLAGS (it replaces the flags in .cargo/config.toml) or add \
                 `--cfg tokio_unstable` to it, and build again",
            );
        }
        if !self.frame_pointers {
            missing.push(
                "built without frame pointers: stacks end early in code without unwind tables (panic = \
                 \"abort\") and in other tools; unset RUSTFLAGS (it replaces \
                 the flags in .cargo/config.toml) or add `-C force-frame-pointers=yes` to it, and \
                 build again",
            );
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_flag_that_is_missing() {
        let none = BuildInfo { tokio_unstable: true, frame_pointers: true };
        assert!(none.missing().is_empty());
        let both = BuildInfo { tokio_unstable: false, frame_pointers: false }.missing();
        assert!(both[0].contains("--cfg tokio_unstable"), "{both:?}");
        assert!(both[1].contains("-C force-frame-pointers=yes"), "{both:?}");
    }
}
