//! Errors in the shape that Go's `net/http/pprof` gives them, which its tools expect.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use thermograph_profile::captures::{BadName, CapturesError, Incomparable};

use crate::capture::CaptureError;

/// An error as text, with a status.
#[derive(Debug)]
pub(crate) struct HttpError {
    status: StatusCode,
    message: String,
}

impl HttpError {
    pub(crate) fn bad_request(message: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message }
    }

    pub(crate) fn not_found(message: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, message }
    }

    pub(crate) fn unavailable(message: String) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, message }
    }

    pub(crate) fn internal(message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message }
    }
}

impl From<CaptureError> for HttpError {
    fn from(error: CaptureError) -> Self {
        let status = match error {
            CaptureError::Running(_) | CaptureError::Elsewhere | CaptureError::Superseded => {
                StatusCode::CONFLICT
            }
            CaptureError::TooMany { .. } => StatusCode::SERVICE_UNAVAILABLE,
            CaptureError::NoLayer
            | CaptureError::NoStacks(_)
            | CaptureError::NoHeap(_)
            // As Go answers for a profile that there is not: scrapers leave it alone then.
            | CaptureError::HeapOff => StatusCode::NOT_FOUND,
            CaptureError::Ended
            | CaptureError::Profiler(_)
            | CaptureError::Heap(_)
            | CaptureError::Naming(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.to_string() }
    }
}

impl From<CapturesError> for HttpError {
    fn from(error: CapturesError) -> Self {
        let status = match error {
            CapturesError::NotFound(_) => StatusCode::NOT_FOUND,
            CapturesError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            CapturesError::Unwritable { .. }
            | CapturesError::Unreadable { .. }
            | CapturesError::TooLong { .. }
            | CapturesError::Undecodable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.to_string() }
    }
}

impl From<BadName> for HttpError {
    fn from(error: BadName) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<Incomparable> for HttpError {
    fn from(error: Incomparable) -> Self {
        let status = match error {
            Incomparable::Empty(_) | Incomparable::Measures(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Incomparable::Drawing(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, message: error.to_string() }
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        const GO_PPROF: HeaderName = HeaderName::from_static("x-go-pprof");
        let Self { status, message } = self;
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (GO_PPROF, HeaderValue::from_static("1")),
        ];
        (status, headers, message + "\n").into_response()
    }
}
