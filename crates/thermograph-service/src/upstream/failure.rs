//! Why an upstream did not answer.

use std::{fmt, sync::Arc, time::Duration};

use http::StatusCode;

use super::{Answer, Upstream, headers};

/// An attempt that failed.
pub(super) struct Failure {
    pub(super) cause: Cause,
    pub(super) upstream: Arc<Upstream>,
    /// Whether the upstream may have seen the request.
    pub(super) departed: bool,
    /// Time that the upstream had it.
    pub(super) upstream_time: Duration,
}

/// What went wrong.
pub(super) enum Cause {
    /// No connection: refused, no such host, TLS.
    Connect(String),
    /// No connection in time.
    ConnectTimeout,
    /// It has as many connections as it may have, and none was free in time.
    Full,
    /// No answer in time.
    Timeout,
    /// An answer that began, and then nothing for too long.
    Silence,
    /// The connection ended before the answer was there.
    Broken(String),
    /// It answered, with a status that says that it cannot now.
    Status(Box<Answer>),
    /// It answered, with a status that says that another upstream may be able to.
    Elsewhere(Box<Answer>),
    /// It does not take the key that is configured here.
    Unauthorized,
    /// It does not take `stream_options`, which the client has not sent.
    StreamOptions,
    /// It answered 200, with something that is no answer.
    NoAnswer(&'static str),
    /// It sent an error in the middle of a stream.
    ErrorEvent(StatusCode),
}

/// Statuses that say that nothing was done.
const UNDONE: [StatusCode; 2] = [StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];

impl Failure {
    /// Whether asking again may help, and leaves nothing behind twice. `after_timeout` says whether that
    /// is worth it where the first one may still be worked on.
    pub(super) fn may_retry(&self, stored: bool, after_timeout: bool) -> bool {
        match &self.cause {
            Cause::Timeout if self.departed && !after_timeout => false,
            // It has not seen it, or has said that it did nothing.
            Cause::Connect(_)
            | Cause::ConnectTimeout
            | Cause::Full
            | Cause::Elsewhere(_)
            | Cause::Unauthorized
            | Cause::StreamOptions => true,
            Cause::Status(answer) if UNDONE.contains(&answer.status) => true,
            Cause::Timeout
            | Cause::Silence
            | Cause::Broken(_)
            | Cause::Status(_)
            | Cause::NoAnswer(_)
            | Cause::ErrorEvent(_) => !stored || !self.departed,
        }
    }
}

impl Cause {
    /// Whether it is the upstream's fault, so that its breaker counts it.
    pub(super) fn is_fault(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Timeout
            | Self::Silence
            | Self::Broken(_)
            | Self::NoAnswer(_) => true,
            Self::ErrorEvent(status) => status.is_server_error(),
            Self::Status(answer) | Self::Elsewhere(answer) => answer.status.is_server_error(),
            // The bound is ours.
            Self::Full | Self::Unauthorized | Self::StreamOptions => false,
        }
    }

    /// The answer of an upstream that says so with its status.
    pub(super) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Status(answer) | Self::Elsewhere(answer) => Some(answer),
            _ => None,
        }
    }

    /// Returns whether the upstream would refuse all requests: of its key, or for want of money.
    pub(super) fn is_of_account(&self) -> bool {
        let of_account =
            [StatusCode::UNAUTHORIZED, StatusCode::PAYMENT_REQUIRED, StatusCode::FORBIDDEN];
        match self {
            Self::Unauthorized => true,
            Self::Elsewhere(answer) => of_account.contains(&answer.status),
            _ => false,
        }
    }

    /// Whether it has said that it takes no more, but not for how long.
    pub(super) fn is_limit_without_end(&self) -> bool {
        let Self::Status(answer) = self else { return false };
        answer.status == StatusCode::TOO_MANY_REQUESTS
            && headers::retry_after(&answer.headers).is_none()
    }

    /// What the client is told: no addresses.
    pub(super) fn told(&self) -> &'static str {
        match self {
            Self::Connect(_) => "the upstream cannot be reached",
            Self::ConnectTimeout => "the upstream cannot be reached in time",
            Self::Full => "the upstream has no connection free in time",
            Self::Timeout | Self::Silence => "the upstream does not answer in time",
            Self::Broken(_) => "the upstream broke the connection",
            Self::Status(_) | Self::Elsewhere(_) | Self::ErrorEvent(_) => "the upstream failed",
            Self::NoAnswer(_) => "the upstream gave no answer",
            Self::Unauthorized => "the upstream refuses the server's key",
            Self::StreamOptions => "the upstream refuses stream_options",
        }
    }

    /// The status of an answer that says so.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::Timeout | Self::Silence => StatusCode::GATEWAY_TIMEOUT,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Status(answer) | Self::Elsewhere(answer) => answer.status,
            Self::ErrorEvent(status) => *status,
            Self::Connect(_)
            | Self::Broken(_)
            | Self::Unauthorized
            | Self::StreamOptions
            | Self::NoAnswer(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Its name in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Full => "full",
            Self::Timeout | Self::Silence => "timeout",
            Self::Broken(_) => "broken",
            Self::Status(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                "rate_limited"
            }
            Self::Status(answer) | Self::Elsewhere(answer) if answer.status.is_server_error() => {
                "server_error"
            }
            Self::Status(_) | Self::Elsewhere(_) => "client_error",
            Self::Unauthorized => "unauthorized",
            Self::StreamOptions => "stream_options",
            Self::NoAnswer(_) => "no_answer",
            Self::ErrorEvent(_) => "error_event",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "cannot connect: {why}"),
            Self::ConnectTimeout => f.write_str("no connection within connect_timeout"),
            Self::Full => f.write_str("max_connections are busy"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Silence => f.write_str("the answer began and went silent"),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Status(answer) | Self::Elsewhere(answer) => {
                write!(f, "it answered {}", answer.status)
            }
            Self::Unauthorized => f.write_str("it does not take the configured key"),
            Self::StreamOptions => f.write_str("it does not take stream_options"),
            Self::NoAnswer(why) => write!(f, "it answered with {why}"),
            Self::ErrorEvent(status) => write!(f, "it sent an error of {status}"),
        }
    }
}
