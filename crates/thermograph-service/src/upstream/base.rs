//! The base of an upstream's API, as its provider documents it.

use http::{Uri, uri::Authority};

use super::Endpoint;

/// Parts of names of fields that may hold secrets: URLs with them are not shown.
const SECRETS: [&str; 6] = ["key", "token", "secret", "password", "sig", "auth"];
/// Ends of words in names of fields that do hold secrets.
const SECRET_ENDS: [&str; 4] = ["key", "token", "secret", "password"];
/// Words in such names: `design` and `author` only contain them.
const SECRET_WORDS: [&str; 4] = ["sig", "signature", "auth", "authorization"];

/// A base URL, taken apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Base {
    /// Scheme, host and port.
    origin: String,
    /// Path without a slash at its end.
    path: String,
    query: Option<String>,
}

impl Base {
    /// URLs that are bases.
    pub(super) const ALLOWED: &str = "http:// or https://, a host, if need be a port of 1 to 65535, \
                                      a path and a query; no password, no fragment";

    /// Reads a URL. One without a path has `/v1` appended if `append_v1`, as OpenAI's API begins.
    pub(super) fn new(url: &str, append_v1: bool) -> Option<Self> {
        // A fragment would be dropped without a word.
        let uri: Uri = url.parse().ok().filter(|_| !url.contains('#'))?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
        let authority = uri.authority().filter(|authority| is_host_and_port(authority))?;
        let path = match uri.path().trim_end_matches('/') {
            "" if append_v1 => "/v1",
            path => path,
        };
        Some(Self {
            origin: format!("{scheme}://{authority}"),
            path: path.to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// The URI of a path below the base, with the base's query.
    pub(super) fn below(&self, path: &str) -> Option<Uri> {
        let Self { origin, path: base, query } = self;
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{origin}{base}{path}{query}").parse().ok()
    }

    /// The URI of a path on the same host, which may have a query of its own.
    pub(super) fn at_root(&self, path: &str) -> Option<Uri> {
        format!("{}{path}", self.origin).parse().ok()
    }

    /// The path of an endpoint that the base ends in, and the base without it.
    pub(super) fn without_endpoint(&self) -> Option<(&'static str, String)> {
        let Self { origin, path, query } = self;
        let endpoints = Endpoint::ALL.iter().map(|endpoint| endpoint.path()).chain(["/v1/models"]);
        // The longest one: `/chat/completions` ends in `/completions`.
        let (rest, endpoint) = endpoints
            .filter_map(|endpoint| Some((path.strip_suffix(endpoint)?, endpoint)))
            .min_by_key(|(rest, _)| rest.len())?;
        // Azure's deployments have names of their users' choice.
        if rest.ends_with("/deployments") {
            return None;
        }
        let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        Some((endpoint, format!("{origin}{rest}{query}")))
    }

    pub(super) fn has_tls(&self) -> bool {
        self.origin.starts_with("https:")
    }
}

/// Name of a field of a URL's query that holds a secret, by the words of its name.
pub(super) fn secret_in_query(url: &str) -> Option<&str> {
    names_in_query(url).find(|name| words(name).any(is_secret))
}

/// Returns whether a field of a URL's query may hold a secret; rather too often than too seldom.
pub(super) fn may_have_secret_in_query(url: &str) -> bool {
    names_in_query(url).any(|name| {
        let name = name.to_ascii_lowercase();
        SECRETS.iter().any(|secret| name.contains(secret))
    })
}

fn names_in_query(url: &str) -> impl Iterator<Item = &str> {
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    query.split('&').map(|field| field.split('=').next().unwrap_or_default())
}

/// The words of a name: `x-api_keyId1` has `x`, `api`, `key` and `Id`.
fn words(name: &str) -> impl Iterator<Item = &str> {
    let pieces = name.split(|character: char| !character.is_ascii_alphabetic());
    pieces.flat_map(|mut rest| {
        std::iter::from_fn(move || {
            let is_end = |pair: &[u8]| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase();
            let end = rest.as_bytes().windows(2).position(is_end);
            let (word, later) = rest.split_at(end.map_or(rest.len(), |last| last + 1));
            rest = later;
            (!word.is_empty()).then_some(word)
        })
    })
}

fn is_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    SECRET_WORDS.contains(&&*word) || SECRET_ENDS.iter().any(|end| word.ends_with(end))
}

/// Returns whether an authority is a host with at most a port, and no password.
fn is_host_and_port(authority: &Authority) -> bool {
    let (text, host) = (authority.as_str(), authority.host());
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_rest = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    !host.is_empty() && text.strip_prefix(host).is_some_and(is_rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_as_their_providers_document_them() {
        for (url, chat) in [
            ("http://vllm:8000", "http://vllm:8000/v1/chat"),
            ("http://vllm:8000/", "http://vllm:8000/v1/chat"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1/chat"),
            (
                "https://generativelanguage.googleapis.com/v1beta/openai/",
                "https://generativelanguage.googleapis.com/v1beta/openai/chat",
            ),
            ("https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4/chat"),
            ("https://models.github.ai/inference", "https://models.github.ai/inference/chat"),
            (
                "https://r.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
                "https://r.openai.azure.com/openai/deployments/d/chat?api-version=2024-10-21",
            ),
            ("http://a?x=1&y", "http://a/v1/chat?x=1&y"),
            ("http://[::1]:80/", "http://[::1]:80/v1/chat"),
        ] {
            let base = Base::new(url, true).expect(url);
            assert_eq!(base.below("/chat").expect(url).to_string(), chat);
        }
        let bare = Base::new("https://api.perplexity.ai", false).expect("a base");
        assert_eq!(
            bare.below("/chat").expect("a URI").to_string(),
            "https://api.perplexity.ai/chat"
        );
    }

    #[test]
    fn paths_from_the_root_have_nothing_of_the_base() {
        let base = Base::new("http://a:1/v1beta?x=1", true).expect("a base");
        assert_eq!(
            base.at_root("/health?deep").expect("a URI").to_string(),
            "http://a:1/health?deep"
        );
    }

    #[test]
    fn path_of_an_endpoint_is_told_from_a_base() {
        for (url, endpoint, base) in [
            ("http://a/v1/chat/completions", "/chat/completions", "http://a/v1"),
            ("http://a/v1/completions/", "/completions", "http://a/v1"),
            ("https://a/v1/messages/count_tokens", "/messages/count_tokens", "https://a/v1"),
            ("http://a/embeddings", "/embeddings", "http://a"),
            ("http://a/v1/models", "/v1/models", "http://a"),
            (
                "https://a/openai/deployments/d/chat/completions?api-version=1",
                "/chat/completions",
                "https://a/openai/deployments/d?api-version=1",
            ),
        ] {
            let found = Base::new(url, true).expect(url).without_endpoint();
            assert_eq!(found, Some((endpoint, base.to_owned())), "{url}");
        }
        for url in [
            "http://a",
            "http://a/v1",
            "http://responses",
            "http://a/rerank/v1",
            "http://a/my-embeddings",
            "https://a/openai/deployments/embeddings?api-version=1",
        ] {
            assert_eq!(Base::new(url, true).expect(url).without_endpoint(), None, "{url}");
        }
    }

    #[test]
    fn secrets_are_found_by_the_words_of_their_names() {
        for name in [
            "key",
            "API_KEY",
            "apikey",
            "key1",
            "subscription-key",
            "AWSAccessKeyId",
            "accessToken",
            "client_secret",
            "password",
            "sig",
            "X-Amz-Signature",
            "auth",
        ] {
            let url = format!("http://a/v1?x=1&{name}=2");
            assert_eq!(secret_in_query(&url), Some(name));
            assert!(may_have_secret_in_query(&url), "{name}");
        }
        for name in ["design", "author", "max_tokens", "tokenizer", "keyspace", "assigned", "v"] {
            assert_eq!(secret_in_query(&format!("http://a/v1?{name}=key")), None, "{name}");
        }
        assert_eq!(secret_in_query("http://key.token/secret"), None);
    }

    #[test]
    fn what_is_no_base_is_refused() {
        for url in [
            "",
            "a",
            "/v1",
            "ftp://a",
            "http://",
            "http:///x",
            "http://a:0",
            "http://a:65536",
            "http://user:secret@a",
            "http://a b",
            "http://a#b",
            "http://a/v1?x=1#b",
            "unix:/run/a",
        ] {
            assert_eq!(Base::new(url, true), None, "{url}");
        }
    }
}
