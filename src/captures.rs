//! `thermograph captures`: what was captured and kept.

mod table;

use std::path::{Path, PathBuf};

use serde_json::json;
use thermograph_profile::captures::Folder;

/// List what was captured and kept.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where captures are kept.
    #[command(flatten)]
    pub place: Place,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Where captures are kept.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// Folder in whose `profiles` and `flamegraphs` captures are.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub folder: PathBuf,
}

/// Lists, the newest first.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = args.place.folder();
    let captures = folder.list()?;
    if args.json {
        let folder = folder.root().display().to_string();
        let listing = json!({ "folder": folder, "captures": captures });
        anstream::println!("{}", serde_json::to_string_pretty(&listing)?);
    } else if captures.is_empty() {
        anstream::println!("no captures in {}", folder.root().display());
    } else {
        anstream::print!("{}", table::of(&captures));
    }
    Ok(())
}

/// The folder that this program runs in. Whoever runs it sees what it writes: it has no bound.
pub(crate) fn here() -> Folder {
    Folder::new(Path::new("."), usize::MAX)
}

impl Place {
    pub(crate) fn folder(&self) -> Folder {
        Folder::new(&self.folder, usize::MAX)
    }

    /// A file in it, as it is found from here.
    pub(crate) fn path(&self, file: &str) -> String {
        if self.folder == Path::new(".") {
            return file.to_owned();
        }
        self.folder.join(file).display().to_string()
    }
}
