//! Which questions have an answer that can be kept, and what they are called.

use std::sync::LazyLock;

use http::{HeaderMap, header};
use memchr::memmem;
use serde_json::{Map, Value};

use super::{Answer, Cache, Key, KeyBuilder, Scope, Wish, semantic::Meaning};
use crate::{
    caller::Caller,
    error::ApiError,
    upstream::{Document, Endpoint, Route},
};

/// Fields that say who asks, and nothing of what is asked.
const WITHOUT: [&str; 5] = ["metadata", "prompt_cache_key", "safety_identifier", "store", "user"];

/// A question whose answer may be kept.
pub(crate) struct Asked {
    pub(crate) key: Key,
    pub(crate) wish: Wish,
    /// None where it is not compared with others by what it means.
    pub(crate) meaning: Option<Meaning>,
}

/// A question whose body is to be read over.
pub(crate) struct Unread {
    endpoint: Endpoint,
    model: String,
    tenant: Vec<u8>,
    wish: Wish,
    compares: bool,
}

impl Cache {
    /// Whether the answer to a request may be kept, as far as its headers say, and a glance at it.
    pub(crate) fn unread(
        &self,
        endpoint: Endpoint,
        headers: &HeaderMap,
        document: &Document,
        tenant: impl FnOnce() -> Vec<u8>,
    ) -> Result<Option<Unread>, ApiError> {
        let wish = Wish::of(headers)?;
        let may_be = wish.keeps()
            && !document.is_stored()
            && (wish.asked || endpoint == Endpoint::Rerank || names_temperature(document.bytes()));
        Ok(may_be.then(|| Unread {
            endpoint,
            model: document.model().to_owned(),
            tenant: tenant(),
            wish,
            compares: self.semantic.is_some() && endpoint == Endpoint::Chat && wish.reads(),
        }))
    }

    /// The answer to a question whose very bytes were asked before: it need not be read over.
    pub(crate) fn at_hand(&self, bytes: Option<Key>, unread: &Unread) -> Option<Answer> {
        let key = self.known.get(&bytes?)?;
        self.answers.as_ref()?.at_hand(&key, &unread.wish)
    }

    /// Remembers what a question is called, by its bytes.
    pub(crate) fn knows(&self, bytes: Option<Key>, key: Key) {
        if let Some(bytes) = bytes {
            self.known.insert(bytes, key);
        }
    }

    /// Tenant of a request that is passed on: what upstreams are told of the client belongs to it.
    pub(crate) fn tenant_of(&self, caller: &Caller, headers: &HeaderMap, route: &Route) -> Vec<u8> {
        let tenant = self.tenant(caller, headers, route.is_personal());
        let forwarded = route.forwarded(headers);
        if forwarded.is_empty() { tenant.to_owned() } else { [tenant, b"\0", &forwarded].concat() }
    }

    /// Whose answers a client may be given: all of one name share theirs. What an upstream
    /// answers to the client's own key is `is_personal`.
    pub(crate) fn tenant<'a>(
        &self,
        caller: &'a Caller,
        headers: &'a HeaderMap,
        is_personal: bool,
    ) -> &'a [u8] {
        if self.scope == Scope::Shared && !is_personal {
            return b"";
        }
        // Which is never sent to an upstream.
        if let Some(key) = caller.key() {
            return key.info.id.as_bytes();
        }
        headers.get(header::AUTHORIZATION).map_or(b"", |value| value.as_bytes())
    }
}

impl Unread {
    /// Longer bodies are not hashed on a worker.
    const SMALL: usize = 32 << 10;

    /// What it is called by its bytes; none where these are many.
    pub(crate) fn as_it_is(&self, body: &[u8]) -> Option<Key> {
        if body.len() > Self::SMALL {
            return None;
        }
        let mut builder = KeyBuilder::new("bytes");
        builder
            .part(self.endpoint.operation().as_bytes())
            .part(&self.tenant)
            .part(self.model.as_bytes())
            .part(&[u8::from(self.wish.asked)])
            .part(body);
        Some(builder.finish())
    }

