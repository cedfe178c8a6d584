//! Checks whether upstreams are well, and what models they have.

use std::sync::{Arc, Weak, atomic::Ordering::Relaxed};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use tokio::time;

use super::{
    Upstream, Upstreams,
    content::Content,
    failure::Cause,
    listed::{self, List},
    one::Check,
};

/// Most models that an upstream may list; further ones are not known here.
const MODELS: usize = 1000;
/// Largest list of models.
const LIST: usize = 4 << 20;

/// Outcome of a check that failed.
struct Failed {
    /// Text for clients, without addresses.
    told: &'static str,
    /// Cause, for the log.
    error: String,
}

/// Checks an upstream from time to time, as long as it is there.
pub(super) async fn watch(upstream: Weak<Upstream>, upstreams: Upstreams) {
    let mut failures = 0;
    // An upstream that was never there is unwell at once.
    let was_checked = upstream.upgrade().filter(|upstream| upstream.checked.load(Relaxed));
    let mut most = was_checked.map_or(1, |upstream| upstream.config.health.failures);
    while let Some(upstream) = upstream.upgrade() {
        match check(&upstream, &upstreams).await {
            Ok(()) => {
                (failures, most) = (0, upstream.config.health.failures);
                upstream.set_well();
            }
            Err(Failed { told, error }) => {
                failures += 1;
                tracing::debug!(upstream = upstream.name(), error, "a health check failed");
                upstream.check_failure.store(Some(Arc::new(told)));
                if failures >= most {
                    upstream.set_unwell(&error);
                }
            }
        }
        upstream.checked.store(true, Relaxed);
        upstream.show_breaker();
        let interval = upstream.config.health.interval;
        drop(upstream);
        // Not all instances at once.
        time::sleep(interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

/// Well is an upstream that answers, if it is not that it cannot.
async fn check(upstream: &Arc<Upstream>, upstreams: &Upstreams) -> Result<(), Failed> {
    if let Some(uri) = &upstream.health_uri {
        let (status, _) = get(upstream, uri.clone()).await?;
        if status.is_server_error() {
            return Err(Failed::answered(status));
        }
        if status.is_client_error() {
            upstream.report(Check::Health, &format!("`health.path` is answered with {status}"));
        }
    }
    if !upstream.config.discover {
        return Ok(());
    }
    let (status, body) = get(upstream, upstream.models_uri.clone()).await?;
    if status.is_server_error() {
        return Err(Failed::answered(status));
    }
    let models = if status == StatusCode::OK { listed::read(&body) } else { None };
    match models {
        Some(List { mut models, unread }) => {
            if unread > 0 {
                upstream.report(Check::Models, &format!("{unread} entries of its list of models are not read"));
            }
            if models.len() > MODELS {
                let count = models.len();
                upstream.report(Check::Models, &format!("of {count} models, the first {MODELS} are used"));
                models.truncate(MODELS);
            }
            if **upstream.listed.load() != models {
                upstream.listed.store(Arc::new(models));
                upstreams.refresh();
            }
        }
        // An upstream without a list is well.
        None => upstream.report(Check::Models, &format!(
            "it lists no models that can be read ({status}): `discover = false` if it has no list"
        )),
    }
    // An upstream that refuses to say has models all the same.
    let has_none = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
    if status == StatusCode::OK || has_none.contains(&status) {
        upstream.has_listed.store(true, Relaxed);
    }
    Ok(())
}

async fn get(upstream: &Upstream, uri: Uri) -> Result<(StatusCode, Bytes), Failed> {
    let mut request = Box::new(Request::new(Content::empty()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    let answer = async {
        let response = upstream.ask(request).await.map_err(|cause| Failed::of(&cause))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LIST).collect().await;
        let body = body.map_err(|error| Failed {
            told: "the upstream gave no whole answer",
            error: error.to_string(),
        })?;
        Ok((parts.status, body.to_bytes()))
    };
    time::timeout(upstream.config.health.timeout, answer)
        .await
        .map_err(|_| Failed::of(&Cause::Timeout))?
}

impl Failed {
    fn of(cause: &Cause) -> Self {
        Self { told: cause.told(), error: cause.to_string() }
    }

    fn answered(status: StatusCode) -> Self {
        Self { told: "the upstream failed", error: format!("it answered {status}") }
    }
}
