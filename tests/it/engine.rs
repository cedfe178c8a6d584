//! The engine against vectors of another one; `tests/golden/reference.py` made them.

mod batches;
mod inputs;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thermograph_engine::{Input, ModelConfig, TooLong};
use thermograph_service::{Config, Hooks, Service};

use crate::support::MODEL;

#[derive(Deserialize)]
struct Golden {
    text: String,
    tokens: Vec<u32>,
    vector: Vec<f32>,
}

fn golden() -> Vec<Golden> {
    serde_json::from_str(include_str!("../golden/all-MiniLM-L6-v2.json")).expect("golden vectors")
}

/// The folder of the model that is there by default.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(MODEL)
}

fn service(file: &str) -> Service {
    serving(ModelConfig { dir: folder(), file: Some(file.to_owned()), ..ModelConfig::default() })
}

/// A service with one model.
fn serving(model: ModelConfig) -> Service {
    let models = BTreeMap::from([(MODEL.to_owned(), model)]);
    Service::start(Config { models, ..Config::default() }, Hooks::default())
        .expect("a model; `./just model` gets it")
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Embeds all golden texts in one request, and each alone; the least cosine of any.
async fn fidelity(file: &str) -> f32 {
    let service = service(file);
    let model = service.engine().model(MODEL).expect("loaded");
    let golden = golden();
    let texts: Vec<Input> = golden.iter().map(|one| one.text.as_str().into()).collect();
    let together = model.embed(texts.clone(), TooLong::Truncate).await.expect("embedded");
    assert_eq!(together.tokens, golden.iter().map(|one| one.tokens.len()).sum::<usize>());

    let mut least = f32::INFINITY;
    for (index, one) in golden.iter().enumerate() {
        let alone = vec![texts[index].clone()];
        let alone = model.embed(alone, TooLong::Truncate).await.expect("embedded");
        assert_eq!(alone.tokens, one.tokens.len(), "{}", one.text);
        for vector in [&alone.vectors[0], &together.vectors[index]] {
            assert_eq!(vector.len(), 384);
            least = least.min(cosine(vector, &one.vector));
        }
    }
    service.stop();
    least
}

#[tokio::test]
async fn f32_vectors_are_those_of_the_reference() {
    let least = fidelity("model.onnx").await;
    assert!(least >= 0.999, "{least}");
}

#[tokio::test]
async fn int8_vectors_are_near_those_of_the_reference() {
    let least = fidelity("model.int8.onnx").await;
    assert!(least >= 0.98, "{least}");
}

#[tokio::test]
async fn a_stopped_engine_says_so() {
    let service = service("model.int8.onnx");
    service.stop();
    let model = service.engine().model(MODEL).expect("loaded");
    let error = model.embed(vec!["a".into()], TooLong::Truncate).await.expect_err("stopped");
    assert!(error.to_string().contains("let go"), "{error}");
}

#[test]
fn what_is_no_model_stops_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::copy(folder().join("tokenizer.json"), dir.path().join("tokenizer.json"))
        .expect("copied");
    std::fs::write(dir.path().join("model.onnx"), "no graph").expect("written");
    let model = ModelConfig { dir: dir.path().to_owned(), ..ModelConfig::default() };
    let models = BTreeMap::from([("broken".to_owned(), model)]);
    let error = Service::start(Config { models, ..Config::default() }, Hooks::default())
        .err()
        .expect("refused");
    let text = error.to_string();
    assert!(
        text.contains("model.onnx") && text.contains("not a sentence-embedding model"),
        "{text}"
    );
}