    /// Reads the body; none where the answer may be another each time.
    pub(crate) fn read(self, body: &[u8]) -> Option<Asked> {
        let Self { endpoint, model, tenant, wish, compares } = self;
        let mut body: Map<String, Value> = serde_json::from_slice(body).ok()?;
        let is_certain = endpoint == Endpoint::Rerank
            || body.get("temperature").and_then(Value::as_f64) == Some(0.0);
        if !wish.asked && !is_certain {
            return None;
        }
        let is_stream = body.get("stream").and_then(Value::as_bool) == Some(true);
        if !is_stream {
            body.remove("stream");
            body.remove("stream_options");
        }
        body.retain(|name, value| !WITHOUT.contains(&name.as_str()) && !value.is_null());
        body.remove("model");
        let mut builder = KeyBuilder::new("answer-1");
        builder.part(endpoint.operation().as_bytes()).part(&tenant).part(model.as_bytes());
        let meaning = if compares { Meaning::of(builder.clone(), &body) } else { None };
        let key = builder.value(&Value::Object(body)).finish();
        Some(Asked { key, wish, meaning })
    }
}

/// Whether a body may say how much is left to chance.
fn names_temperature(body: &[u8]) -> bool {
    static NAME: LazyLock<memmem::Finder<'_>> =
        LazyLock::new(|| memmem::Finder::new(b"\"temperature\""));
    NAME.find(body).is_some()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use thermograph_common::{CpuPool, Hooks};

    use super::*;
    use crate::cache::Config;

    fn cache(scope: Scope) -> Cache {
        let engine = CpuPool::start(1, 0, Hooks::default()).expect("threads").0;
        Cache::new(&Config { scope, ..Config::default() }, None, &engine)
    }

    fn asked(
        cache: &Cache,
        endpoint: Endpoint,
        headers: &[(&'static str, &'static str)],
        body: &str,
    ) -> Option<String> {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        let headers = headers.iter().map(pair).collect();
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let document = Document::read(endpoint, bytes).expect("a request");
        let unread = cache
            .unread(endpoint, &headers, &document, || {
                cache.tenant(&Caller::default(), &headers, false).to_owned()
            })
            .expect("allowed");
        Some(unread?.read(body.as_bytes())?.key.to_string())
    }

    fn chat(body: &str) -> Option<String> {
        asked(&cache(Scope::Tenant), Endpoint::Chat, &[], body)
    }

    #[test]
    fn what_is_left_to_chance_is_not_kept_unless_asked_for() {
        let (hot, cold) =
            (r#"{"model":"m","temperature":1}"#, r#"{"model":"m","temperature":0.0}"#);
        assert_eq!(chat(hot), None);
        assert_eq!(chat(r#"{"model":"m"}"#), None);
        assert!(chat(cold).is_some());
        assert_eq!(chat(r#"{"model":"m","temperature":0,"store":true}"#), None);
        let cache = cache(Scope::Tenant);
        let with = |headers| asked(&cache, Endpoint::Chat, headers, hot);
        assert!(with(&[("x-thermograph-cache", "use")]).is_some());
        assert!(with(&[("cache-control", "max-age=9")]).is_some());
        let skip = asked(&cache, Endpoint::Chat, &[("x-thermograph-cache", "skip")], cold);
        assert_eq!(skip, None);
        assert!(asked(&cache, Endpoint::Rerank, &[], r#"{"model":"m"}"#).is_some());
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let base = chat(r#"{"model":"m","temperature":0,"messages":[{"content":"a"}]}"#);
        for same in [
            r#"{"messages":[{"content":"\u0061"}],"temperature":0.0,"model":"m"}"#,
            r#"{"model":"m","temperature":0,"messages":[{"content":"a"}],"user":"me"}"#,
            r#"{"model":"m","temperature":0,"messages":[{"content":"a"}],"stream":false}"#,
            r#"{"model":"m","temperature":0,"messages":[{"content":"a"}],"stop":null}"#,
        ] {
            assert_eq!(chat(same), base, "{same}");
        }
        for other in [
            r#"{"model":"n","temperature":0,"messages":[{"content":"a"}]}"#,
            r#"{"model":"m","temperature":0,"messages":[{"content":"b"}]}"#,
            r#"{"model":"m","temperature":0,"messages":[{"content":"a"}],"stream":true}"#,
            r#"{"model":"m","temperature":0,"messages":[{"content":"a","user":"b"}]}"#,
        ] {
            assert_ne!(chat(other), base, "{other}");
        }
    }

    #[test]
    fn tenants_share_nothing_unless_they_are_to() {
        let cold = r#"{"model":"m","temperature":0}"#;
        let key = |scope, who| {
            asked(&cache(scope), Endpoint::Chat, &[("authorization", who)], cold).expect("kept")
        };
        assert_ne!(key(Scope::Tenant, "Bearer a"), key(Scope::Tenant, "Bearer b"));
        assert_eq!(key(Scope::Shared, "Bearer a"), key(Scope::Shared, "Bearer b"));
    }
}
