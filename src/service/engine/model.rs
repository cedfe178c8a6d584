//! A model that is ready: its tokenizer, its queue, its thread.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{
            AtomicUsize,
            Ordering::{Relaxed, Release},
        },
    },
    thread::{self, JoinHandle},
    time::{Instant, SystemTime},
};

use crossbeam_channel::Sender;

use super::{
    Config, EmbedError, Embedded, Input, LoadError, ModelConfig,
    admission::Admission,
    batcher::{Batcher, Message},
    encoder::Encoder,
    meters::Meters,
    pending::{Entry, Pending},
    request::Request,
    tokenizer::Tokenizer,
};
use crate::service::{
    cpu::{CpuError, CpuPool},
    nice,
};

/// A model that is ready to embed.
pub struct Model {
    name: String,
    created: SystemTime,
    dimensions: usize,
    identity: [u8; 32],
    queue_inputs: usize,
    tokenizer: Arc<Tokenizer>,
    admission: Admission,
    cpu: CpuPool,
    batches: Sender<Message>,
    /// Inputs admitted but not tokenized yet.
    upcoming: Arc<AtomicUsize>,
    meters: Meters,
}

/// File of the graph where the configuration names none: the first that is there.
const FILES: [&str; 2] = ["model.int8.onnx", "model.onnx"];
/// Inputs that one thread tokenizes before another may go on with the rest.
const CHUNK: usize = 32;

impl Model {
    /// Loads the model on the thread that will run it.
    pub(super) fn load(
        name: &str,
        config: &Config,
        model: &ModelConfig,
        cpu: CpuPool,
    ) -> Result<(Self, JoinHandle<()>), LoadError> {
        let begin = Instant::now();
        let file = graph_file(model);
        let tokenizer = Tokenizer::load(&tokenizer_file(model), model.max_tokens)?;
        let (messages, received) = crossbeam_channel::unbounded();
        let upcoming = Arc::new(AtomicUsize::new(0));
        let meters = Meters::new(name);
        let (pooling, max_tokens) = (model.pooling, model.max_tokens);
        let (threads, level) = (config.threads(), config.nice);
        let batcher = {
            let (file, upcoming, meters) = (file.clone(), Arc::clone(&upcoming), meters.clone());
            let (pending, wait) = (Pending::new(config), config.batch_wait);
            move || {
                nice::lower(level);
                let encoder = Encoder::load(&file, pooling, max_tokens, threads)?;
                Ok(Batcher {
                    encoder,
                    messages: received,
                    pending,
                    upcoming,
                    wait,
                    meters,
                    batches: 0,
                })
            }
        };
        let (dimensions, thread) = start(batcher)?;
        tracing::info!(model = name, file = %file.display(), dimensions, threads,
            elapsed_ms = begin.elapsed().as_millis() as u64, "model loaded");
        let model = Self {
            name: name.to_owned(),
            created: created(&file),
            dimensions,
            identity: identity(&file, model)?,
            queue_inputs: config.queue_inputs,
            tokenizer: Arc::new(tokenizer),
            admission: Admission::new(config.queue_inputs),
            cpu,
            batches: messages,
            upcoming,
            meters,
        };
        Ok((model, thread))
    }

    /// The name that clients ask for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When the file of its graph was written.
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// Length of its vectors.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The same where vectors are the same: of everything that they depend on, a hash.
    pub(crate) fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// Longest input that it reads, in tokens.
    pub fn max_tokens(&self) -> usize {
        self.tokenizer.max_tokens()
    }

    /// Embeds inputs, none of which may be empty. Dropped, it lets the engine drop what is left.
    pub async fn embed(&self, inputs: Vec<Input>) -> Result<Embedded, EmbedError> {
        let places =
            self.admission.reserve(inputs.len()).ok_or_else(|| self.overloaded(inputs.len()))?;
        let (request, waiting) = Request::new(inputs.len(), places, self.meters.clone());
        let mut inputs = inputs.into_iter().enumerate();
        loop {
            let chunk: Vec<_> = inputs.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            let left = chunk.len() + inputs.len();
            let job = Tokenize::new(self, &request, chunk);
            self.cpu.spawn(move || job.run()).map_err(|error| match error {
                CpuError::Full => self.overloaded(left),
                CpuError::Lost => EmbedError::Lost,
            })?;
        }
        drop(request);
        waiting.wait().await
    }

