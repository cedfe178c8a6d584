//! What the project promises about its speed, each as a ratio of two things measured in turns in
//! one run, so that whatever else the machine does hits both.
//!
//! | name | what | promise |
//! |---|---|---|
//! | `layer` | a hello over HTTP with the diagnostics layer and its watchdog : without | ≥ 0.99 |
//! | `layer` | the same : with a layer that does nothing | ≥ 0.98 |
//! | `poll` | what the layer adds to a poll of a handler that waits | ≤ 60 ns |
//! | `captures` | a hello that is watched while CPU time is captured at 99 Hz : while not | ≥ 0.98 |
//! | `captures` | the same with wall-clock time | ≥ 0.97 |
//! | `stack` | from the threshold to the stack of a stall, median | < 1 ms |
//! | `console` | a hello with tokio-console compiled in, nobody attached : without | ≥ 0.98 |
//! | `console` | the same with one attached : without | ≥ 0.80 |
//! | `http` | the service over HTTP, 64 connections : its engine called in a loop | ≥ 0.9 |
//! | `python` | the service : onnxruntime f32 behind FastAPI and uvicorn | ≥ 1.0 |
//! | `gateway` | processor time of the gateway for a request, 8 connections | ≤ 80 µs |
//! | `gateway` | the same : the cheapest other gateway's | < 1 |
//! | `gateway` | what it adds to a chat completion, one connection, median | ≤ 100 µs |
//! | `codec` | encoding 1, 32 and 256 vectors in JSON : in MessagePack, in CBOR | ≥ 10 |
//! | `codec` | bytes of the same in MessagePack, in CBOR : in JSON | ≤ 0.4 |
//! | `hits` | a chat whose answer is kept : a handler of Axum that has one at hand | ≥ 0.80 |
//! | `middleware` | what each layer adds to a request, in nanoseconds | shown |
//! | `ledger` | chats with the ledger on : off | ≥ 0.97 |
//! | `keys` | wrong keys, whose beginning is right : of which nothing is, the longer : the shorter | ≤ 1.02 |
//! | `soak` | longest poll on a runtime worker under 64 clients, and no error | < 10 ms |
//!
//! ```text
//! cargo bench --profile profiling --bench ratios                   # all, about 23 minutes
//! cargo bench --profile profiling --bench ratios -- layer poll     # some
//! cargo bench --profile profiling --bench ratios -- --quick --strict
//! ```

mod attached;
mod captures;
mod client;
mod codec;
mod console;
mod figure;
mod gateway;
mod hello;
mod hits;
mod http;
mod keys;
mod layer;
mod ledger;
mod middleware;
mod pin;
mod poll;
mod process;
mod python;
mod rounds;
mod server;
mod service;
mod soak;
mod spread;
mod stack;
mod texts;
mod venv;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, ValueEnum};

use self::{figure::Figure, process::load_average, rounds::Rounds};

/// Measures what is promised about speed.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure; everything, if nothing is named.
    what: Vec<What>,
    /// Fewer rounds: whether it works, rather than how fast.
    #[arg(long)]
    quick: bool,
    /// Fail if a promise is not kept.
    #[arg(long)]
    strict: bool,
    /// Be one of the servers that are measured.
    #[arg(long, hide = true)]
    hello: Option<hello::Kind>,
    /// Become another program, which ends with whoever started it.
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    follow: Option<Vec<OsString>>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A promise.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Layer,
    Poll,
    Captures,
    Stack,
    Console,
    Http,
    Python,
    Gateway,
    Codec,
    Hits,
    Ledger,
    Keys,
    Middleware,
    Soak,
}

impl What {
    fn measure(self, quick: bool) -> anyhow::Result<Vec<Figure>> {
        // Fewer, not shorter: a round has to last for many batches.
        let rounds = |full: Rounds| if quick { full.fewer() } else { full };
        match self {
            Self::Layer => layer::measure(rounds(layer::ROUNDS)),
            Self::Poll => poll::measure(rounds(poll::ROUNDS)),
            Self::Captures => captures::measure(rounds(captures::ROUNDS)),
            Self::Stack => stack::measure(if quick { stack::QUICK } else { stack::CALLS }),
            Self::Console => console::measure(rounds(console::ROUNDS)),
            Self::Http => http::measure(rounds(http::ROUNDS)),
            Self::Python => python::measure(rounds(python::ROUNDS)),
            Self::Gateway => gateway::measure(if quick { gateway::QUICK } else { gateway::ROUNDS }),
            Self::Codec => codec::measure(rounds(codec::ROUNDS)),
            Self::Ledger => ledger::measure(rounds(ledger::ROUNDS)),
            Self::Keys => keys::measure(rounds(keys::ROUNDS)),
            Self::Middleware => middleware::measure(rounds(middleware::ROUNDS)),
            Self::Hits => hits::measure(rounds(hits::ROUNDS)),
            Self::Soak => soak::measure(if quick { soak::QUICK } else { soak::LENGTH }),
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    if let Some(kind) = args.hello {
        hello::serve(kind)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(program) = args.follow {
        match process::follow(&program)? {}
    }
    let all = if args.what.is_empty() { What::value_variants() } else { &args.what };
    let mut kept = true;
    for what in all {
        let before = load_average()?;
        for figure in what.measure(args.quick)? {
            println!("{figure}");
            kept &= figure.is_kept();
        }
        // Before it, it was others' load; after it, it is ours as well.
        println!("         load average {before} before, {} after\n", load_average()?);
    }
    Ok(if kept || !args.strict { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
