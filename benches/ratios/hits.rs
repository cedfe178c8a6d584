//! What an answer costs that is kept: the service, against a handler of Axum that has an answer of
//! the same size at hand, in turns.
//!
//! Each on one core, and so with one worker; the client has the other.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;

use crate::{
    client::{self, Clients, Requests},
    figure::{Bound, Figure},
    gateway::{MODEL, Mock},
    pin::Side,
    process::Process,
    rounds::{Ratio, Rounds, Sample},
    service::{self, Service},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 24, length: Duration::from_millis(500) };

const NAME: &str = "hits";
const CONNECTIONS: usize = 64;
/// The app of a plain server that has an answer at hand.
const READY: usize = 3;

/// Who is driven, and with what.
struct Driven<'a> {
    process: &'a Process,
    clients: Clients,
    requests: Requests,
}

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let mock = Mock::start()?;
    let configuration = format!(
        "[upstreams.mock]\nurl = \"http://{}\"\n[models.\"{MODEL}\"]\nupstreams = [\"mock\"]\n\
         [cache]\nanswers = \"64MiB\"\n",
        mock.address
    );
    // It keeps itself on the core; the service inherits it.
    let (plain, addresses) = Process::hello("plain")?;
    let service = {
        let _pinned = Side::Server.pin()?;
        Service::with(&configuration)?
    };
    let _pinned = Side::Client.pin()?;
    let body = serde_json::json!({
        "model": MODEL, "temperature": 0,
        "messages": [{ "role": "user", "content": "What is asked again and again?" }],
    });
    let request = client::post("/v1/chat/completions", &body);
    let mut clients = Clients::connect(service.addresses.api, CONNECTIONS)?;
    let answer = clients.ask(&request)?;
    ensure!(clients.ask(&request)? == answer, "the answer was not kept");
    let kept = Driven { process: &service.process, clients, requests: [request].into() };
    let address: SocketAddr = *addresses.get(READY).context("no such app")?;
    let request = client::post(&format!("/answer/{}", answer.len()), &body);
    let clients = Clients::connect(address, CONNECTIONS)?;
    let ready = Driven { process: &plain, clients, requests: [request].into() };

    let mut sides = [ready, kept];
    let pairs = rounds.pairs(|side, length| sides[side].turn(length))?;
    let ratio = Ratio::of(&pairs, Sample::per_second);
    let cpu = Ratio::of(&pairs, Sample::cpu_per_request);
    let [bare, ours] = ratio.sides;
    Ok(vec![Figure {
        name: NAME,
        what: "requests/s: a chat whose answer is kept : a handler that has one at hand".to_owned(),
        value: ratio.median(),
        bound: Bound::AtLeast(0.80),
        conditions: format!(
            "{} bytes; {bare:.0} → {ours:.0} requests/s, {:.1} → {:.1} µs of processor time; {}",
            answer.len(),
            cpu.sides[0],
            cpu.sides[1],
            ratio.spread(rounds.length)
        ),
    }])
}

impl Driven<'_> {
    /// The other is stopped meanwhile.
    fn turn(&mut self, length: Duration) -> anyhow::Result<Sample> {
        self.process.resume()?;
        let sample = service::round(self.process, &mut self.clients, &self.requests, length)?;
        self.process.stop()?;
        Ok(sample)
    }
}

/// An answer of so many bytes, at hand.
pub(crate) fn at_hand(bytes: usize) -> Bytes {
    static BYTES: [u8; 64 << 10] = [b'x'; 64 << 10];
    Bytes::from_static(&BYTES[..bytes.min(BYTES.len())])
}
