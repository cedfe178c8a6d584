//! The local engine: sentence embeddings on the CPU, never on a runtime worker.
//!
//! A request is admitted or refused at once; its inputs are tokenized by a pool of threads, wait
//! for a batch with others of their length, and go through the model on threads of its own:
//!
//! ```text
//! embed ── admission ── tokenize (cpu-N) ── queue, batch (infer) ── graph (rten-N) ── pool ── vectors
//! ```
//!
//! # Modules, from the bottom up
//!
//! - `config`, `error`, `input`, `meters`, `missing`, `part`: no module is below these.
//! - `encoder`: the model's graph.
//! - `tokenizer`: tokens of inputs.
//! - `request`: inputs of one request.
//! - `pending`: inputs that wait for a batch.
//! - `batcher`: batches of inputs of like length.
//! - `model`: one model with its threads.

#![forbid(unsafe_code)]

mod batcher;
mod config;
mod encoder;
mod error;
mod input;
mod meters;
mod missing;
mod model;
mod part;
mod pending;
mod request;
mod tokenizer;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    thread::JoinHandle,
};

use thermograph_common::{CpuPool, Hooks};

pub use self::{
    config::{Config, MAX_INPUTS, ModelConfig, Pooling, Precision},
    encoder::normalize,
    error::{EmbedError, LoadError},
    input::Input,
    missing::Missing,
    model::Model,
    request::{Embedded, Timings},
    tokenizer::{TokenCount, TooLong},
};

/// The local models, each with a queue and threads of its own.
pub struct Engine {
    models: BTreeMap<String, State>,
    cpu: CpuPool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Whether a model can be used.
enum State {
    Ready(Box<Model>),
    /// Its files are not there.
    Missing(Missing),
}

/// Reason why a model cannot be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unavailable<'a> {
    /// No model has this name.
    Unknown,
    /// The model is configured, but its files are not there.
    Missing(&'a Missing),
}

impl Engine {
    /// Loads the models, which takes a tenth of a second each. One whose files are not there is
    /// [`Unavailable::Missing`]; one whose files are no model stops the start.
    pub fn start(
        config: &Config,
        models: &BTreeMap<String, ModelConfig>,
        hooks: Hooks,
    ) -> Result<Self, LoadError> {
        meters::describe();
        let (cpu, mut threads) = CpuPool::start(config.cpu_threads(), config.nice, hooks)?;
        let mut states = BTreeMap::new();
        for (name, model) in models {
            let is_default = model.is_default_model(name);
            let state = if let Some(missing) = Missing::of(model, is_default) {
                State::Missing(missing)
            } else {
                let (model, thread) = Model::load(name, config, model, cpu.clone())?;
                threads.push(thread);
                State::Ready(Box::new(model))
            };
            states.insert(name.clone(), state);
        }
        Ok(Self { models: states, cpu, threads: Mutex::new(threads) })
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Result<&Model, Unavailable<'_>> {
        match self.models.get(name) {
            None => Err(Unavailable::Unknown),
            Some(State::Missing(missing)) => Err(Unavailable::Missing(missing)),
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

    /// Models whose files are not there, by name.
    pub fn missing(&self) -> impl Iterator<Item = (&str, &Missing)> {
        self.models.iter().filter_map(|(name, state)| match state {
            State::Ready(_) => None,
            State::Missing(missing) => Some((name.as_str(), missing)),
        })
    }

    /// Threads for computations that would block a runtime worker.
    pub fn cpu(&self) -> &CpuPool {
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
