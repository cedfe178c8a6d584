//! What a capture costs a hello that is watched, while it runs.
//!
//! Both sides are one process: in one side's turns somebody captures through the door, over HTTP.
//! Left out is what comes before and after the window: that the code's unwind tables are found, and
//! that the stacks are named. No turn of either side begins before a capture has answered.

use std::{
    fmt::Write as _,
    io::Read as _,
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{anyhow, bail, ensure};
use flate2::read::GzDecoder;
use pprof::protos::{self, Message as _};
use thermograph_server::client::Client;

use crate::{
    figure::{Bound, Figure},
    layer::figures,
    pin::Side,
    rounds::{Rounds, Sample},
    server::Server,
    spread::Spread,
};

/// Short enough for the window, with what comes before it.
pub(crate) const ROUNDS: Rounds = Rounds { pairs: 64, length: Duration::from_millis(750) };

/// Shortest that can be asked for.
const WINDOW: Duration = Duration::from_secs(1);
/// How long the clients are driven before a turn, and so until a capture must have begun.
const RUN_IN: Duration = Duration::from_millis(100);
/// A capture that began late is made again, so often.
const TRIES: usize = 5;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let kinds = [
        ("/debug/pprof/profile", Bound::AtLeast(0.98), "while CPU time is captured"),
        ("/debug/fgprof", Bound::AtLeast(0.97), "while wall-clock time is captured"),
    ];
    let mut all = Vec::new();
    for (path, bound, what) in kinds {
        let mut server = Server::start(("watched", 0))?;
        let _pinned = Side::Client.pin()?;
        let door = server.door()?;
        let mut periods = Vec::new();
        let pairs = rounds.pairs(|side, length| {
            if side == 0 {
                server.drive(RUN_IN)?;
                return server.drive(length);
            }
            let (sample, seen) = captured(&mut server, door, path, length)?;
            periods.push(seen);
            Ok(sample)
        })?;
        let what = format!("{what} at 99 Hz : without a capture");
        let mut of_kind = figures("captures", &what, bound, &pairs, rounds.length);
        // A hello is seldom inside of a poll when its thread is asked: one capture may have none.
        ensure!(periods.iter().sum::<f64>() > 0.0, "{path}: no sample in any capture");
        let seen = Spread::of(periods).median();
        write!(of_kind[0].conditions, "; {seen:.0} samples in a capture of {WINDOW:?}")?;
        all.extend(of_kind);
    }
    Ok(all)
}

/// A turn that lies in the window of a capture, and how many samples were taken in the window.
fn captured(
    server: &mut Server,
    door: SocketAddr,
    path: &str,
    length: Duration,
) -> anyhow::Result<(Sample, f64)> {
    for _ in 0..TRIES {
        let capture = begin(door, path);
        server.drive(RUN_IN)?;
        let began = SystemTime::now();
        let sample = server.drive(length)?;
        let ended = SystemTime::now();
        let answer = capture.join().map_err(|_| anyhow!("nobody captured"))??;
        let Capture { start, samples } = Capture::read(&answer)?;
        if start <= began && ended <= start + WINDOW {
            return Ok((sample, samples as f64));
        }
    }
    bail!("{path}: its window did not cover the turn, {TRIES} times in a row");
}

/// From a thread that does nothing but wait, on the client's core.
fn begin(door: SocketAddr, path: &str) -> JoinHandle<anyhow::Result<Vec<u8>>> {
    let path = format!("{path}?seconds={}&frequency=99", WINDOW.as_secs());
    thread::spawn(move || Client::new(&format!("http://{door}"), None).get(&path, WINDOW))
}

/// What is needed of a profile.
struct Capture {
    /// When sampling began: the window is counted from there. The profile's own duration goes on
    /// while its stacks are named.
    start: SystemTime,
    samples: i64,
}

impl Capture {
    fn read(answer: &[u8]) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        GzDecoder::new(answer).read_to_end(&mut bytes)?;
        let profile = protos::Profile::decode(&*bytes)?;
        let start = UNIX_EPOCH + Duration::from_nanos(profile.time_nanos.try_into()?);
        let samples = profile.sample.iter().filter_map(|sample| sample.value.first());
        Ok(Self { start, samples: samples.sum() })
    }
}
