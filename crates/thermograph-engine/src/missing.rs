//! Files of a model that are not there.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::ModelConfig;

/// Files of a model that are not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// The model's folder.
    dir: PathBuf,
    /// Names of the files, in words.
    files: String,
    /// True for the model that is there by default.
    is_default: bool,
}

impl Missing {
    /// Looks for a model's files; `None` if none of them is known to be missing.
    pub fn of(model: &ModelConfig, is_default: bool) -> Option<Self> {
        let lacks_tokenizer = matches!(model.tokenizer().try_exists(), Ok(false));
        let lacks_graph = matches!(model.graph().try_exists(), Ok(false));
        let tokenizer = format!("`{}`", ModelConfig::TOKENIZER);
        let files = match (lacks_tokenizer, lacks_graph) {
            (false, false) => return None,
            (true, false) => tokenizer,
            (false, true) => model.graph_names(),
            (true, true) => format!("{tokenizer} and {}", model.graph_names()),
        };
        Some(Self { dir: model.dir.clone(), files, is_default })
    }

    /// Returns whether the model is the one that is configured by default.
    pub fn is_default(&self) -> bool {
        self.is_default
    }

    /// Folder in which the model is looked for.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Names of the files that are not there.
    pub fn files(&self) -> &str {
        &self.files
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no model: {} not found in `{}`", self.files, self.dir.display())?;
        if self.is_default {
            f.write_str("; `thermograph model pull` (or `./just model`) gets it")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Precision;

    #[test]
    fn missing_files_and_their_folder_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().to_owned();
        let model = ModelConfig { dir: dir.clone(), ..ModelConfig::default() };
        let missing = |model: &ModelConfig| Missing::of(model, false).map(|it| it.to_string());
        let said =
            |files: &str| Some(format!("no model: {files} not found in `{}`", dir.display()));
        let all = "`tokenizer.json` and `model.int8.onnx` or `model.onnx`";
        assert_eq!(missing(&model), said(all));
        let exact = ModelConfig { precision: Some(Precision::F32), ..model.clone() };
        assert_eq!(missing(&exact), said("`tokenizer.json` and `model.onnx`"));
        fs::write(dir.join("tokenizer.json"), "").expect("written");
        assert_eq!(missing(&model), said("`model.int8.onnx` or `model.onnx`"));
        fs::write(dir.join("model.onnx"), "").expect("written");
        assert_eq!(missing(&model), None);
        fs::remove_file(dir.join("tokenizer.json")).expect("removed");
        assert_eq!(missing(&model), said("`tokenizer.json`"));
        let by_default = Missing::of(&model, true).expect("missing").to_string();
        assert!(by_default.contains("`thermograph model pull`"), "{by_default}");
    }
}
