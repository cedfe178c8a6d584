//! The diagnostics in an app that has nothing else of this crate.
//!
//! ```text
//! cargo run -p thermograph --example mount
//! curl http://127.0.0.1:3000/          # the app
//! open http://127.0.0.1:6060/debug/    # what it costs
//! ```
//!
//! Build with the flags of `.cargo/config.toml`, so that stacks are whole and tokio-console is not
//! empty.

use std::error::Error;

use axum::{Router, routing::get};
use thermograph::Thermograph;
use tokio::runtime;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

fn main() -> Result<(), Box<dyn Error>> {
    // 1. Build: nothing listens yet.
    let thermograph = Thermograph::builder().build()?;
    // 2. Let it see spans; your own layers stand beside it, each with its own filter.
    tracing_subscriber::registry().with(thermograph.tracing_layer()).init();
    // 3. Install the hooks on the runtime: tasks have names then. It needs no `cfg` of yours: without
    //    `tokio_unstable` it does nothing, and the doctor says so.
    let mut runtime = runtime::Builder::new_multi_thread();
    thermograph.hooks().install(runtime.enable_all());
    // 4. Open the door, on its own thread: it closes when this is dropped.
    let _door = thermograph.serve()?;
    runtime.build()?.block_on(serve(&thermograph))
}

async fn serve(thermograph: &Thermograph) -> Result<(), Box<dyn Error>> {
    // 5. Put the layer on last, so that it is outermost and covers all that runs for a request.
    let app = Router::new().route("/", get(hello)).layer(thermograph.layer());
    // 6. Serve as ever, by a listener that knows when requests arrived: latency counts from there.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(thermograph.listener(listener), app).await?;
    Ok(())
}

#[tracing::instrument]
async fn hello() -> &'static str {
    "hello"
}
