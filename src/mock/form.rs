//! Requests that are forms: `multipart/form-data`.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderValue;
use multer::Multipart;

use super::refusal::Refusal;

/// Most fields of a form.
const MAX_FIELDS: usize = 64;

/// The fields of a form, in the order in which they came.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, Bytes)>);

impl Form {
    /// Reads a form that has come whole.
    pub(super) async fn read(
        content_type: Option<&HeaderValue>,
        body: Bytes,
    ) -> Result<Self, Refusal> {
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let boundary = multer::parse_boundary(content_type.unwrap_or_default()).map_err(|_| {
            let found = content_type.unwrap_or("none");
            let allowed = "`multipart/form-data` with a boundary";
            Refusal::bad_request(None, format!("content-type: {found} is not allowed: {allowed}"))
        })?;
        let mut form = Multipart::new(Body::from(body).into_data_stream(), boundary);
        let mut fields = Vec::new();
        while let Some(field) = form.next_field().await.map_err(|error| bad(&error))? {
            if fields.len() == MAX_FIELDS {
                let message = format!("the form has more than {MAX_FIELDS} fields");
                return Err(Refusal::bad_request(None, message));
            }
            let name = field.name().unwrap_or_default().to_owned();
            fields.push((name, field.bytes().await.map_err(|error| bad(&error))?));
        }
        Ok(Self(fields))
    }

    pub(super) fn file(&self, name: &'static str) -> Option<&Bytes> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let text = self.file(name).map(|value| str::from_utf8(value));
        text.transpose().map_err(|_| {
            Refusal::bad_request(Some(name), format!("{name}: the value is not UTF-8"))
        })
    }
}

fn bad(error: &multer::Error) -> Refusal {
    Refusal::bad_request(None, format!("the body is not a form: {error}"))
}
