//! The middleware, all on this page: few, since each one costs, and each can be switched off.
//!
//! `just bench middleware` prices each. All are put on at once, in a `tower::ServiceBuilder`: axum
//! boxes the future of every request for each call of `Router::layer`.
//!
//! What is not here is no layer: who asks is an extractor, `Caller`, of each handler; how many may
//! be on their way is decided by `Entrance`, after the head of a request and before its body; limits,
//! the cache and the ledger follow where it is known what is asked for.

mod codecs;
mod compression;
mod config;
mod panic;
mod plain;
mod request_id;

use tower::{
    ServiceBuilder,
    layer::util::{Identity, Stack},
    util::{Either, option_layer},
};
use tower_http::cors::CorsLayer;

pub use self::{
    codecs::Codecs,
    compression::Compression,
    config::{Algorithm, Config},
    panic::CatchPanics,
    plain::PlainBodies,
    request_id::RequestIds,
};

/// A layer that may be off; what comes out of it is an answer of axum's.
pub type Switch<L> = Either<Stack<L, PlainBodies>, Identity>;

/// The whole stack, with the layer of whoever watches from outside.
pub type Whole<W> = ServiceBuilder<
    Stack<
        Switch<CatchPanics>,
        Stack<
            Switch<Codecs>,
            Stack<
                Switch<Compression>,
                Stack<Switch<CorsLayer>, Stack<Switch<W>, Stack<Switch<RequestIds>, Identity>>>,
            >,
        >,
    >,
>;

/// The whole stack, outermost first.
pub fn stack<W>(config: &Config, cors: Option<CorsLayer>, codecs: Codecs, watch: W) -> Whole<W> {
    let Config { request_ids, watch: is_watched, compression, codecs: translates, catch_panics } =
        config;
    ServiceBuilder::new()
        // First: whatever is answered from here on has an id, and so has what is shown of a request.
        .layer(switch(*request_ids, RequestIds))
        // Before everything that works: what it costs is the handler's, and is seen as such.
        .layer(switch(*is_watched, watch))
        // Outside of whatever refuses: a page is to read errors, too. Off unless pages are allowed.
        .layer(option_layer(cors.map(|cors| Stack::new(cors, PlainBodies))))
        // Outside of the codecs, since what is sent is what is to be small. Off unless it is wanted:
        // it costs more processor time than all others together.
        .layer(switch(!compression.is_empty(), Compression::new(compression)))
        // Outside of whatever makes answers: errors and caught panics are translated, too.
        .layer(switch(*translates, codecs))
        // Around the handler, so that a bug in one is a 500 and not a closed connection.
        .layer(switch(*catch_panics, CatchPanics))
}

fn switch<L>(is_on: bool, layer: L) -> Switch<L> {
    option_layer(is_on.then(|| Stack::new(layer, PlainBodies)))
}
