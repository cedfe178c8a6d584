//! A model that is ready: its tokenizer, its queue, its thread.

use std::{
    fs::File,
    path::Path,
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
use thermograph_common::{CpuError, CpuPool, Quota, nice};

use super::{
    Config, EmbedError, Embedded, Input, LoadError, ModelConfig,
    batcher::{Batcher, Message},
    encoder::Encoder,
    meters::Meters,
    pending::{Entry, Pending},
    request::Request,
    tokenizer::{Tokenizer, Tokens, TooLong},
};

/// A model that is ready to embed.
pub struct Model {
    name: String,
    created: SystemTime,
    dimensions: usize,
    identity: [u8; 32],
    queue_inputs: usize,
    tokenizer: Arc<Tokenizer>,
    accept_token_ids: bool,
    /// Inputs that wait or are worked on.
    quota: Quota,
    cpu: CpuPool,
    batches: Sender<Message>,
    /// Inputs admitted but not tokenized yet.
    upcoming: Arc<AtomicUsize>,
    meters: Meters,
}

/// A model that was loaded on its thread.
struct Loaded {
    dimensions: usize,
    /// True if each input of a batch is run by itself.
    separate: bool,
}

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
        let file = model.graph();
        let tokenizer = Tokenizer::load(&model.tokenizer(), model.max_tokens)?;
        let probes = tokenizer.probes().map_err(|error| LoadError::Tokenizer {
            file: model.tokenizer(),
            reason: error.to_string(),
        })?;
        let (messages, received) = crossbeam_channel::unbounded();
        let upcoming = Arc::new(AtomicUsize::new(0));
        let meters = Meters::new(name);
        let pooling = model.pooling;
        let (threads, level) = (config.threads(), config.nice);
        let batcher = {
            let (file, upcoming, meters) = (file.clone(), Arc::clone(&upcoming), meters.clone());
            let (pending, wait) = (Pending::new(config), config.batch_wait);
            let hooks = cpu.hooks().clone();
            move || {
                nice::lower(level);
                let encoder = Encoder::load(&file, pooling, &probes, threads, &hooks.context())?;
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
        let (Loaded { dimensions, separate }, thread) = start(batcher)?;
        tracing::info!(model = name, file = %file.display(), dimensions, threads,
            elapsed_ms = begin.elapsed().as_millis() as u64, "model loaded");
        if separate {
            tracing::warn!(
                model = name,
                file = %file.display(),
                "vectors of this graph depend on the other texts of a batch, so each text is run by \
                 itself, which is slower; `thermograph model pull` makes a better graph of the \
                 default model"
            );
        }
        let model = Self {
            name: name.to_owned(),
            created: created(&file),
            dimensions,
            identity: identity(&file, model)?,
            queue_inputs: config.queue_inputs,
            tokenizer: Arc::new(tokenizer),
            accept_token_ids: model.accept_token_ids,
            quota: Quota::new(config.queue_inputs),
            cpu,
            batches: messages,
            upcoming,
            meters,
        };
        Ok((model, thread))
    }

    /// Name by which clients ask for the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Time at which the file of the model's graph was written.
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// Count of numbers in each of the model's vectors.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Hash of everything that the vectors depend on: models of one identity make the same vectors.
    pub fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// Refuses token ids unless the model is configured to accept them.
    pub fn check(&self, inputs: &[Input]) -> Result<(), EmbedError> {
        let is_ids = |input: &Input| matches!(input, Input::Tokens(_));
        let first = inputs.iter().position(is_ids).filter(|_| !self.accept_token_ids);
        first.map_or(Ok(()), |index| Err(EmbedError::TokenIds { index }))
    }

    /// Embeds inputs, none of which may be empty. Dropped, it lets the engine drop what is left.
    pub async fn embed(
        &self,
        inputs: Vec<Input>,
        too_long: TooLong,
    ) -> Result<Embedded, EmbedError> {
        self.check(&inputs)?;
        let places =
            self.quota.reserve(inputs.len()).ok_or_else(|| self.overloaded(inputs.len()))?;
        let context = self.cpu.hooks().context();
        let (request, waiting) = Request::new(inputs.len(), places, context, self.meters.clone());
        let mut inputs = inputs.into_iter().enumerate();
        loop {
            let chunk: Vec<_> = inputs.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            let left = chunk.len() + inputs.len();
            let job = Tokenize::new(self, &request, chunk, too_long);
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
        EmbedError::Overloaded { waiting: self.quota.reserved(), allowed: self.queue_inputs }
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
    too_long: TooLong,
    meters: Meters,
    upcoming: Upcoming,
}

/// Counts inputs as upcoming until dropped, however the job ends.
struct Upcoming {
    inputs: usize,
    counter: Arc<AtomicUsize>,
}

impl Tokenize {
    fn new(
        model: &Model,
        request: &Arc<Request>,
        chunk: Vec<(usize, Input)>,
        too_long: TooLong,
    ) -> Self {
        model.upcoming.fetch_add(chunk.len(), Relaxed);
        Self {
            tokenizer: Arc::clone(&model.tokenizer),
            request: Arc::clone(request),
            batches: model.batches.clone(),
            upcoming: Upcoming { inputs: chunk.len(), counter: Arc::clone(&model.upcoming) },
            meters: model.meters.clone(),
            chunk,
            too_long,
        }
    }

    fn run(self) {
        if self.request.has_left() {
            self.meters.dropped.increment(self.chunk.len() as u64);
            return;
        }
        let entries = {
            let (parent, inputs) = (&self.request.span, self.chunk.len());
            let span = tracing::debug_span!(parent: parent, "tokenize", inputs);
            let _entered = span.enter();
            self.tokenize()
        };
        let Self { request, batches, upcoming, .. } = self;
        // First, so that the batcher does not wait for what it has just got.
        drop(upcoming);
        match entries {
            // Without a receiver the engine was stopped, and the request is told so.
            Ok(entries) => drop(batches.send(Message::Inputs(entries))),
            Err(error) => request.fail(error),
        }
    }

    fn tokenize(&self) -> Result<Vec<Entry>, EmbedError> {
        let begin = Instant::now();
        let entries = self.chunk.iter().map(|(index, input)| {
            let start = Instant::now();
            let Tokens { ids, truncated } =
                self.tokenizer.tokenize(*index, input, self.too_long)?;
            self.meters.truncated.increment(u64::from(truncated));
            let request = Arc::clone(&self.request);
            Ok(Entry { request, index: *index, ids, truncated, tokenize: start.elapsed() })
        });
        let entries = entries.collect();
        self.request.tokenized(begin.elapsed());
        entries
    }
}

impl Drop for Upcoming {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.inputs, Release);
    }
}

/// Makes the batcher on a thread of its own and runs it there: the threads that it starts inherit
/// the priority. Returns once the model is loaded.
fn start(
    batcher: impl FnOnce() -> Result<Batcher, LoadError> + Send + 'static,
) -> Result<(Loaded, JoinHandle<()>), LoadError> {
    let (loaded, outcome) = crossbeam_channel::bounded(1);
    let thread =
        thread::Builder::new().name("infer".to_owned()).spawn(move || match batcher() {
            Ok(batcher) => {
                // Whoever starts the thread waits for this.
                let _ = loaded.send(Ok(Loaded {
                    dimensions: batcher.encoder.dimensions(),
                    separate: batcher.encoder.is_separate(),
                }));
                batcher.run();
            }
            Err(error) => drop(loaded.send(Err(error))),
        })?;
    let panicked = |_| LoadError::Thread(std::io::Error::other("it panicked"));
    let loaded = outcome.recv().map_err(panicked)??;
    Ok((loaded, thread))
}

fn identity(file: &Path, model: &ModelConfig) -> std::io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    hasher.update_reader(File::open(model.tokenizer())?)?;
    hasher.update(format!("{:?} {}", model.pooling, model.max_tokens).as_bytes());
    Ok(*hasher.finalize().as_bytes())
}

fn created(file: &Path) -> SystemTime {
    let modified = std::fs::metadata(file).and_then(|meta| meta.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}
