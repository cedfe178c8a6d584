//! Vectors of a model that is upstream, of each input those that are not kept.

use std::{fmt, sync::Arc};

use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, header};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use thermograph_codec::Codec;
use thermograph_engine::{Input, Timings, TokenCount};

use super::{
    kept,
    request::{EmbeddingsRequest, EncodingFormat},
    response::Answer,
};
use crate::{
    cache,
    cache::{Refusal, Shelf, Vector, Way, Wish},
    call::Call,
    error::ApiError,
    routes::input,
    state::AppState,
    upstream::{Document, Endpoint, Exchange, Route},
    usage::{Report, tokens_of},
};

/// Largest answer of an upstream.
const LARGEST: usize = 256 << 20;

/// A request to an upstream, of which some inputs may be asked for.
pub(super) struct Elsewhere<'a> {
    pub(super) state: &'a AppState,
    pub(super) route: &'a Arc<Route>,
    pub(super) headers: &'a HeaderMap,
    pub(super) request: &'a EmbeddingsRequest,
    /// The request as the client wrote it.
    pub(super) document: &'a Document,
    pub(super) call: &'a Call,
}

/// A request for some of the inputs.
#[derive(Serialize)]
struct Part<'a> {
    model: &'a str,
    input: Vec<&'a Input>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding_format: Option<EncodingFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

/// What the upstream answers.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    model: Option<String>,
    data: Vec<Entry>,
    #[serde(default)]
    usage: Option<Report>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    index: Option<usize>,
    embedding: Numbers,
}

/// Numbers, written as such or as base64 of little-endian floats.
struct Numbers(Vec<f32>);

/// Asks the upstream for what is not kept.
pub(super) async fn embed(
    elsewhere: &Elsewhere<'_>,
    shelf: &Shelf<Vector>,
    wish: &Wish,
) -> Result<(Answer, usize), Refusal> {
    let Elsewhere { state, route, headers, request, call, .. } = elsewhere;
    let tenant = state.cache.tenant_of(call.caller(), headers, route);
    let EmbeddingsRequest { model, dimensions, truncate, .. } = request;
    let model = format!("upstream {dimensions:?} {truncate:?} {model}");
    let inputs = &request.input.0;
    let keys: Vec<_> =
        inputs.iter().map(|input| kept::key(&tenant, model.as_bytes(), input)).collect();
    let ask = |places| Box::pin(elsewhere.ask(places));
    let (vectors, hits) = shelf.many(&keys, wish, ask).await?;
    let dimensions = vectors.iter().map(|vector| vector.numbers.len()).max().unwrap_or_default();
    // The upstream's name for the model, cached or not, as in answers that are passed on unchanged.
    let named = vectors.iter().map(|vector| &vector.model).find(|name| !name.is_empty());
    let answer = Answer {
        model: named.map_or_else(|| request.model.clone(), |name| name.as_ref().to_owned()),
        embedded: kept::embedded(&vectors, Timings::default()),
        dimensions,
        format: request.encoding_format,
        codec: Codec::of_answer(headers).unwrap_or_default(),
    };
    Ok((answer, hits))
}

/// What the client gets where the upstream gave no vectors.
pub(super) fn refused(refusal: Refusal, call: Call) -> Result<Response, ApiError> {
    match refusal {
        Refusal::Error(error) => Err(error),
        Refusal::Answer(answer) => Ok(answer.give(Way::Asked, call)),
    }
}

impl Elsewhere<'_> {
    /// The vectors of the inputs at these places.
    async fn ask(&self, places: Vec<usize>) -> Result<Vec<Vector>, Refusal> {
        let Self { state, route, headers, request, document, call } = *self;
        let inputs = &request.input.0;
        let part;
        let document = if places.len() == inputs.len() {
            document
        } else {
            part = self.part(&places)?;
            &part
        };
        let endpoint = Endpoint::Embeddings;
        let exchange = Exchange { route, endpoint, headers, document, call };
        let exchanged = state.upstreams.exchange(exchange).await?;
        let answer = exchanged.read(route.clone(), endpoint, call, LARGEST).await?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK || head.headers.contains_key(header::CONTENT_ENCODING) {
            return Err(Refusal::Answer(cache::Answer::new(
                head.status,
                &head.headers,
                body,
                None,
            )));
        }
        let lengths: Vec<_> = places.iter().map(|place| inputs[*place].length()).collect();
        let vectors = input::parse(state, body, move |body| read(&body, &lengths)).await?;
        Ok(vectors)
    }

    /// The same request for some of its inputs.
    fn part(&self, places: &[usize]) -> Result<Document, ApiError> {
        let request = self.request;
        let part = Part {
            model: &request.model,
            input: places.iter().map(|place| &request.input.0[*place]).collect(),
            encoding_format: request.encoding_format,
            dimensions: request.dimensions,
            truncate: request.truncate,
            user: request.user.as_deref(),
        };
        // Text and numbers serialize.
        let body =
            serde_json::to_vec(&part).map_err(|error| ApiError::internal(error.to_string()))?;
        Document::read(Endpoint::Embeddings, body.into())
    }
}

