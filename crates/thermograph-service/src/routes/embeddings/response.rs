//! What a client gets: OpenAI's `CreateEmbeddingResponse`.

use thermograph_codec::{Codec, Embeddings, Form};
use thermograph_engine::{Embedded, Timings, normalize};

use super::request::EncodingFormat;
use crate::error::ApiError;

/// Vectors, and how the client wants them.
pub(super) struct Answer {
    pub(super) model: String,
    pub(super) embedded: Embedded,
    pub(super) dimensions: usize,
    /// None where the client has not said.
    pub(super) format: Option<EncodingFormat>,
    pub(super) codec: Codec,
}

/// The body of the answer.
#[inline(never)]
pub(super) fn encode(answer: Answer) -> Result<Vec<u8>, ApiError> {
    let _encode = tracing::debug_span!("encode").entered();
    let Answer { model, mut embedded, dimensions, format, codec } = answer;
    for vector in &mut embedded.vectors {
        shorten(vector, dimensions);
    }
    let form = match format {
        None => Form::Packed,
        Some(EncodingFormat::Float) => Form::Floats,
        Some(EncodingFormat::Base64) => Form::Base64,
    };
    let Embedded { vectors, tokens, .. } = embedded;
    let embeddings = Embeddings { model: &model, vectors: &vectors, tokens, form };
    embeddings.encode(codec).map_err(|error| {
        tracing::error!(%error, "vectors could not be written");
        ApiError::internal("the vectors could not be written")
    })
}

/// Where the time went, for `server-timing`: milliseconds, which browsers' tools show.
pub(super) fn server_timing(timings: &Timings) -> String {
    let millis = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    let Timings { tokenize, queue, infer } = timings;
    format!(
        "tokenize;dur={:.3}, queue;dur={:.3}, infer;dur={:.3}",
        millis(*tokenize),
        millis(*queue),
        millis(*infer)
    )
}

/// Leaves the first dimensions, made a vector of length 1 again.
fn shorten(vector: &mut Box<[f32]>, dimensions: usize) {
    if dimensions < vector.len() {
        let mut shortened: Box<[f32]> = vector[..dimensions].into();
        normalize(&mut shortened);
        *vector = shortened;
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    fn answer(dimensions: usize, format: EncodingFormat) -> serde_json::Value {
        let format = Some(format);
        let vectors = vec![vec![0.6, 0.8, 0.0].into(), vec![0.0, 0.0, 1.0].into()];
        let embedded =
            Embedded { vectors, tokens: 7, input_tokens: Vec::new(), timings: Timings::default() };
        let (model, codec) = ("m".to_owned(), Codec::Json);
        let answer = Answer { model, embedded, dimensions, format, codec };
        serde_json::from_slice(&encode(answer).expect("encoded")).expect("JSON")
    }

    #[test]
    fn the_answer_is_openais() {
        let answer = answer(3, EncodingFormat::Float);
        assert_eq!(answer["object"], "list");
        assert_eq!(answer["model"], "m");
        assert_eq!(answer["usage"]["total_tokens"], 7);
        assert_eq!(answer["data"][1]["index"], 1);
        assert_eq!(answer["data"][1]["embedding"][2], 1.0);
    }

    #[test]
    fn base64_holds_every_dimension_as_little_endian_floats() {
        let answer = answer(3, EncodingFormat::Base64);
        let text = answer["data"][0]["embedding"].as_str().expect("text");
        let bytes = STANDARD.decode(text).expect("base64");
        let floats: Vec<_> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4"))).collect();
        assert_eq!(floats, [0.6, 0.8, 0.0]);
    }

    #[test]
    fn fewer_dimensions_have_length_1_again() {
        let answer = answer(1, EncodingFormat::Float);
        assert_eq!(answer["data"][0]["embedding"], serde_json::json!([1.0]));
        assert_eq!(answer["data"][1]["embedding"], serde_json::json!([0.0]));
    }
}
