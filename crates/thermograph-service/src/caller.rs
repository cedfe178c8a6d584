//! Who asks: the key of a request, or nobody in particular.
//!
//! An extractor of every handler under `/v1`. Without a store everybody is anonymous, at no cost.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, HeaderName, Uri, header, request::Parts};
use jiff::Timestamp;

use super::{
    error::ApiError,
    limits::{Limits, Rates},
    pages::PagesConfig,
    request_id::RequestId,
    store::{Bill, Key, KeyInfo, Presented, Scope, Secret, Store, StoreError},
};

/// Who asks; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Option<Arc<Key>>);

/// Finds out who asks; cheap to clone.
#[derive(Clone)]
pub(crate) struct Authenticator {
    /// Keys, if there are any.
    store: Option<Store>,
    pages: Arc<PagesConfig>,
}

impl Caller {
    /// Whether nobody knows who it is.
    pub(crate) fn is_anonymous(&self) -> bool {
        self.0.is_none()
    }

    /// The key, if it has one.
    pub(crate) fn key(&self) -> Option<&Arc<Key>> {
        self.0.as_ref()
    }

    /// Refuses who may not do this.
    pub(crate) fn must_be_allowed(&self, scope: Scope) -> Result<(), ApiError> {
        match &self.0 {
            Some(key) if !key.info.may(scope) => {
                let (id, scope) = (&key.info.id, scope.name());
                let message = format!("the key `{id}` has not the scope `{scope}`");
                Err(ApiError::forbidden(message))
            }
            _ => Ok(()),
        }
    }

    /// Refuses who may not ask models, or has used up what they may.
    pub(crate) fn must_be_served(&self) -> Result<(), ApiError> {
        self.must_be_allowed(Scope::Inference)?;
        match &self.0 {
            Some(key) if key.has_spent_all(Timestamp::now()) => {
                let id = &key.info.id;
                let message = format!("the key `{id}` has used up its tokens of this month");
                Err(ApiError::no_quota(message))
            }
            _ => Ok(()),
        }
    }

    /// Whether it may use a model; others do not exist for it.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        self.0.as_ref().is_none_or(|key| key.info.may_use(model))
    }

    /// Refuses who may not use this model, as if it were not there.
    pub(crate) fn must_see(&self, model: &str) -> Result<(), ApiError> {
        if self.may_use(model) { Ok(()) } else { Err(ApiError::unknown_model(model)) }
    }

    /// Counts a request of so many tokens, unless that is more than its key may have in a minute.
    pub(crate) async fn reserve(
        &self,
        limits: &Limits,
        bill: &Bill,
        tokens: u64,
    ) -> Result<(), ApiError> {
        let Some(key) = &self.0 else { return Ok(()) };
        let KeyInfo { id, requests_per_minute, tokens_per_minute, .. } = &key.info;
        let rates = Rates { requests: *requests_per_minute, tokens: *tokens_per_minute };
        if rates == Rates::default() {
            return Ok(());
        }
        match limits.reserve(id, rates, tokens).await {
            Ok(reserved) => {
                bill.reserves(reserved);
                Ok(())
            }
            Err(refused) => {
                bill.stands(refused.standing);
                let (after, reason) = (refused.retry_after(tokens), refused.reason(id, tokens));
                Err(ApiError::limited(refused.kind, after, reason))
            }
        }
    }

    /// A bill for what is asked for.
    pub(crate) fn bill(
        &self,
        store: Option<&Store>,
        endpoint: &'static str,
        id: &RequestId,
    ) -> Bill {
        store.map(|store| store.bill(self.0.clone(), endpoint, id)).unwrap_or_default()
    }
}

impl Authenticator {
    pub(crate) fn new(store: Option<Store>, pages: PagesConfig) -> Self {
        Self { store, pages: Arc::new(pages) }
    }

    /// The caller that a request with these headers is from.
    async fn authenticate(&self, headers: &HeaderMap, uri: &Uri) -> Result<Caller, ApiError> {
        let anonymous = || {
            self.pages.check(headers, uri)?;
            Ok(Caller::default())
        };
        let Some(store) = &self.store else { return anonymous() };
        let presented = match presented(headers) {
            Some(text) => store.present(text).await.map_err(|error| away(&error))?,
            None if !store.requires_keys() => return anonymous(),
            None => {
                return Err(ApiError::no_key(
                    "a key is needed: `authorization: Bearer tg-…`, or `x-api-key`",
                ));
            }
        };
        match presented {
            Presented::Key(key) => {
                let now = Timestamp::now().as_millisecond();
                if key.info.is_good_at(now) {
                    return Ok(Caller(Some(key)));
                }
                let id = &key.info.id;
                Err(ApiError::no_key(format!("the key `{id}` is revoked, or has expired")))
            }
            Presented::Foreign if !store.requires_keys() => anonymous(),
            Presented::Foreign | Presented::Unknown => {
                Err(ApiError::no_key("the key is none that is known here"))
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller
where
    Authenticator: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Authenticator::from_ref(state).authenticate(&parts.headers, &parts.uri).await
    }
}

/// Headers in which clients of Anthropic and Azure present their keys.
const KEY_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// The text that is presented as a key: the first that looks like one of this server, or else the first.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let [x_api_key, api_key] = KEY_HEADERS.map(|name| headers.get(name)?.to_str().ok());
    let texts = [bearer(headers), x_api_key, api_key];
    let mut known = texts.into_iter().flatten().filter(|text| Secret::is_in(text.as_bytes()));
    known.next().or_else(|| texts.into_iter().flatten().next())
}

/// The key of `authorization`; the case of its scheme does not matter.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = text.split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// Nobody can tell now whose key it is; what the database says is not for clients.
fn away(error: &StoreError) -> ApiError {
    tracing::debug!(%error, "a key could not be looked up");
    ApiError::overloaded("keys cannot be looked up at the moment")
}
