//! Limits: what a key may use in a minute, requests and tokens.
//!
//! Reserved when a request comes, and settled when it is over: counted and checked in one step,
//! so that no two requests can take the same place. With Redis it is counted there, for all
//! instances; where Redis is gone, each instance goes by what it has let in itself.

mod shared;
mod window;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use metrics::{Counter, Unit};
use moka::sync::Cache;
use thermograph_common::task;
use tokio::runtime::Handle;

use self::window::{Window, ends, slot};
use super::redis::Redis;

/// What keys have used; cheap to clone, all clones are one.
#[derive(Clone)]
pub(crate) struct Limits {
    inner: Arc<Inner>,
}

struct Inner {
    /// What this instance has let in, by key.
    own: Cache<String, Arc<Mutex<Windows>>>,
    redis: Option<Redis>,
    meters: Meters,
}

#[derive(Debug, Default)]
struct Windows {
    requests: Window,
    tokens: Window,
}

/// What may be used in a minute; none: as much as is wanted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Rates {
    pub(crate) requests: Option<u64>,
    pub(crate) tokens: Option<u64>,
}

/// What was reserved for a request.
pub(crate) struct Reserved {
    limits: Limits,
    name: String,
    tokens: u64,
    /// The slot of this instance, and that of Redis where it was asked.
    own: u64,
    shared: Option<u64>,
    pub(crate) standing: Standing,
}

/// How a key stands: of each kind its limit, what is left of it, and when all of it is there again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Standing {
    pub(crate) requests: Option<Left>,
    pub(crate) tokens: Option<Left>,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Left {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset: Duration,
}

/// Why a request may not be made now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refused {
    pub(crate) kind: Kind,
    /// When it may.
    pub(crate) after: Duration,
    pub(crate) standing: Standing,
}

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Requests,
    Tokens,
}

struct Meters {
    requests: Counter,
    tokens: Counter,
    alone: Counter,
}

impl Limits {
    /// After so long without a request nothing of a key counts any more.
    const IDLE: Duration = Duration::from_secs(90);

    pub(crate) fn new(redis: Option<Redis>) -> Self {
        let own = Cache::builder().time_to_idle(Self::IDLE).build();
        Self { inner: Arc::new(Inner { own, redis, meters: Meters::new() }) }
    }

    /// Reserves a request of so many tokens for the key of this name.
    pub(crate) async fn reserve(
        &self,
        name: &str,
        rates: Rates,
        tokens: u64,
    ) -> Result<Reserved, Refused> {
        let Inner { redis, meters, .. } = &*self.inner;
        let asked = match redis {
            Some(redis) => shared::reserve(redis, name, rates, tokens).await.ok(),
            None => None,
        };
        let reserved = match asked {
            // It counts here, too: should Redis be gone, this instance knows what it has let in.
            Some(Ok((slot, standing))) => {
                let own = self.windows(name, |windows, now| windows.add(now, tokens));
                Ok((own, Some(slot), standing))
            }
            Some(Err(refused)) => Err(refused),
            None => {
                meters.alone.increment(u64::from(redis.is_some()));
                let reserve = |windows: &mut Windows, now| windows.reserve(now, rates, tokens);
                self.windows(name, reserve).map(|(own, standing)| (own, None, standing))
            }
        };
        match reserved {
            Ok((own, shared, standing)) => {
                let (limits, name) = (self.clone(), name.to_owned());
                Ok(Reserved { limits, name, tokens, own, shared, standing })
            }
            Err(refused) => {
                let counter = match refused.kind {
                    Kind::Requests => &meters.requests,
                    Kind::Tokens => &meters.tokens,
                };
                counter.increment(1);
                Err(refused)
            }
        }
    }

    fn windows<T>(&self, name: &str, change: impl FnOnce(&mut Windows, Duration) -> T) -> T {
        let own = &self.inner.own;
        let windows = own.get(name).unwrap_or_else(|| own.get_with_by_ref(name, Arc::default));
        let mut windows = windows.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut windows, now())
    }
}

impl Reserved {
    /// The request is over, and has used so many tokens.
    pub(crate) fn settle(self, used: u64) {
        let Self { limits, name, tokens, own, shared, .. } = self;
        if used == tokens {
            return;
        }
        limits.windows(&name, |windows, now| match used.checked_sub(tokens) {
            Some(more) => drop(windows.tokens.add(now, more)),
            None => windows.tokens.take_back(own, tokens - used),
        });
        // Outside of a runtime the process ends.
        let redis = limits.inner.redis.clone().filter(|_| Handle::try_current().is_ok());
        if let (Some(slot), Some(redis)) = (shared, redis) {
            let more =
                i64::try_from(used).unwrap_or(i64::MAX) - i64::try_from(tokens).unwrap_or(i64::MAX);
            task::spawn("settle limit", async move {
                // If that fails, more is counted than was used, for a minute.
                let _ = shared::settle(&redis, &name, more, slot).await;
            });
        }
    }
}

impl Windows {
    fn add(&mut self, now: Duration, tokens: u64) -> u64 {
        self.requests.add(now, 1);
        self.tokens.add(now, tokens)
    }

    fn reserve(
        &mut self,
        now: Duration,
        rates: Rates,
        tokens: u64,
    ) -> Result<(u64, Standing), Refused> {
        let [requests, used] = [self.requests.used(now), self.tokens.used(now)];
        let reset = ends(slot(now)).saturating_sub(now);
        let over =
            |limit: Option<u64>, wanted: u64| wanted.checked_sub(limit?).filter(|over| *over > 0);
        let refused = if let Some(over) = over(rates.requests, requests + 1) {
            Some((Kind::Requests, self.requests.frees(now, over)))
        } else {
            let over = over(rates.tokens, used.saturating_add(tokens));
            over.map(|over| (Kind::Tokens, self.tokens.frees(now, over)))
        };
        if let Some((kind, after)) = refused {
            let standing = Standing::new(rates, requests, used, reset);
            return Err(Refused { kind, after, standing });
        }
        let slot = self.add(now, tokens);
        Ok((slot, Standing::new(rates, requests + 1, used + tokens, reset)))
    }
}

