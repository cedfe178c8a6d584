//! Findings of the doctor about the service.

use std::net::SocketAddr;

use thermograph::doctor::{Finding, State};
use thermograph_service::Service;

/// Ways to keep strangers out.
const MEND: &str = "[store] url = \"sqlite:thermograph.db\" and require_keys = true, [api] \
                    tls_client_ca, or listen = \"127.0.0.1:8080\" with a proxy that checks callers";

/// Everything that is found; `open` is the address of an API that is open to all.
pub(super) fn of(service: &Service, open: Option<SocketAddr>) -> Vec<Finding> {
    vec![access(open), proxies(service)]
}

/// Logs that the API is open to all, if it is.
pub(super) fn warn_if_open(open: Option<SocketAddr>) {
    if let Some(address) = open {
        tracing::warn!(mend = MEND, "{}", is_open(address));
    }
}

fn access(open: Option<SocketAddr>) -> Finding {
    let what = "api_access".to_owned();
    match open {
        Some(address) => Finding {
            what,
            state: State::Warning,
            says: is_open(address),
            mend: Some(MEND.to_owned()),
        },
        None => Finding {
            what,
            state: State::Good,
            says: "the API is on loopback or a socket, or wants keys or certificates".to_owned(),
            mend: None,
        },
    }
}

fn is_open(address: SocketAddr) -> String {
    format!(
        "anybody who reaches {address} can use its models: `api.listen` is not loopback, and \
         `store.require_keys` is false"
    )
}

fn proxies(service: &Service) -> Finding {
    let proxies = service.proxies().into_iter();
    let text = |(upstream, proxy)| format!("upstream `{upstream}` is reached by {proxy}");
    let says: Vec<_> = proxies.map(text).collect();
    Finding {
        what: "upstream_proxies".to_owned(),
        state: State::Good,
        says: if says.is_empty() {
            "upstreams are reached without proxies".to_owned()
        } else {
            says.join("; ")
        },
        mend: None,
    }
}
