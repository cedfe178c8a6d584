//! The hub: Hugging Face, or a mirror that answers to the same paths.

use std::{env, path::Path};

use super::{
    fetch::{self, fetch},
    files::Pinned,
};

const ENDPOINT: &str = "https://huggingface.co";
const REPOSITORY: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// A commit, not a branch: a branch would move away from the sums.
const REVISION: &str = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41";

/// A hub, and who we are there.
pub(super) struct Hub {
    endpoint: String,
    token: Option<fetch::Token>,
}

impl Hub {
    /// The hub that `HF_ENDPOINT` names, with the token in `HF_TOKEN` if there is one.
    pub(super) fn from_env() -> Self {
        // A variable set to nothing counts as not set.
        let read = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            endpoint: read("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()),
            token: read("HF_TOKEN").map(fetch::Token::from),
        }
    }

    /// Fetches files into a folder; one that it has already is left alone.
    pub(super) fn fetch(&self, files: &[Pinned], folder: &Path) -> anyhow::Result<()> {
        for file in files {
            fetch(&self.url(file.name), &file.path(folder), file.sha256, self.token.as_ref())?;
        }
        Ok(())
    }

    fn url(&self, file: &str) -> String {
        let endpoint = self.endpoint.trim_end_matches('/');
        format!("{endpoint}/{REPOSITORY}/resolve/{REVISION}/{file}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_answers_to_the_same_path() {
        for endpoint in ["http://localhost:1", "http://localhost:1/"] {
            let hub = Hub { endpoint: endpoint.into(), token: None };
            assert_eq!(
                hub.url("tokenizer.json"),
                "http://localhost:1/sentence-transformers/all-MiniLM-L6-v2/resolve/\
                 1110a243fdf4706b3f48f1d95db1a4f5529b4d41/tokenizer.json"
            );
        }
    }
}
