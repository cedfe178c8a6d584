//! One line in the app's log, soon after the start: what the doctor has found.
//!
//! From a thread of its own, which nothing waits for: it reads debug information, and the app's log
//! may block.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{
        AtomicBool,
        Ordering::{AcqRel, Release},
    },
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::Examination;
use crate::{checks::State, instance::Instance};

/// Time after the diagnostics listen in which an app puts on what else it has, such as the hooks.
const START: Duration = Duration::from_secs(2);
/// Time from one look whether the diagnostics still listen to the next.
const LOOK: Duration = Duration::from_millis(50);

/// True once a line was or will be logged: one process, one line.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Logs the doctor's summary a while from now, unless the diagnostics stop before or it was logged
/// already: as a warning if anything is missing, and else as information.
pub(crate) fn announce(
    instance: &Instance,
    address: SocketAddr,
    stop: CancellationToken,
) -> io::Result<()> {
    if IS_TAKEN.swap(true, AcqRel) {
        return Ok(());
    }
    let instance = instance.clone();
    let announce = move || {
        let start = Instant::now();
        while start.elapsed() < START {
            if stop.is_cancelled() {
                IS_TAKEN.store(false, Release);
                return;
            }
            thread::sleep(LOOK);
        }
        let examination = Examination::of(&instance);
        let summary = examination.summary();
        let has_tls = !instance.config.tls_cert.as_os_str().is_empty();
        let scheme = if has_tls { "https" } else { "http" };
        let more = format!("see /debug/doctor?format=text at {scheme}://{address}");
        if examination.worst() == State::Good {
            tracing::info!("doctor: {summary}; {more}");
        } else {
            tracing::warn!("doctor: {summary}; {more}");
        }
    };
    let thread = thread::Builder::new().name("thermo-doctor".to_owned()).spawn(announce);
    if thread.is_err() {
        IS_TAKEN.store(false, Release);
    }
    thread.map(drop)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::Command,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::{Thermograph, config::ConsoleMode};

    /// The name of the test that is run in a process of its own.
    const OWN: &str = "doctor::announcement::tests::in_a_process_of_its_own";

    #[test]
    fn serve_logs_one_warning_that_names_what_is_missing() {
        let mut test = Command::new(std::env::current_exe().expect("a program"));
        let output = test.args([OWN, "--exact", "--ignored", "--nocapture"]).output();
        let output = output.expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> = said.lines().filter(|line| line.contains("doctor: ")).collect();
        let [line] = &*lines else { panic!("not one line: {said}") };
        for part in
            ["WARN", "hooks", "tracing_layer", "see /debug/doctor?format=text at http://127"]
        {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
        }
    }

    #[test]
    #[ignore = "run by serve_logs_one_warning_that_names_what_is_missing: once in a process"]
    fn in_a_process_of_its_own() {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        let serve = || {
            let builder = Thermograph::builder().listen(([127, 0, 0, 1], 0));
            let thermograph = builder.console(ConsoleMode::Off).build().expect("valid");
            thermograph.serve().expect("opened")
        };
        // One that stops before it is time says nothing, and does not keep the next from it.
        drop(serve());
        let deadline = Instant::now() + Duration::from_mins(1);
        while IS_TAKEN.load(std::sync::atomic::Ordering::Acquire) {
            assert!(Instant::now() < deadline, "it waits on");
            thread::sleep(LOOK);
        }
        assert_eq!(log.text(), "");
        let start = Instant::now();
        let doors = [serve(), serve()];
        // Nobody waits for it.
        assert!(start.elapsed() < START);
        while !log.text().contains("doctor: ") {
            assert!(Instant::now() < deadline, "nothing was logged");
            thread::sleep(LOOK);
        }
        thread::sleep(2 * START);
        println!("{}", log.text());
        drop(doors);
    }
}
