//! Vectors that are kept: of each input, so that of a batch only those are computed that are new.

use std::sync::{Mutex, PoisonError};

use axum::response::Response;
use http::{HeaderName, HeaderValue};
use thermograph_engine::{Embedded, Input, Model, Timings, TokenCount, TooLong};

use crate::cache::{CACHE, Key, KeyBuilder, Refusal, Shelf, Vector, Wish};

/// How many inputs of the request had a vector already.
const HITS: HeaderName = HeaderName::from_static("x-thermograph-cache-hits");
/// Number of inputs that were longer than the model reads; missing if there are none.
const TRUNCATED: HeaderName = HeaderName::from_static("x-thermograph-truncated");

/// Vectors, some of which were kept.
pub(super) struct Had {
    pub(super) embedded: Embedded,
    /// How many were; none where there is no cache for the request.
    pub(super) hits: Option<usize>,
}

/// Embeds what is not kept.
pub(super) async fn embed(
    shelf: Option<&Shelf<Vector>>,
    wish: &Wish,
    tenant: &[u8],
    model: &Model,
    inputs: Vec<Input>,
    too_long: TooLong,
) -> Result<Had, Refusal> {
    model.check(&inputs)?;
    let Some(shelf) = shelf.filter(|_| wish.keeps()) else {
        let embedded = model.embed(inputs, too_long).await?;
        return Ok(Had { embedded, hits: None });
    };
    // Requests that refuse truncated vectors have keys of their own, under which none is kept.
    let made = [model.identity().as_slice(), &[u8::from(too_long == TooLong::Reject)]].concat();
    let keys: Vec<_> = inputs.iter().map(|input| key(tenant, &made, input)).collect();
    let timings = Mutex::new(Timings::default());
    let inputs = &inputs;
    let ask = async |places: Vec<usize>| {
        let asked = places.iter().map(|place| inputs[*place].clone()).collect();
        let embedded = model.embed(asked, too_long).await.map_err(|error| error.at(&places))?;
        *timings.lock().unwrap_or_else(PoisonError::into_inner) = embedded.timings;
        let (vectors, local) = (embedded.vectors.into_iter().zip(embedded.input_tokens), "".into());
        Ok(vectors.map(|(numbers, tokens)| Vector::new(numbers.into(), tokens, &local)).collect())
    };
    let (vectors, hits) = shelf.many(&keys, wish, ask).await?;
    let timings = timings.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Had { embedded: embedded(&vectors, timings), hits: Some(hits) })
}

/// What an input is called; `model` is what its vector depends on besides.
pub(super) fn key(tenant: &[u8], model: &[u8], input: &Input) -> Key {
    let mut builder = KeyBuilder::new("vector-1");
    builder.part(tenant).part(model);
    match input {
        Input::Text(text) => builder.part(b"text").part(text.as_bytes()),
        Input::Tokens(ids) => {
            let ids: Vec<_> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            builder.part(b"tokens").part(&ids)
        }
    }
    .finish()
}

/// Vectors as the engine gives them.
pub(super) fn embedded(vectors: &[Vector], timings: Timings) -> Embedded {
    let count =
        |vector: &Vector| TokenCount { read: vector.tokens as usize, truncated: vector.truncated };
    let input_tokens: Vec<_> = vectors.iter().map(count).collect();
    let tokens = input_tokens.iter().map(|tokens| tokens.read).sum();
    let vectors = vectors.iter().map(|vector| Box::from(&*vector.numbers)).collect();
    Embedded { vectors, tokens, input_tokens, timings }
}

/// Says in an answer how many inputs were truncated.
pub(super) fn tell_truncated(response: &mut Response, inputs: &[TokenCount]) {
    let truncated = inputs.iter().filter(|tokens| tokens.truncated).count();
    if truncated > 0 {
        response.headers_mut().insert(TRUNCATED, truncated.into());
    }
}

/// Says in an answer how much of it was kept.
pub(super) fn tell(response: &mut Response, hits: Option<usize>, inputs: usize) {
    let Some(hits) = hits else { return };
    let headers = response.headers_mut();
    headers.insert(CACHE, HeaderValue::from_static(if hits == inputs { "hit" } else { "miss" }));
    headers.insert(HITS, hits.into());
}
