//! `/debug/pprof/symbol`: names of addresses, as Go's tools ask for them.

use std::fmt::Write as _;

use axum::body::Bytes;
use http::Uri;

use super::HttpError;

/// Most addresses of one request.
const MAX: usize = 10_000;

/// `?0x1234+0x5678`
pub(crate) async fn get(uri: Uri) -> Result<String, HttpError> {
    symbolize(uri.query().unwrap_or_default().to_owned()).await
}

/// The same in the body, where many addresses have room.
pub(crate) async fn post(body: Bytes) -> Result<String, HttpError> {
    symbolize(String::from_utf8_lossy(&body).into_owned()).await
}

/// How many there are, at least 1 where symbols can be had at all, and a line for each that has a
/// name.
async fn symbolize(text: String) -> Result<String, HttpError> {
    let given: Vec<_> = text.split('+').map(str::trim).filter(|text| !text.is_empty()).collect();
    if given.len() > MAX {
        let message = format!("{} addresses are not allowed: at most {MAX}", given.len());
        return Err(HttpError::bad_request(message));
    }
    let parse = |text: &&str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u64::from_str_radix(digits, 16).map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            HttpError::bad_request(format!("`{shown}` is not an address: 0x and hex digits"))
        })
    };
    let addresses = given.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    // The debug information of a big program takes a moment to read.
    let lines = tokio::task::spawn_blocking(move || lines(&addresses)).await;
    lines.map_err(|error| HttpError::internal(format!("naming failed: {error}")))
}

fn lines(addresses: &[u64]) -> String {
    let mut text = "num_symbols: 1\n".to_owned();
    for (address, name) in addresses.iter().zip(names(addresses)) {
        if let Some(name) = name {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{address:#x} {name}");
        }
    }
    text
}

#[cfg(sampler)]
fn names(addresses: &[u64]) -> Vec<Option<String>> {
    use thermograph_sampler::Names;
    if addresses.is_empty() {
        return Vec::new();
    }
    let modules = thermograph_sampler::modules();
    let mut names = Names::new(&modules);
    let name = |address: &u64| {
        // The function that was not inlined.
        names.location(*address).frames.last().map(|frame| frame.name.clone())
    };
    addresses.iter().map(name).collect()
}

#[cfg(not(sampler))]
fn names(addresses: &[u64]) -> Vec<Option<String>> {
    vec![None; addresses.len()]
}