/// Reads what the upstream says of inputs of these lengths.
fn read(body: &[u8], lengths: &[usize]) -> Result<Vec<Vector>, ApiError> {
    let broken = |why: String| ApiError::upstream(StatusCode::BAD_GATEWAY, "broken", &why);
    let List { model, data, usage } = serde_json::from_slice(body)
        .map_err(|error| broken(format!("the upstream gave no list of vectors: {error}")))?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; lengths.len()];
    for (place, entry) in data.into_iter().enumerate() {
        let index = entry.index.unwrap_or(place);
        if let Some(vector) = vectors.get_mut(index) {
            *vector = Some(entry.embedding.0);
        }
    }
    let estimate = tokens_of(lengths.iter().sum());
    let usage = usage.unwrap_or_default().with_prompt(estimate);
    let tokens = share(usage.prompt_tokens, lengths);
    let model = Arc::from(model.unwrap_or_default());
    let vector = |(numbers, tokens): (Option<Vec<f32>>, u32)| {
        let numbers = numbers.filter(|numbers| !numbers.is_empty());
        let tokens = TokenCount { read: tokens as usize, truncated: false };
        Some(Vector::new(numbers?.into(), tokens, &model))
    };
    let vectors: Option<Vec<_>> = vectors.into_iter().zip(tokens).map(vector).collect();
    vectors
        .ok_or_else(|| broken("the upstream gave fewer vectors than there are inputs".to_owned()))
}

/// Tokens of each input, as far as can be told: the upstream says how many they are in all, and
/// each gets as much of them as it has of the inputs' lengths.
fn share(tokens: u64, lengths: &[usize]) -> Vec<u32> {
    let all = lengths.iter().sum::<usize>().max(1) as u64;
    let (mut length, mut given) = (0, 0);
    let one = |own: &usize| {
        length += *own as u64;
        let upto = tokens * length / all;
        u32::try_from(upto - std::mem::replace(&mut given, upto)).unwrap_or(u32::MAX)
    };
    lengths.iter().map(one).collect()
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Numbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers, or base64 of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Numbers, E> {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(E::custom("base64 of no whole number of floats"));
                }
                Ok(Numbers(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Numbers, A::Error> {
                let mut numbers = Vec::with_capacity(list.size_hint().unwrap_or(1024).min(4096));
                while let Some(number) = list.next_element()? {
                    numbers.push(number);
                }
                Ok(Numbers(numbers))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_vectors_are_read_in_their_order() {
        let body =
            br#"{"data":[{"index":1,"embedding":[0.5,-1]},{"index":0,"embedding":"AACAPw=="}],
            "usage":{"prompt_tokens":10,"total_tokens":10}}"#;
        let vectors = read(body, &[3, 1]).expect("vectors");
        assert_eq!(*vectors[0].numbers, [1.0]);
        assert_eq!(*vectors[1].numbers, [0.5, -1.0]);
        assert_eq!([vectors[0].tokens, vectors[1].tokens], [7, 3]);
    }

    #[test]
    fn what_are_no_vectors_is_refused() {
        let bodies: [&[u8]; 5] = [
            b"{}",
            br#"{"data":[]}"#,
            br#"{"data":[{"embedding":[]}]}"#,
            br#"{"data":[{"embedding":"AAA="}]}"#,
            br#"{"data":[{"index":7,"embedding":[1]}]}"#,
        ];
        for body in bodies {
            assert!(read(body, &[1]).is_err());
        }
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(share(10, &[1, 1, 1]).iter().sum::<u32>(), 10);
        assert_eq!(share(5, &[0, 0]), [0, 0]);
        assert_eq!(share(0, &[4]), [0]);
    }
}
