//! A vector is that of its text, whatever other texts are in the batch.

use std::{fs, path::Path};

use thermograph_engine::{Model, ModelConfig, Precision, TooLong};

use super::{cosine, folder, serving};
use crate::support::MODEL;

/// Least cosine of a vector alone and the same in a batch.
const SAME: f32 = 0.9999;

/// Texts whose vectors are compared.
fn texts() -> Vec<String> {
    let texts = [
        "a",
        "hello hello hello hello hello",
        "What is the capital of France?",
        "The old captain carried wooden boxes across the river last winter.",
        "let x: Vec<u8> = Vec::with_capacity(1 << 20); // 1 MiB",
        "Der Server antwortet nicht, weil ein Thread schläft.",
        "东京的天气怎么样？ 🔥🔥",
    ];
    let long = ["the sum of all the parts ", "x", "!?"].map(|text| text.repeat(40));
    texts.map(str::to_owned).into_iter().chain(long).collect()
}

/// Other texts of the batch: short, long, repeated, of extreme characters; and texts of one's own
/// length, which are those that the engine puts into one batch.
fn companies(text: &str) -> Vec<Vec<String>> {
    let own = text.len();
    let mirrored: String = text.chars().rev().collect();
    let noise: String = ('!'..='~').cycle().take(own).collect();
    let zeros = "0".repeat(own);
    let long = "one of the long ones, ".repeat(60);
    vec![
        vec!["b".to_owned(), "Yes.".to_owned()],
        vec![mirrored.clone(), noise.clone()],
        vec![text.to_owned(); 31],
        vec![zeros, noise, long.clone()],
        vec!["🦀".repeat(40), "Ωμέγα ".repeat(9), long, mirrored],
        (0..31).map(|number| format!("{text} {number}")).collect(),
    ]
}

async fn vectors(model: &Model, texts: &[String]) -> Vec<Box<[f32]>> {
    let inputs = texts.iter().map(|text| text.as_str().into()).collect();
    model.embed(inputs, TooLong::Truncate).await.expect("embedded").vectors
}

/// Least cosine of the texts alone and in company.
async fn least(config: ModelConfig) -> f32 {
    let service = serving(config);
    let model = service.engine().model(MODEL).expect("loaded");
    let mut least = f32::INFINITY;
    for text in texts() {
        let alone = &vectors(model, std::slice::from_ref(&text)).await[0];
        for mut company in companies(&text) {
            for place in [0, company.len() / 2] {
                company.insert(place, text.clone());
                let together = vectors(model, &company).await;
                least = least.min(cosine(alone, &together[place]));
                company.remove(place);
            }
        }
    }
    service.stop();
    least
}

#[tokio::test]
async fn int8_vectors_do_not_depend_on_the_batch() {
    let least = least(ModelConfig { dir: folder(), ..ModelConfig::default() }).await;
    assert!(least >= SAME, "{least}");
}

#[tokio::test]
async fn f32_vectors_do_not_depend_on_the_batch() {
    let precision = Some(Precision::F32);
    let least = least(ModelConfig { dir: folder(), precision, ..ModelConfig::default() }).await;
    assert!(least >= SAME, "{least}");
}

#[tokio::test]
async fn a_graph_with_one_scale_for_a_batch_runs_each_text_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let copy = |from: &Path, name| fs::copy(from, dir.path().join(name)).expect("copied");
    copy(&folder().join("tokenizer.json"), "tokenizer.json");
    copy(&golden.join("one_scale.onnx"), "model.onnx");
    let config = ModelConfig { dir: dir.path().to_owned(), ..ModelConfig::default() };
    let least = least(config).await;
    assert!(least >= SAME, "{least}");
}

#[tokio::test]
async fn precision_chooses_the_graph() {
    let text = ["The handler holds a lock across an await point.".to_owned()];
    let mut found = Vec::new();
    let precisions = [Some(Precision::Int8), Some(Precision::F32), None];
    for precision in precisions {
        let service = serving(ModelConfig { dir: folder(), precision, ..ModelConfig::default() });
        let model = service.engine().model(MODEL).expect("loaded");
        found.extend(vectors(model, &text).await);
        service.stop();
    }
    let [int8, f32, default] = &*found else { panic!("three vectors") };
    assert!((0.97..0.999_99).contains(&cosine(int8, f32)), "{}", cosine(int8, f32));
    assert!(cosine(int8, default) > 0.999_999, "int8 is the default");
}
