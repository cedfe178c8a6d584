//! What is asked: kinds of requests, each as often as it weighs.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::json;
use thiserror::Error;

use super::{Address, Mix, Target, mix::Shape, text};

/// Kinds of requests and their order; the same number gives the same request in every run.
#[derive(Clone, Debug)]
pub struct Traffic {
    kinds: Arc<[Kind]>,
    /// Indices of kinds in the order in which they are asked, over and over.
    cycle: Arc<[usize]>,
}

/// Why there is no traffic.
#[derive(Debug, Error, PartialEq)]
pub enum BadTraffic {
    /// Nothing to ask.
    #[error("there is nothing to ask: every weight is 0")]
    Nothing,
    /// The request cannot be built.
    #[error("{0} cannot be asked: the model's name or the path is not allowed")]
    Request(String),
}

/// One kind of request: a row in the report.
#[derive(Clone, Debug)]
struct Kind {
    name: String,
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Embeddings { shape: Shape, model: Arc<str> },
    Target(Target),
}

/// A request, and what it counts for.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request<Full<Bytes>>,
    /// Texts to embed; none for other services.
    pub(crate) inputs: u64,
}

impl Traffic {
    /// Embeddings, asked of a model.
    pub fn embeddings(mix: Mix, model: &str) -> Result<Self, BadTraffic> {
        let model: Arc<str> = model.into();
        let kind = |(shape, weight): (Shape, u32)| {
            let source = Source::Embeddings { shape, model: Arc::clone(&model) };
            (Kind { name: shape.name().to_owned(), source }, weight)
        };
        Self::new(mix.shapes().map(kind))
    }

    /// Requests of any other service.
    pub fn targets(targets: impl IntoIterator<Item = Target>) -> Result<Self, BadTraffic> {
        let kind = |target: Target| {
            let weight = target.weight;
            (Kind { name: target.name(), source: Source::Target(target) }, weight)
        };
        Self::new(targets.into_iter().map(kind))
    }

    fn new(kinds: impl Iterator<Item = (Kind, u32)>) -> Result<Self, BadTraffic> {
        let (kinds, weights): (Vec<_>, Vec<_>) = kinds.filter(|(_, weight)| *weight > 0).unzip();
        if kinds.is_empty() {
            return Err(BadTraffic::Nothing);
        }
        Ok(Self { kinds: kinds.into(), cycle: cycle(&weights).into() })
    }

    /// The names of the kinds, by index.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.kinds.iter().map(|kind| kind.name.as_str())
    }

    /// The index of the kind of request `number`.
    pub(crate) fn kind(&self, number: u64) -> usize {
        self.cycle[(number % self.cycle.len() as u64) as usize]
    }

    /// Request `number`.
    pub(crate) fn call(&self, number: u64, address: &Address) -> Result<Call, BadTraffic> {
        let kind = &self.kinds[self.kind(number)];
        let (method, path, body, inputs) = match &kind.source {
            Source::Embeddings { shape, model } => {
                let (body, inputs) = embeddings(*shape, model, number);
                (Method::POST, "/v1/embeddings", body, inputs)
            }
            Source::Target(target) => {
                (target.method.clone(), target.path.as_str(), target.body.clone(), 0)
            }
        };
        let mut request = Request::builder()
            .method(method)
            .uri(address.path(path))
            .header(header::HOST, address.host());
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|_| BadTraffic::Request(kind.name.clone()))?;
        Ok(Call { request, inputs })
    }
}

fn embeddings(shape: Shape, model: &str, number: u64) -> (Bytes, u64) {
    let (input, inputs) = match shape {
        Shape::Short => (json!(text::sentence(number)), 1),
        Shape::Long => (json!(text::paragraph(number)), 1),
        Shape::Batch => {
            let batch = text::batch(number);
            let inputs = batch.len() as u64;
            (json!(batch), inputs)
        }
    };
    let body = json!({ "model": model, "input": input });
    (Bytes::from(body.to_string()), inputs)
}

/// Smooth weighted round robin: each index as often as it weighs, spread as evenly as can be.
fn cycle(weights: &[u32]) -> Vec<usize> {
    let total: u32 = weights.iter().sum();
    let mut credit = vec![0_i64; weights.len()];
    let mut next = || {
        for (credit, weight) in credit.iter_mut().zip(weights) {
            *credit += i64::from(*weight);
        }
        // Of equals the first: `max_by_key` takes the last.
        let richest = (0..credit.len()).rev().max_by_key(|index| credit[*index]).unwrap_or(0);
        credit[richest] -= i64::from(total);
        richest
    };
    (0..total).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_as_often_as_it_weighs_and_spread_out() {
        assert_eq!(cycle(&[1]), [0]);
        assert_eq!(cycle(&[2, 1, 1]), [0, 1, 2, 0]);
        let order = cycle(&[6, 2, 2]);
        let count = |kind| order.iter().filter(|index| **index == kind).count();
        assert_eq!((count(0), count(1), count(2)), (6, 2, 2));
        assert!(order.windows(4).all(|four| four != [0; 4]), "{order:?}");
    }

    #[test]
    fn an_embedding_request_is_one_that_openai_clients_send() {
        let mix = "batch=1".parse().expect("a mix");
        let traffic = Traffic::embeddings(mix, "a model").expect("traffic");
        let address = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 80)));
        let call = traffic.call(0, &address).expect("a call");
        assert_eq!(call.request.uri(), "/v1/embeddings");
        let (body, inputs) = embeddings(Shape::Batch, "a model", 0);
        let body: serde_json::Value = serde_json::from_slice(&body).expect("json");
        assert_eq!(body["model"], "a model");
        assert_eq!(body["input"].as_array().map(Vec::len), Some(inputs as usize));
        assert_eq!(call.inputs, inputs);
    }

    #[test]
    fn nothing_to_ask_is_an_error() {
        assert_eq!(Traffic::targets([]).err(), Some(BadTraffic::Nothing));
    }
}
