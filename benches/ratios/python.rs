//! The service against what people build first: onnxruntime behind `FastAPI`.
//!
//! `benches/python/server.py` says what it does and does not do; its packages are installed once,
//! pinned, into a virtual environment under `target/`.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};

use crate::{
    client::{Clients, Requests},
    figure::{Bound, Figure},
    process::{Process, free_address},
    rounds::{Ratio, Rounds, Sample},
    service::{Service, round},
    texts::{MODEL, batches, singles},
    venv,
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 8, length: Duration::from_secs(4) };

/// What is asked: texts in a request, and connections.
const ASKED: [(usize, usize); 2] = [(1, 64), (32, 8)];
/// Int8 weights against f32 ones: the least that two vectors of a text are alike.
const ALIKE: f64 = 0.97;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let (python, address) = serve()?;
    let service = Service::start()?;
    let mut figures = Vec::new();
    for (size, connections) in ASKED {
        let requests = if size == 1 { singles() } else { batches(size) };
        let mut sides = [Clients::connect(address, connections)?, service.clients(connections)?];
        let alike = compare(&mut sides, &requests)?;
        let pairs = rounds.pairs(|side, length| {
            let process = if side == 0 { &python } else { &service.process };
            round(process, &mut sides[side], &requests, length)
        })?;
        let ratio = Ratio::of(&pairs, Sample::per_second);
        let [theirs, ours] = ratio.sides.map(|requests| requests * size as f64);
        figures.push(Figure {
            name: "python",
            what: format!(
                "texts/s of the service : FastAPI and onnxruntime f32; {size} in a request, \
                 {connections} connections"
            ),
            value: ratio.median(),
            bound: Bound::AtLeast(1.0),
            conditions: format!(
                "{}; {theirs:.0} → {ours:.0} texts/s; the same vectors within cosine {alike:.3}",
                ratio.spread(rounds.length)
            ),
        });
    }
    Ok(figures)
}

/// The least cosine between what the two answer.
fn compare([theirs, ours]: &mut [Clients; 2], requests: &Requests) -> anyhow::Result<f64> {
    let mut least = f64::INFINITY;
    for request in requests.iter().step_by(requests.len().div_ceil(16)) {
        let (theirs, ours) = (vectors(&theirs.ask(request)?)?, vectors(&ours.ask(request)?)?);
        ensure!(theirs.len() == ours.len(), "one of the two left out a vector");
        for (theirs, ours) in theirs.iter().zip(&ours) {
            ensure!(theirs.len() == ours.len(), "the vectors differ in length");
            // Both have length 1.
            least = least.min(theirs.iter().zip(ours).map(|(a, b)| a * b).sum());
        }
    }
    ensure!(least > ALIKE, "the two do not do the same: cosine {least}");
    Ok(least)
}

fn vectors(answer: &[u8]) -> anyhow::Result<Vec<Vec<f64>>> {
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let data = answer["data"].as_array().context("an answer without data")?;
    let vector = |one: &serde_json::Value| serde_json::from_value(one["embedding"].clone());
    Ok(data.iter().map(vector).collect::<Result<_, _>>()?)
}

/// Starts Python's server and waits until it answers.
fn serve() -> anyhow::Result<(Process, SocketAddr)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("models").join(MODEL);
    let graph = folder.join("model.onnx");
    ensure!(graph.is_file(), "{} is not there; `./just model` gets it", graph.display());
    let address = free_address()?;
    let pins = fs::read_to_string(root.join("benches/python/requirements.txt"))?;
    let mut command = Command::new(venv::programs("bench-python", &pins)?.join("python"));
    command.arg(root.join("benches/python/server.py")).arg(folder);
    let mut process = Process::start(command.arg(address.port().to_string()).stdin(Stdio::null()))?;
    process.wait("Python's server listens", || TcpStream::connect(address).ok())?;
    Ok((process, address))
}
