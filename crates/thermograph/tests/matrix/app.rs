//! A watched app with every specimen, on a runtime of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use axum::routing::get;
use thermograph::{ConsoleMode, Stall, Thermograph, doctor::State};
use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
};

use crate::{cell::Cell, client, healthy, places, specimen::Specimen, specimens::ILLNESS};

pub(crate) struct App {
    pub(crate) address: SocketAddr,
    thermograph: Thermograph,
    _runtime: Runtime,
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
        let layer = {
            let _context = runtime.enter();
            thermograph.layer()
        };
        let app = specimens.iter().fold(app, places::add).layer(layer);
        runtime.spawn(async move { axum::serve(listener, app).await });
        let app = Self { address, thermograph, _runtime: runtime };
        app.warm_up();
        app
    }

    /// Until debug information is read, and the workers are known.
    fn warm_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        for route in healthy::ROUTES {
            client::call(self.address, "GET", route, "warm").expect("an answer");
        }
        loop {
            client::call(self.address, "GET", "/warm", "warm").expect("an answer");
            let has_stalls = !self.stalls().is_empty();
            if has_stalls && self.knows_workers() {
                return;
            }
            if Instant::now() > deadline {
                eprintln!("the workers are not watched outside of handlers");
                return;
            }
        }
    }

    fn knows_workers(&self) -> bool {
        let doctor = self.thermograph.doctor();
        let workers = doctor.findings.iter().find(|finding| finding.what == "workers");
        workers.is_some_and(|finding| finding.state == State::Good)
    }

    /// All stalls, each with its stack if one came.
    pub(crate) fn stalls(&self) -> Vec<Stall> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // Polls that are just over are noticed by then.
            thread::sleep(Duration::from_millis(50));
            let stalls = self.thermograph.stalls();
            let is_complete = |stall: &Stall| {
                stall.ended && (!stall.stack.is_empty() || stall.no_stack.is_some())
            };
            if stalls.iter().all(is_complete) || Instant::now() > deadline {
                return stalls;
            }
        }
    }
}
