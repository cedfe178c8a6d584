//! One file over HTTP: resumed where it was cut, checked, and then in place at once.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::{checksum, progress::Step};

/// Name and connection together bound what a hub out of reach costs: five seconds.
const RESOLVE: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(3);
/// How long the other side may say nothing.
const STALL: Duration = Duration::from_secs(10);

/// A bearer token; never shown.
pub struct Token(String);

/// Fetches `url` to `path`, unless what is there has the sum already.
///
/// Until it is complete the file is called `….part`, and is left there when the connection is cut,
/// so that the next call asks for the rest only. A file with another sum is removed.
pub fn fetch(url: &str, path: &Path, sha256: &str, token: Option<&Token>) -> anyhow::Result<()> {
    if checksum::matches(path, sha256)? {
        return Ok(());
    }
    let part = part_of(path);
    let resumed = transfer(url, &part, token).with_context(|| format!("cannot fetch {url}"))?;
    if resumed && !checksum::matches(&part, sha256)? {
        // What was there may have been the start of another file: from the beginning, then.
        remove(&part)?;
        transfer(url, &part, token).with_context(|| format!("cannot fetch {url}"))?;
    }
    if let Err(error) = checksum::check(&part, sha256) {
        remove(&part)?;
        return Err(error.context(format!("{url} gave another file; it was removed")));
    }
    fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))
}

/// Brings `part` to its full length; true if it began with what was there before.
fn transfer(url: &str, part: &Path, token: Option<&Token>) -> anyhow::Result<bool> {
    let there = fs::metadata(part).map_or(0, |metadata| metadata.len());
    let mut response = get(url, there, token)?;
    let resumed = match response.status() {
        StatusCode::PARTIAL_CONTENT if starts_at(&response, there) => true,
        // Nothing is left to send: the sum will tell whether the file is complete.
        StatusCode::RANGE_NOT_SATISFIABLE if there > 0 => return Ok(true),
        // A server that knows no ranges sends everything.
        StatusCode::OK => false,
        status => anyhow::bail!("the server answered {status}"),
    };
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .with_context(|| format!("cannot write {}", part.display()))?;
    let what = part.file_stem().unwrap_or_default().to_string_lossy();
    copy(&what, response.body_mut(), &mut file, if resumed { there } else { 0 })?;
    Ok(resumed)
}

fn get(url: &str, there: u64, token: Option<&Token>) -> anyhow::Result<Response<Body>> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(RESOLVE))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(STALL))
        .timeout_per_read(Some(STALL))
        .user_agent(concat!("thermograph/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    // Compressed, a range would be one of other bytes.
    let mut request = agent.get(url).header(header::ACCEPT_ENCODING, "identity");
    if there > 0 {
        request = request.header(header::RANGE, format!("bytes={there}-"));
    }
    if let Some(Token(token)) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    Ok(request.call()?)
}

fn copy(what: &str, body: &mut Body, file: &mut File, there: u64) -> anyhow::Result<()> {
    let total = body.content_length().map(|rest| there + rest);
    let step = Step::bytes(format!("downloading {what}"), total, there);
    let mut reader = body.as_reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = reader
            .read(&mut buffer)
            .context("the connection was cut; run it again to go on from there")?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).context("cannot write")?;
        step.advance(count as u64);
    }
    step.done();
    Ok(())
}

/// Whether a part of a file is the one that was asked for.
fn starts_at(response: &Response<Body>, offset: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn remove(part: &Path) -> anyhow::Result<()> {
    fs::remove_file(part).with_context(|| format!("cannot remove {}", part.display()))
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_the_whole_name() {
        assert_eq!(part_of(Path::new("a/model.int8.onnx")), Path::new("a/model.int8.onnx.part"));
    }
}