    fn overloaded(&self, inputs: usize) -> EmbedError {
        self.meters.rejected.increment(inputs as u64);
        EmbedError::Overloaded { waiting: self.admission.taken(), allowed: self.queue_inputs }
    }

    pub(super) fn stop(&self) {
        // Without a receiver the thread has ended already.
        let _ = self.batches.send(Message::Stop);
    }
}

/// Tokenizes some inputs of a request.
struct Tokenize {
    tokenizer: Arc<Tokenizer>,
    request: Arc<Request>,
    batches: Sender<Message>,
    chunk: Vec<(usize, Input)>,
    meters: Meters,
    upcoming: Upcoming,
}

/// Counts inputs as upcoming until dropped, however the job ends.
struct Upcoming {
    inputs: usize,
    counter: Arc<AtomicUsize>,
}

impl Tokenize {
    fn new(model: &Model, request: &Arc<Request>, chunk: Vec<(usize, Input)>) -> Self {
        model.upcoming.fetch_add(chunk.len(), Relaxed);
        Self {
            tokenizer: Arc::clone(&model.tokenizer),
            request: Arc::clone(request),
            batches: model.batches.clone(),
            upcoming: Upcoming { inputs: chunk.len(), counter: Arc::clone(&model.upcoming) },
            meters: model.meters.clone(),
            chunk,
        }
    }

    fn run(self) {
        let Self { tokenizer, request, batches, chunk, meters, upcoming } = self;
        if request.has_left() {
            meters.dropped.increment(chunk.len() as u64);
            return;
        }
        let entries = {
            let span =
                tracing::debug_span!(parent: &request.span, "tokenize", inputs = chunk.len());
            let _entered = span.enter();
            tokenize(&tokenizer, &request, &chunk, &meters)
        };
        // First, so that the batcher does not wait for what it has just got.
        drop(upcoming);
        match entries {
            // Without a receiver the engine was stopped, and the request is told so.
            Ok(entries) => drop(batches.send(Message::Inputs(entries))),
            Err(error) => request.fail(error),
        }
    }
}

impl Drop for Upcoming {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.inputs, Release);
    }
}

fn tokenize(
    tokenizer: &Tokenizer,
    request: &Arc<Request>,
    chunk: &[(usize, Input)],
    meters: &Meters,
) -> Result<Vec<Entry>, EmbedError> {
    let begin = Instant::now();
    let entries: Result<Vec<_>, _> = chunk
        .iter()
        .map(|(index, input)| {
            let start = Instant::now();
            let tokens = tokenizer.tokenize(*index, input)?;
            meters.cut.increment(u64::from(tokens.cut));
            let request = Arc::clone(request);
            Ok(Entry { request, index: *index, ids: tokens.ids, tokenize: start.elapsed() })
        })
        .collect();
    request.tokenized(begin.elapsed());
    entries
}

/// Makes the batcher on a thread of its own and runs it there: the threads that it starts inherit
/// the priority. Returns once the model is loaded.
fn start(
    batcher: impl FnOnce() -> Result<Batcher, LoadError> + Send + 'static,
) -> Result<(usize, JoinHandle<()>), LoadError> {
    let (loaded, outcome) = crossbeam_channel::bounded(1);
    let thread =
        thread::Builder::new().name("infer".to_owned()).spawn(move || match batcher() {
            Ok(batcher) => {
                // Whoever starts the thread waits for this.
                let _ = loaded.send(Ok(batcher.encoder.dimensions()));
                batcher.run();
            }
            Err(error) => drop(loaded.send(Err(error))),
        })?;
    let panicked = |_| LoadError::Thread(std::io::Error::other("it panicked"));
    let dimensions = outcome.recv().map_err(panicked)??;
    Ok((dimensions, thread))
}

fn graph_file(model: &ModelConfig) -> PathBuf {
    let there = |file: &&str| model.dir.join(file).is_file();
    let named = model.file.as_deref().or_else(|| FILES.iter().copied().find(there));
    model.dir.join(named.unwrap_or(FILES[0]))
}

fn identity(file: &Path, model: &ModelConfig) -> std::io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    hasher.update_reader(File::open(tokenizer_file(model))?)?;
    hasher.update(format!("{:?} {}", model.pooling, model.max_tokens).as_bytes());
    Ok(*hasher.finalize().as_bytes())
}

fn tokenizer_file(model: &ModelConfig) -> PathBuf {
    model.dir.join("tokenizer.json")
}

fn created(file: &Path) -> SystemTime {
    let modified = std::fs::metadata(file).and_then(|meta| meta.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}
