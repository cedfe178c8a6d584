//! Token ids to vectors: the model's graph.

use std::{path::Path, sync::Arc};

use rayon::{
    iter::{IndexedParallelIterator as _, ParallelIterator as _},
    slice::ParallelSlice as _,
};
use rten::{
    Model, ModelOptions, NodeId, RunOptions, ThreadPool, TryFromValueError, Value, ValueOrView,
};
use thermograph_common::WorkContext;
use thiserror::Error;

use super::{LoadError, Pooling, part::Part};

/// A model's graph, and the threads that it runs on.
pub(super) struct Encoder {
    graph: Model,
    inputs: Inputs,
    output: NodeId,
    /// Whether the graph pools by itself.
    pooled: bool,
    pooling: Pooling,
    threads: Arc<ThreadPool>,
    /// Most parts of a batch: one for each thread.
    parts: usize,
    /// True if each input has a part of its own, since its vector would depend on the others.
    separate: bool,
    dimensions: usize,
}

/// A vector that stands for one input, of length 1.
pub(super) type Vector = Box<[f32]>;

/// The graph's inputs; those but the first are not in every graph.
#[derive(Clone, Copy)]
struct Inputs {
    ids: NodeId,
    mask: Option<NodeId>,
    types: Option<NodeId>,
}

/// Inputs that show how a graph behaves: token ids, special ones included.
pub(super) struct Probes {
    /// Longest input that the engine will give to the graph.
    pub(super) longest: Vec<u32>,
    /// Inputs that differ in content and length.
    pub(super) varied: Vec<Vec<u32>>,
}

impl Encoder {
    /// Least cosine of two vectors that are the same but for rounding.
    const SAME: f32 = 0.999_99;

    /// Loads the graph, and runs it on the longest probe, so that a graph that cannot do what it
    /// will be asked for stops the start. Its threads inherit this thread's priority.
    pub(super) fn load(
        file: &Path,
        pooling: Pooling,
        probes: &Probes,
        threads: usize,
        context: &WorkContext,
    ) -> Result<Self, LoadError> {
        if !file.is_file() {
            return Err(LoadError::Missing(file.to_owned()));
        }
        let refused = |reason: String| LoadError::Graph { file: file.to_owned(), reason };
        // Weights packed once, at the load, instead of at every run.
        let graph = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load_file(file)
            .map_err(|error| refused(error.to_string()))?;
        let inputs = Inputs::of(&graph)
            .ok_or_else(|| refused("it has no input named `input_ids`".to_owned()))?;
        let output = output_of(&graph).ok_or_else(|| refused("it has no output".to_owned()))?;
        let rank = graph.node_info(output).and_then(|node| node.shape()).map(|shape| shape.len());
        let pooled = rank == Some(2);
        let mut encoder = Self {
            graph,
            inputs,
            output,
            pooled,
            pooling,
            threads: Arc::new(ThreadPool::with_num_threads(threads)),
            parts: threads,
            separate: false,
            dimensions: 0,
        };
        let tokens = probes.longest.len();
        let vectors = encoder
            .encode(&[Part::of(&[&probes.longest])], context)
            .map_err(|error| refused(format!("it does not run on {tokens} tokens: {error}")))?;
        encoder.dimensions = vectors.first().map_or(0, |vector| vector.len());
        encoder.separate = !encoder
            .keeps_apart(&probes.varied, context)
            .map_err(|error| refused(format!("it does not run: {error}")))?;
        Ok(encoder)
    }

    /// Returns whether inputs that run together have the vectors that they have alone. They have
    /// others if activations are quantized by the scale of a whole batch, or without a mask.
    fn keeps_apart(&self, inputs: &[Vec<u32>], context: &WorkContext) -> Result<bool, EncodeError> {
        let inputs: Vec<_> = inputs.iter().map(Vec::as_slice).collect();
        let alone = self.encode(&Part::divide(&inputs, inputs.len()), context)?;
        // A graph may be one for a single input.
        let Ok(together) = self.encode(&[Part::of(&inputs)], context) else { return Ok(false) };
        let same = |(a, b): (&Vector, &Vector)| {
            a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() >= Self::SAME
        };
        Ok(together.iter().zip(&alone).all(same))
    }

    /// Returns whether each input of a batch is run by itself.
    pub(super) fn is_separate(&self) -> bool {
        self.separate
    }

    /// Divides a batch into parts that are run side by side, a thread each: between the large
    /// products of matrices there is much that runs on one thread only.
    pub(super) fn divide(&self, batch: &[&[u32]]) -> Vec<Part> {
        Part::divide(batch, if self.separate { batch.len() } else { self.parts })
    }

