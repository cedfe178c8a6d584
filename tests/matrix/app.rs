//! A watched app with every specimen, on a runtime of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use axum::routing::get;
use thermograph::diagnostics::{ConsoleMode, Stall, Thermograph};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};

use crate::{cell::Cell, client, healthy, places, specimen::Specimen, specimens::ILLNESS};

pub(crate) struct App {
    pub(crate) address: SocketAddr,
    thermograph: Thermograph,
    _runtime: Runtime,
    /// The newest stall that was already handed out.
    seen: u64,
}

impl App {
    pub(crate) fn start(cell: Cell, specimens: &[Specimen]) -> Self {
        let builder = Thermograph::builder().console(ConsoleMode::Off).max_stalls(10_000);
        let thermograph = builder.max_handlers(1000).build().expect("valid");
        let mut runtime = runtime::Builder::new_multi_thread();
        if cell.hooks {
            thermograph.hooks().install(&mut runtime);
        }
        let runtime = runtime.worker_threads(cell.workers).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("bound");
        let address = listener.local_addr().expect("an address");
        let warm = get(async || thread::sleep(ILLNESS));
        let app = healthy::router().route("/warm", warm);
        let app = specimens.iter().fold(app, places::add).layer(thermograph.layer());
        runtime.spawn(async move { axum::serve(listener, app).await });
        let mut app = Self { address, thermograph, _runtime: runtime, seen: 0 };
        app.warm_up();
        app
    }

    /// Until debug information is read, and the workers are known.
    fn warm_up(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        for route in healthy::ROUTES {
            client::call(self.address, "GET", route, "warm").expect("an answer");
        }
        loop {
            client::call(self.address, "GET", "/warm", "warm").expect("an answer");
            let has_stalls = !self.stalls().is_empty();
            let doctor = serde_json::to_string(&self.thermograph.doctor()).expect("serializes");
            if has_stalls && doctor.contains("watched outside of handlers") {
                return;
            }
            if Instant::now() > deadline {
                eprintln!("the workers are not watched outside of handlers");
                return;
            }
        }
    }

    /// Stalls since it was last asked, each with its stack if one came.
    pub(crate) fn stalls(&mut self) -> Vec<Stall> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            // Polls that are just over are noticed by then.
            thread::sleep(Duration::from_millis(25));
            let mut stalls = self.thermograph.stalls();
            stalls.retain(|stall| stall.id > self.seen);
            let is_complete =
                |stall: &Stall| stall.ended && (!stall.stack.is_empty() || stall.no_stack.is_some());
            if stalls.iter().all(is_complete) || Instant::now() > deadline {
                self.seen = stalls.iter().map(|stall| stall.id).max().unwrap_or(self.seen);
                return stalls;
            }
        }
    }
}
