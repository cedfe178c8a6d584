//! What the ledger costs: a gateway before a mock that writes a row for each request, against one
//! that does not, in turns. SQLite, in a folder of its own.

use std::time::Duration;

use crate::{
    client::{self, Clients, Requests},
    figure::{Bound, Figure},
    gateway::{MODEL, Mock},
    rounds::{Pair, Ratio, Rounds, Sample},
    service::{self, Service},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 24, length: Duration::from_secs(1) };

const NAME: &str = "ledger";
const CONNECTIONS: usize = 8;
/// Each side is so many processes, one after the other: of two that are the same, one may be a
/// tenth faster than the other for as long as they live.
const PROCESSES: usize = 6;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let mock = Mock::start()?;
    let some = Rounds { pairs: rounds.pairs.div_ceil(PROCESSES), ..rounds };
    let mut pairs = Vec::new();
    for _ in 0..PROCESSES {
        pairs.extend(measure_two(&mock, some)?);
    }
    let ratio = Ratio::of(&pairs, Sample::per_second);
    let cpu = Ratio::of(&pairs, Sample::cpu_per_request);
    let [off, on] = ratio.sides;
    Ok(vec![Figure {
        name: NAME,
        what: "requests/s of chats: with the ledger : without".to_owned(),
        value: ratio.median(),
        bound: Bound::AtLeast(0.97),
        conditions: format!(
            "SQLite, {CONNECTIONS} connections, {PROCESSES} processes of each; {off:.0} → {on:.0} \
             requests/s, {:.1} → {:.1} µs of processor time; {}",
            cpu.sides[0],
            cpu.sides[1],
            ratio.spread(rounds.length)
        ),
    }])
}

/// Two services, one that writes and one that does not, in turns.
fn measure_two(mock: &Mock, rounds: Rounds) -> anyhow::Result<Vec<Pair>> {
    let dir = tempfile::tempdir()?;
    let upstream = format!(
        "[upstreams.mock]\nurl = \"http://{}\"\n[models.\"{MODEL}\"]\nupstreams = [\"mock\"]\n",
        mock.address
    );
    let store = service::store(dir.path());
    let services = [Service::with(&upstream)?, Service::with(&(store + &upstream))?];
    let body = serde_json::json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "What is written down of this?" }],
    });
    let requests: Requests = [client::post("/v1/chat/completions", &body)].into();
    let mut clients: Vec<Clients> = services
        .iter()
        .map(|service| Clients::connect(service.addresses.api, CONNECTIONS))
        .collect::<Result<_, _>>()?;
    rounds.pairs(|side, length| {
        // The other would go on with what it has to write.
        services[side].process.resume()?;
        let sample =
            service::round(&services[side].process, &mut clients[side], &requests, length)?;
        services[side].process.stop()?;
        Ok(sample)
    })
}