    /// Length of the vectors.
    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Vectors of the inputs of a batch, in their order; the context is attached to all threads.
    pub(super) fn encode(
        &self,
        parts: &[Part],
        context: &WorkContext,
    ) -> Result<Vec<Vector>, EncodeError> {
        context.attach();
        let inputs = parts.iter().map(|part| part.places().len()).sum();
        let tokens: usize = parts.iter().map(Part::tokens).sum();
        let span = tracing::debug_span!("infer", inputs, tokens);
        // Called on threads of the pool, so that the stack of a sample reads `infer`.
        let outputs: Vec<_> = span.in_scope(|| {
            self.threads.run(|| {
                // The pool is one of rayon's, and this is a thread of it.
                rayon::broadcast(|_| context.attach());
                // Jobs are no more than threads: one that waits may begin another on its stack.
                let share = parts.len().div_ceil(self.parts).max(1);
                let infer = |parts: &[Part]| -> Result<Vec<_>, _> {
                    parts.iter().map(|part| self.infer(part)).collect()
                };
                parts.par_chunks(share).with_max_len(1).map(infer).collect::<Result<Vec<_>, _>>()
            })
        })?;
        let _pool = tracing::debug_span!("pool").entered();
        let mut vectors = vec![Vector::default(); inputs];
        for (part, output) in parts.iter().zip(outputs.iter().flatten()) {
            let pooled = pool(output, part.mask(), self.pooling);
            for (place, vector) in part.places().iter().zip(pooled) {
                vectors[*place] = vector;
            }
        }
        Ok(vectors)
    }

    #[inline(never)]
    fn infer(&self, part: &Part) -> Result<Output, EncodeError> {
        let shape = part.shape();
        let mut inputs = Vec::with_capacity(3);
        if let Some(node) = self.inputs.types {
            inputs.push((node, tensor(shape, vec![0; part.tokens()])?));
        }
        if let Some(node) = self.inputs.mask {
            inputs.push((node, tensor(shape, part.mask().to_vec())?));
        }
        inputs.push((self.inputs.ids, tensor(shape, part.ids().to_vec())?));
        let mut options = RunOptions::default();
        options.thread_pool = Some(Arc::clone(&self.threads));
        let outputs = self.graph.run(inputs, &[self.output], Some(options));
        let output = outputs.map_err(EncodeError::graph)?.pop().ok_or(EncodeError::Empty)?;
        Output::new(output, self.pooled)
    }
}

/// Why a batch has no vectors.
#[derive(Debug, Error)]
pub(super) enum EncodeError {
    #[error("the graph failed: {0}")]
    Graph(String),
    #[error("the graph's first output is neither (inputs, tokens, width) nor (inputs, width): {0}")]
    Shape(#[from] TryFromValueError),
    #[error("the graph's output is empty")]
    Empty,
}

/// What a graph gives: a vector for each token, or one for each input.
struct Output {
    values: Vec<f32>,
    /// Vectors of each input.
    tokens: usize,
    /// Values of each vector.
    width: usize,
}

impl Output {
    fn new(value: Value, pooled: bool) -> Result<Self, EncodeError> {
        let (tokens, width, values) = if pooled {
            let ([_, width], values) = value.into_shape_vec()?;
            (1, width, values)
        } else {
            let ([_, tokens, width], values) = value.into_shape_vec()?;
            (tokens, width, values)
        };
        if values.is_empty() { Err(EncodeError::Empty) } else { Ok(Self { values, tokens, width }) }
    }
}

impl EncodeError {
    fn graph(error: impl std::fmt::Display) -> Self {
        Self::Graph(error.to_string())
    }
}

impl Inputs {
    fn of(graph: &Model) -> Option<Self> {
        let named = |name: &str| {
            let is = |id: &&NodeId| {
                graph.node_info(**id).and_then(|node| node.name().map(|n| n == name)) == Some(true)
            };
            graph.input_ids().iter().find(is).copied()
        };
        Some(Self {
            ids: named("input_ids")?,
            mask: named("attention_mask"),
            types: named("token_type_ids"),
        })
    }
}

/// The vectors themselves where the graph pools, else those of the tokens: the first output.
fn output_of(graph: &Model) -> Option<NodeId> {
    let pooled = graph.find_node("sentence_embedding");
    let pooled = pooled.filter(|node| graph.output_ids().contains(node));
    pooled.or_else(|| graph.output_ids().first().copied())
}

fn tensor(shape: [usize; 2], values: Vec<i32>) -> Result<ValueOrView<'static>, EncodeError> {
    Value::from_shape(shape, values).map(ValueOrView::from).map_err(EncodeError::graph)
}

/// The graph's output to one vector each, of length 1.
#[inline(never)]
fn pool(output: &Output, mask: &[i32], pooling: Pooling) -> Vec<Vector> {
    let &Output { ref values, tokens, width } = output;
    let rows = values.chunks_exact(width * tokens).zip(mask.chunks_exact(tokens));
    let vector = |(row, mask): (&[f32], &[i32])| match pooling {
        Pooling::Mean => mean(row, mask, width),
        Pooling::Cls => row[..width].into(),
    };
    let mut vectors: Vec<Vector> = match tokens {
        // The graph has pooled already.
        1 => values.chunks_exact(width).map(Into::into).collect(),
        _ => rows.map(vector).collect(),
    };
    for vector in &mut vectors {
        normalize(vector);
    }
    vectors
}

fn mean(row: &[f32], mask: &[i32], width: usize) -> Vector {
    let mut sum = vec![0.0; width];
    let read = row.chunks_exact(width).zip(mask).filter(|(_, mask)| **mask == 1);
    for (token, _) in read {
        sum.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
    }
    // The length does not matter: it is made 1.
    sum.into()
}

/// Scales a vector to the length 1; a vector of zeros stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in vector {
            *value /= length;
        }
    }
}
