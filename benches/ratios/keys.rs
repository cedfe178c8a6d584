//! Whether how long a wrong key takes tells how much of it is right: keys of which all but the last
//! few characters are right, against keys of which none is, in turns, one request at a time.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::ensure;
use base64::alphabet;
use bytes::Bytes;

use crate::{
    client::{Clients, Requests},
    figure::{Bound, Figure},
    rounds::{Ratio, Rounds, Sample},
    service::{self, Service},
};

pub(crate) const ROUNDS: Rounds = Rounds { pairs: 200, length: Duration::from_millis(100) };

const NAME: &str = "keys";
/// What every key begins with.
const BEGINNING: &str = "tg-";
/// Characters that are wrong in all: fewer make too few keys for each to be a new one.
const WRONG: usize = 4;

pub(crate) fn measure(rounds: Rounds) -> anyhow::Result<Vec<Figure>> {
    let cases = [
        Case { what: "remembered", remembered: 10_000, keys: 64 },
        // They are forgotten some dozens at a time, long before they come again.
        Case { what: "looked up in SQLite", remembered: 1, keys: 8192 },
    ];
    cases.into_iter().map(|case| measure_one(rounds, &case)).collect()
}

/// What becomes of wrong keys.
struct Case {
    what: &'static str,
    /// How many are remembered.
    remembered: u32,
    /// How many there are of each kind.
    keys: usize,
}

fn measure_one(rounds: Rounds, case: &Case) -> anyhow::Result<Figure> {
    let Case { what, remembered, keys } = *case;
    let dir = tempfile::tempdir()?;
    let store = service::store(dir.path());
    let config = format!("{store}require_keys = true\nkey_cache = {remembered}\n");
    let key = make(dir.path(), &config)?;
    let service = Service::with(&config)?;
    let right = key.len() - BEGINNING.len() - WRONG;
    let requests = [0, right].map(|right| wrong(&key, right, keys));
    let mut clients = Clients::connect(service.addresses.api, 1)?.expecting("HTTP/1.1 401");
    let pairs = rounds.pairs(|side, length| {
        service::round(&service.process, &mut clients, &requests[side], length)
    })?;
    let ratio = Ratio::of(&pairs, Sample::per_second);
    let [none, most] = ratio.sides.map(|per_second| 1e6 / per_second);
    Ok(Figure {
        name: NAME,
        what: format!("the longer : the shorter, of wrong keys that are {what}"),
        value: ratio.median().max(ratio.median().recip()),
        bound: Bound::AtMost(1.02),
        conditions: format!(
            "one connection; {none:.1} µs where nothing is right, {most:.1} µs where the first {right} \
             characters are; {}",
            ratio.spread(rounds.length)
        ),
    })
}

/// A key that is good.
fn make(dir: &Path, config: &str) -> anyhow::Result<String> {
    let file = dir.join("thermograph.toml");
    fs::write(&file, config)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_thermograph"));
    let made =
        command.arg("--config").arg(file).args(["keys", "create", "--name", NAME]).output()?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "no key was made: {said}");
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}

/// Requests with keys that begin as this one does, and have no further character of it.
fn wrong(key: &str, right: usize, keys: usize) -> Requests {
    let (right, rest) = key.as_bytes().split_at(BEGINNING.len() + right);
    let digits = alphabet::URL_SAFE.as_str().as_bytes();
    let other = |than: &u8| loop {
        let digit = digits[fastrand::usize(..digits.len())];
        if digit != *than {
            return digit;
        }
    };
    let request = |_| {
        let mut request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n".to_vec();
        request.extend_from_slice(b"authorization: Bearer ");
        request.extend_from_slice(right);
        request.extend(rest.iter().map(other));
        request.extend_from_slice(b"\r\n\r\n");
        Bytes::from(request)
    };
    (0..keys).map(request).collect()
}
