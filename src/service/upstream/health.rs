//! Checks whether upstreams are well, and what models they have.

use std::{
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Serialize};
use tokio::time;

use super::{Upstream, Upstreams, content::Content};
use crate::service::config::is_name;

/// A model as it is listed at `/v1/models`: OpenAI's object.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    #[serde(skip_deserializing, default = "model")]
    object: &'static str,
    /// Seconds since 1970.
    #[serde(default)]
    created: u64,
    #[serde(default)]
    owned_by: String,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

/// Most models that an upstream may list; further ones are not known here.
const MODELS: usize = 1000;
/// Largest list of models.
const LIST: usize = 4 << 20;

impl Listed {
    pub(crate) fn new(id: &str, created: u64) -> Self {
        let owned_by = "thermograph".to_owned();
        Self { id: id.to_owned(), object: model(), created, owned_by }
    }

    /// A model of the configuration; nobody knows when it was made.
    pub(super) fn own(id: &str) -> Self {
        Self::new(id, 0)
    }
}

/// Checks an upstream from time to time, as long as it is there.
pub(super) async fn watch(upstream: Weak<Upstream>, upstreams: Upstreams) {
    let mut failures = 0;
    // Somebody who was never there is unwell at once.
    let mut most = 1;
    while let Some(upstream) = upstream.upgrade() {
        match check(&upstream, &upstreams).await {
            Ok(()) => {
                (failures, most) = (0, upstream.config.health.failures);
                upstream.set_well(true);
            }
            Err(why) => {
                failures += 1;
                tracing::debug!(upstream = upstream.name(), why, "a health check failed");
                if failures >= most {
                    upstream.set_well(false);
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

/// Well is who answers, if it is not that it cannot.
async fn check(upstream: &Arc<Upstream>, upstreams: &Upstreams) -> Result<(), String> {
    let timeout = upstream.config.health.timeout;
    let (status, body) = get(upstream, upstream.health_uri.clone(), timeout).await?;
    if status.is_server_error() {
        return Err(format!("it answered {status}"));
    }
    if !upstream.config.discover {
        return Ok(());
    }
    let list = if upstream.health_uri == upstream.models_uri {
        (status, body)
    } else {
        get(upstream, upstream.models_uri.clone(), timeout).await?
    };
    // Whoever lists no models is well too.
    if let (StatusCode::OK, body) = list
        && let Ok(List { mut data }) = serde_json::from_slice(&body)
    {
        data.retain(|listed| is_name(&listed.id));
        if data.len() > MODELS {
            let (upstream, models) = (upstream.name(), data.len());
            tracing::warn!(upstream, models, "lists too many models; the first {MODELS} are used");
            data.truncate(MODELS);
        }
        if **upstream.listed.load() != data {
            upstream.listed.store(Arc::new(data));
            upstreams.refresh();
        }
    }
    Ok(())
}

async fn get(
    upstream: &Upstream,
    uri: Uri,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let mut request = Request::new(Content::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    let answer = async {
        let response = upstream.ask(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LIST).collect().await.map_err(|error| error.to_string())?;
        Ok((parts.status, body.to_bytes()))
    };
    time::timeout(timeout, answer).await.map_err(|_| "no answer in time".to_owned())?
}

fn model() -> &'static str {
    "model"
}