impl Refused {
    /// The reason, in words for whoever has the key; the request is one of so many tokens.
    pub(crate) fn reason(&self, key: &str, tokens: u64) -> String {
        let limit = self.limit();
        match self.kind {
            Kind::Requests => format!("the key `{key}` may make {limit} requests a minute"),
            Kind::Tokens => {
                format!("the key `{key}` may use {limit} tokens a minute; this asks for {tokens}")
            }
        }
    }

    /// Time after which the request, of so many tokens, may be made; none if it never may.
    pub(crate) fn retry_after(&self, tokens: u64) -> Option<Duration> {
        let is_possible = self.kind == Kind::Requests || tokens <= self.limit();
        is_possible.then_some(self.after)
    }

    fn limit(&self) -> u64 {
        let left = match self.kind {
            Kind::Requests => self.standing.requests,
            Kind::Tokens => self.standing.tokens,
        };
        left.map_or(0, |left| left.limit)
    }
}

impl Standing {
    /// OpenAI's headers.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        const REQUESTS: [HeaderName; 3] = [
            HeaderName::from_static("x-ratelimit-limit-requests"),
            HeaderName::from_static("x-ratelimit-remaining-requests"),
            HeaderName::from_static("x-ratelimit-reset-requests"),
        ];
        const TOKENS: [HeaderName; 3] = [
            HeaderName::from_static("x-ratelimit-limit-tokens"),
            HeaderName::from_static("x-ratelimit-remaining-tokens"),
            HeaderName::from_static("x-ratelimit-reset-tokens"),
        ];
        for (left, names) in [(self.requests, REQUESTS), (self.tokens, TOKENS)] {
            let Some(Left { limit, remaining, reset }) = left else { continue };
            let [of, left, when] = names;
            headers.insert(of, limit.into());
            headers.insert(left, remaining.into());
            // Digits and a letter are ASCII.
            let reset = HeaderValue::from_str(&format!("{:.3}s", reset.as_secs_f64()));
            headers.extend(reset.map(|reset| (when, reset)));
        }
    }

    fn new(rates: Rates, requests: u64, tokens: u64, reset: Duration) -> Self {
        let left = |limit: Option<u64>, used: u64| {
            let limit = limit?;
            Some(Left { limit, remaining: limit.saturating_sub(used), reset })
        };
        Self { requests: left(rates.requests, requests), tokens: left(rates.tokens, tokens) }
    }
}

impl Meters {
    fn new() -> Self {
        use metrics::describe_counter;
        let refused = "thermograph_limits_refused_total";
        describe_counter!(refused, Unit::Count, "Requests refused because of a key's limits.");
        let alone = "thermograph_limits_without_redis_total";
        describe_counter!(alone, Unit::Count, "Requests judged by one instance: Redis was gone.");
        Self {
            requests: metrics::counter!(refused, "kind" => "requests"),
            tokens: metrics::counter!(refused, "kind" => "tokens"),
            alone: metrics::counter!(alone),
        }
    }
}

/// Time since 1970.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(requests: u64, tokens: u64) -> Rates {
        Rates { requests: Some(requests), tokens: Some(tokens) }
    }

    #[tokio::test]
    async fn what_is_reserved_is_taken_and_what_is_not_used_is_given_back() {
        let limits = Limits::new(None);
        let rates = rates(3, 100);
        let first = limits.reserve("a", rates, 60).await.expect("there is enough");
        assert_eq!(first.standing.tokens.expect("a limit").remaining, 40);
        let refused = limits.reserve("a", rates, 60).await.err().expect("too many tokens");
        assert_eq!(refused.kind, Kind::Tokens);
        assert!(refused.after > Duration::ZERO && refused.after <= Duration::from_secs(62));
        first.settle(10);
        let second = limits.reserve("a", rates, 60).await.expect("there is enough");
        assert_eq!(second.standing.requests.expect("a limit").remaining, 1);
        // More than was reserved counts, too.
        second.settle(95);
        let refused = limits.reserve("a", rates, 0).await.err().expect("too many tokens");
        assert_eq!(
            (refused.kind, refused.standing.tokens.expect("a limit").remaining),
            (Kind::Tokens, 0)
        );
        assert!(limits.reserve("b", rates, 60).await.is_ok(), "another key");
    }

    #[tokio::test]
    async fn without_a_limit_there_is_none() {
        let limits = Limits::new(None);
        for _ in 0..100 {
            let reserved = limits.reserve("a", Rates::default(), u64::MAX / 200).await;
            assert_eq!(reserved.expect("no limit").standing, Standing::default());
        }
    }

    #[test]
    fn threads_never_take_more_than_there_is() {
        let limits = Limits::new(None);
        let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
        let taken: usize = runtime.block_on(async {
            let one = |_| {
                let limits = limits.clone();
                async move { limits.reserve("a", rates(1000, u64::MAX), 1).await.is_ok() }
            };
            let all: tokio::task::JoinSet<_> = (0..3000).map(one).collect();
            all.join_all().await.into_iter().filter(|taken| *taken).count()
        });
        // A slot may have ended meanwhile, but no minute.
        assert_eq!(taken, 1000);
    }
}
