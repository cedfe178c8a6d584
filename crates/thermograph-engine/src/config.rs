//! The configuration of the engine.

use std::{path::PathBuf, time::Duration};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};
use thermograph_common::{Invalid, is_name};

/// Most inputs of one request, as OpenAI has it.
pub const MAX_INPUTS: usize = 2048;

/// How much the engine takes at a time, and with how many threads.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Threads of a model's inference; 0 is one for each core. Default is 0.
    pub threads: usize,
    /// Threads that parse big bodies, tokenize and encode big answers; 0 is one for each core.
    /// Default is 0.
    pub cpu_threads: usize,
    /// Nice value of the engine's threads, 0 to 19: above 0, the runtime's workers go first, so
    /// that an answer does not wait for somebody else's inference. Default is 5.
    pub nice: u8,
    /// Most inputs of one batch. More raise throughput a little and latency a lot. Default is 32.
    pub batch_inputs: usize,
    /// Most tokens of one batch, padding included. Default is 4096.
    pub batch_tokens: usize,
    /// Longest time that a batch waits for inputs which are still being tokenized. Default is
    /// 2 ms.
    #[serde(with = "duration")]
    pub batch_wait: Duration,
    /// Most inputs that wait or are worked on, per model; past it requests are answered 503.
    /// Default is 8192.
    pub queue_inputs: usize,
}

/// A sentence-embedding model in ONNX form.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Folder with `tokenizer.json` and the graph.
    pub dir: PathBuf,
    /// The graph's file in that folder. Default is that of the precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Numbers that the model computes with. Default is `int8`, and `f32` where its file is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Longest input in tokens; longer ones are cut unless the request forbids it. Default is 256.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
    /// How token vectors become one. Default is `mean`.
    #[serde(default)]
    pub pooling: Pooling,
    /// True if inputs may be token ids, of the model's own tokenizer. Ids of another one, which
    /// OpenAI's clients may send, cannot be told from them, and make vectors that mean nothing.
    /// Default is false.
    #[serde(default)]
    pub accept_token_ids: bool,
}

/// Numbers that a model computes with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Integers of 8 bits where matrices are multiplied, in `model.int8.onnx`: about twice as fast.
    Int8,
    /// Floats of 32 bits, in `model.onnx`.
    F32,
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Their mean, padding left out.
    #[default]
    Mean,
    /// The first token's.
    Cls,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            cpu_threads: 0,
            nice: 5,
            batch_inputs: 32,
            batch_tokens: 4096,
            batch_wait: Duration::from_millis(2),
            queue_inputs: 4 * MAX_INPUTS,
        }
    }
}

impl Config {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless_within("engine.threads", self.threads, 0..=256)?;
        Invalid::unless_within("engine.cpu_threads", self.cpu_threads, 0..=256)?;
        Invalid::unless_within("engine.nice", self.nice, 0..=19)?;
        Invalid::unless_within("engine.batch_inputs", self.batch_inputs, 1..=1024)?;
        Invalid::unless_within("engine.batch_tokens", self.batch_tokens, 1..=1 << 20)?;
        // One request of the largest size must fit.
        Invalid::unless_within("engine.queue_inputs", self.queue_inputs, MAX_INPUTS..=1 << 20)?;
        if self.batch_wait > Self::LONGEST_WAIT {
            let wait = format!("{} ms", self.batch_wait.as_millis());
            return Err(Invalid::new("engine.batch_wait", wait, "0 s to 1 s"));
        }
        Ok(())
    }

    const LONGEST_WAIT: Duration = Duration::from_secs(1);

    /// Threads of a model's inference.
    pub fn threads(&self) -> usize {
        or_cores(self.threads)
    }

    /// Threads for what is not inference.
    pub fn cpu_threads(&self) -> usize {
        or_cores(self.cpu_threads)
    }
}

impl ModelConfig {
    /// Name of the model that is there by default.
    pub const DEFAULT_NAME: &str = "all-MiniLM-L6-v2";

    /// The model that is there by default, in `models/all-MiniLM-L6-v2`.
    pub fn default_model() -> Self {
        let dir = ["models", Self::DEFAULT_NAME].iter().collect();
        Self { dir, ..Self::default() }
    }

    /// Returns whether it is the model that is there by default.
    pub fn is_default_model(&self, name: &str) -> bool {
        name == Self::DEFAULT_NAME && *self == Self::default_model()
    }

    /// Checks what the types cannot say; whether the files are there is no matter of
    /// configuration.
    pub fn validate(&self, name: &str) -> Result<(), Invalid> {
        if !is_name(name) || name.contains('*') {
            let allowed = "names of 1 to 128 visible characters; `*` only in those of upstreams";
            return Err(Invalid::new("models", name, allowed));
        }
        if let (Some(file), Some(precision)) = (&self.file, self.precision) {
            let field = format!("models.{name}.file");
            let allowed =
                format!("no `file` beside `precision`, which is that of {}", precision.file());
            return Err(Invalid::new(field, file, allowed));
        }
        let field = format!("models.{name}.max_tokens");
        Invalid::unless_within(field, self.max_tokens, 2..=8192)
    }

    /// File of the graph.
    pub(super) fn graph(&self) -> PathBuf {
        let file = |precision: Precision| self.dir.join(precision.file());
        match (&self.file, self.precision) {
            (Some(name), _) => self.dir.join(name),
            (None, Some(precision)) => file(precision),
            (None, None) => {
                let graphs = [Precision::Int8, Precision::F32].map(file);
                let there = graphs.iter().find(|graph| graph.is_file());
                there.unwrap_or(&graphs[0]).clone()
            }
        }
    }

    /// Names of the files of which the graph is one, in words.
    pub(super) fn graph_names(&self) -> String {
        match (&self.file, self.precision) {
            (Some(name), _) => format!("`{name}`"),
            (None, Some(precision)) => format!("`{}`", precision.file()),
            (None, None) => {
                format!("`{}` or `{}`", Precision::Int8.file(), Precision::F32.file())
            }
        }
    }

    /// File of the tokenizer.
    pub(super) fn tokenizer(&self) -> PathBuf {
        self.dir.join(Self::TOKENIZER)
    }

    /// Name of the file of the tokenizer.
    pub(super) const TOKENIZER: &str = "tokenizer.json";
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            file: None,
            precision: None,
            max_tokens: default_max_tokens(),
            pooling: Pooling::default(),
            accept_token_ids: false,
        }
    }
}

impl Precision {
    /// File of the graph that computes with it.
    fn file(self) -> &'static str {
        match self {
            Self::Int8 => "model.int8.onnx",
            Self::F32 => "model.onnx",
        }
    }
}

fn default_max_tokens() -> usize {
    256
}

fn or_cores(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    }
}
