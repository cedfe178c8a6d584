//! Which headers are passed on, to an upstream and back.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use thermograph_codec::Codec;

use crate::{request_id::REQUEST_ID, store::Secret};

/// Headers of a client's request that are passed on, and that its answer does not depend on. Cookies,
/// keys and what the connection needs are not among them; nor is `accept-encoding`, since answers are
/// looked into. What a body is written in is ours to say: here it is JSON, whatever the client speaks.
static REQUEST: [HeaderName; 5] = [
    header::USER_AGENT,
    REQUEST_ID,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("idempotency-key"),
];

/// Headers of providers' APIs that are passed on, and that an answer may depend on.
pub(super) static OF_PROVIDERS: [HeaderName; 5] = [
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("anthropic-beta"),
    HeaderName::from_static("anthropic-version"),
];

pub(super) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The headers of a request to an upstream, without those of the upstream's own.
pub(super) fn of_request(client: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(REQUEST.len() + OF_PROVIDERS.len() + 2);
    for (name, value) in client {
        let is_told = REQUEST.contains(name) || OF_PROVIDERS.contains(name);
        if is_told && !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(accept) = client.get(header::ACCEPT)
        && Codec::of_answer(client).is_none_or(|codec| codec == Codec::Json)
    {
        headers.insert(header::ACCEPT, accept.clone());
    }
    headers
}

/// Copies the headers of a client that an upstream is to have by configuration; none with a key of
/// this server in it.
pub(super) fn forward(client: &HeaderMap, names: &[HeaderName], headers: &mut HeaderMap) {
    for name in names {
        headers.remove(name);
        let values = client.get_all(name).iter();
        for value in values.filter(|value| !holds_our_key(value)) {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// Returns whether a header has a key of this server in it, also as a name or a password of
/// `Basic`.
pub(super) fn holds_our_key(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let mut words = bytes.split(|byte| matches!(byte, b' ' | b'\t' | b',' | b';'));
    let is_in = |word: &[u8]| {
        word.len() >= Secret::LENGTH
            && STANDARD.decode(word).is_ok_and(|decoded| Secret::is_in(&decoded))
    };
    Secret::is_in(bytes) || words.any(is_in)
}

/// The id of a request, which every one has.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(REQUEST_ID)
}

/// An id as it is logged.
pub(super) fn text(id: Option<&HeaderValue>) -> &str {
    id.and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// Takes out what is not passed back.
pub(super) fn clean(answer: &mut HeaderMap) {
    // What the upstream names in `connection` is its connection's too.
    let named: Vec<HeaderName> = answer
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let ours: Vec<HeaderName> =
        answer.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in named.iter().chain(&ours) {
        answer.remove(name);
    }
}

/// Returns whether a header belongs to the upstream's connection, or is ours to say, as rules for
/// browsers are. Compared as text: most names differ in length already.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "alt-svc"
            | "connection"
            | "content-length"
            | "content-security-policy"
            | "date"
            | "keep-alive"
            | "location"
            | "proxy-authenticate"
            | "server"
            | "set-cookie"
            | "strict-transport-security"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "www-authenticate"
            | "x-cache"
            | "x-request-id"
    ) || name.starts_with("access-control-")
        || name.starts_with("x-thermograph-")
}

/// How long an upstream asks to be left alone.
pub(super) fn retry_after(answer: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| answer.get(name)?.to_str().ok();
    let millis = text(RETRY_AFTER_MS).and_then(|text| text.trim().parse::<f64>().ok());
    if let Some(millis) = millis {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let text = text(header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().expect("a value"))
        };
        headers.iter().map(pair).collect()
    }

    #[test]
    fn secrets_and_framing_stay_here() {
        let client = map(&[
            ("authorization", "Bearer mine"),
            ("cookie", "a=b"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("accept-encoding", "gzip"),
            ("x-request-id", "r"),
            ("openai-beta", "x"),
        ]);
        let expected = map(&[
            ("content-type", "application/json"),
            ("x-request-id", "r"),
            ("openai-beta", "x"),
        ]);
        assert_eq!(of_request(&client), expected);
    }

    #[test]
    fn forwarded_headers_hold_no_key_of_ours() {
        let key = format!("tg-{}", "a".repeat(43));
        let client = map(&[("x-tenant", "t"), ("api-key", &key), ("x-other", "o")]);
        let names = ["x-tenant", "api-key", "x-missing"].map(HeaderName::from_static);
        let mut headers = map(&[("x-tenant", "before")]);
        forward(&client, &names, &mut headers);
        assert_eq!(headers, map(&[("x-tenant", "t")]));
        let basic = format!("Basic {}", STANDARD.encode(format!("user:{key}")));
        for text in [format!("Bearer {key}"), format!("Token\t{key}"), format!("a;{key};b"), basic]
        {
            let mut headers = HeaderMap::new();
            forward(&map(&[("api-key", &text)]), &names, &mut headers);
            assert!(headers.is_empty(), "{text}");
        }
    }

    #[test]
    fn an_upstream_is_spoken_to_in_json() {
        let told = |accept| {
            let client = map(&[("content-type", "application/cbor"), ("accept", accept)]);
            let headers = of_request(&client);
            assert_eq!(headers[header::CONTENT_TYPE], "application/json");
            headers.get(header::ACCEPT).cloned()
        };
        assert_eq!(told("application/msgpack"), None);
        assert_eq!(told("application/cbor, application/json;q=0.5"), None);
        assert_eq!(told("text/event-stream"), Some(HeaderValue::from_static("text/event-stream")));
    }

    #[test]
    fn what_the_connection_names_is_not_passed_back() {
        let mut answer = map(&[
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
            ("content-length", "3"),
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "*"),
            ("strict-transport-security", "max-age=1"),
            ("x-thermograph-upstream", "forged"),
            ("x-cache", "hit"),
            ("x-request-id", "theirs"),
            ("keep-alive", "timeout=5"),
            ("content-type", "text/plain"),
            ("retry-after", "1"),
            ("x-should-retry", "false"),
        ]);
        clean(&mut answer);
        let expected =
            [("content-type", "text/plain"), ("retry-after", "1"), ("x-should-retry", "false")];
        assert_eq!(answer, map(&expected));
    }

    #[test]
    fn retry_after_has_three_forms() {
        let asked = |headers: &[(&'static str, &str)]| retry_after(&map(headers));
        let both = [("retry-after", "3"), ("retry-after-ms", "250")];
        assert_eq!(asked(&both), Some(Duration::from_millis(250)));
        assert_eq!(asked(&both[..1]), Some(Duration::from_secs(3)));
        let past = [("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")];
        assert_eq!(asked(&past), Some(Duration::ZERO));
        assert_eq!(asked(&[("retry-after", "soon")]), None);
        assert_eq!(asked(&[("retry-after", "-1")]), None);
        assert_eq!(asked(&[]), None);
    }
}
