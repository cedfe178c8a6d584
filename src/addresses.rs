//! The file that says where a command listens.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Writes the addresses in use as JSON.
pub(crate) fn write(addresses: &impl Serialize, file: &Path) -> anyhow::Result<()> {
    // Renamed into place: whoever waits for the file never reads half of it.
    let unfinished = file.with_extension("unfinished");
    std::fs::write(&unfinished, serde_json::to_vec(addresses)?)
        .and_then(|()| std::fs::rename(&unfinished, file))
        .with_context(|| format!("cannot write {}", file.display()))
}
