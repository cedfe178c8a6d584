//! The local engine: sentence embeddings on the CPU, never on a runtime worker.
//!
//! A request is admitted or refused at once; its inputs are tokenized by a pool of threads, wait
//! for a batch with others of their length, and go through the model on threads of its own:
//!
//! ```text
//! embed ── admission ── tokenize (cpu-N) ── queue, batch (infer) ── graph (rten-N) ── pool ── vectors
//! ```

pub(crate) mod admission;
mod batcher;
mod config;
mod encoder;
mod error;
mod input;
mod meters;
mod model;
mod part;
mod pending;
mod request;
mod tokenizer;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

pub(crate) use self::encoder::normalize;
pub use self::{
    config::{Config, ModelConfig, Pooling, Precision},
    error::{EmbedError, LoadError},
    input::Input,
    model::Model,
    request::{Embedded, Timings},
    tokenizer::{TokenCount, TooLong},
};
use super::cpu::CpuPool;

/// The local models, each with a queue and threads of its own.
pub struct Engine {
    models: BTreeMap<String, State>,
    cpu: CpuPool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Whether a model can be used.
enum State {
    Ready(Box<Model>),
    /// Its files are not there; the first that was looked for.
    Missing(PathBuf),
}

/// Why there is no model to use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unavailable<'a> {
    /// No model has this name.
    Unknown,
    /// It is configured, but this file is not there.
    Missing(&'a std::path::Path),
}

impl Engine {
    /// Loads the models, which takes a tenth of a second each. One whose files are not there is
    /// [`Unavailable::Missing`]; one whose files are no model stops the start.
    pub fn start(
        config: &Config,
        models: &BTreeMap<String, ModelConfig>,
    ) -> Result<Self, LoadError> {
        meters::describe();
        let (cpu, mut threads) = CpuPool::start(config.cpu_threads(), config.nice)?;
        let mut states = BTreeMap::new();
        for (name, model) in models {
            let state = match Model::load(name, config, model, cpu.clone()) {
                Ok((model, thread)) => {
                    threads.push(thread);
                    State::Ready(Box::new(model))
                }
                Err(LoadError::Missing(file)) => {
                    tracing::error!(model = name, "{}", missing(&file));
                    State::Missing(file)
                }
                Err(error) => return Err(error),
            };
            states.insert(name.clone(), state);
        }
        Ok(Self { models: states, cpu, threads: Mutex::new(threads) })
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Result<&Model, Unavailable<'_>> {
        match self.models.get(name) {
            None => Err(Unavailable::Unknown),
            Some(State::Missing(file)) => Err(Unavailable::Missing(file)),
            Some(State::Ready(model)) => Ok(model),
        }
    }

    /// The models that can be used, by name.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values().filter_map(|state| match state {
            State::Ready(model) => Some(&**model),
            State::Missing(_) => None,
        })
    }

    /// The file of the first model that is not there.
    pub(crate) fn missing(&self) -> Option<&std::path::Path> {
        self.models.values().find_map(|state| match state {
            State::Ready(_) => None,
            State::Missing(file) => Some(file.as_path()),
        })
    }

    /// The threads for what takes the CPU for long.
    pub(crate) fn cpu(&self) -> &CpuPool {
        &self.cpu
    }

    /// Ends the threads, and waits for them; requests that are still there are told.
    pub fn stop(&self) {
        self.cpu.stop();
        self.models().for_each(Model::stop);
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // A panic there was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// What to do about a model that is not there.
pub(crate) fn missing(file: &std::path::Path) -> String {
    format!(
        "no model: {} is not there; `thermograph model pull` (or `./just model`) gets it",
        file.display()
    )
}
