//! Requests that are forms with files (`multipart/form-data`).

use std::{convert::Infallible, ops::Range};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};
use memchr::memmem;
use multer::Multipart;
use tokio_stream::iter;

use super::{Document, no_model, tokens};
use crate::{error::ApiError, upstream::Endpoint};

/// Most parts of a form.
const PARTS: usize = 64;
/// Largest text in a form of which something must be known.
const TEXT: usize = 1 << 20;

/// The content type of a form.
pub(crate) struct FormType {
    value: HeaderValue,
    boundary: String,
}

/// Fields of a form of which something must be known.
#[derive(Default)]
struct Fields {
    model: Option<String>,
    /// Place of the model's name.
    name: Option<Range<usize>>,
    prompt_tokens: u64,
    is_stream: bool,
}

impl FormType {
    /// The content type that a request declares.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let found = headers.get(header::CONTENT_TYPE);
        let text = found.and_then(|found| found.to_str().ok()).unwrap_or_default();
        match (found, multer::parse_boundary(text)) {
            (Some(found), Ok(boundary)) => Ok(Self { value: found.clone(), boundary }),
            _ => Err(ApiError::no_form(text)),
        }
    }
}

impl Document {
    /// Reads a form; the time is that of copying it once.
    pub(crate) fn read_form(
        endpoint: Endpoint,
        form: FormType,
        bytes: Bytes,
    ) -> Result<Self, ApiError> {
        // Never pending: all bytes are there.
        let fields = Fields::read(&form.boundary, bytes.clone()).now_or_never();
        let fields = fields.ok_or_else(|| unreadable(&"it does not end"))?;
        let Fields { model, name, prompt_tokens, is_stream } = fields?;
        let model = model.or_else(|| endpoint.model().map(str::to_owned)).ok_or_else(no_model)?;
        Ok(Self {
            bytes,
            form: Some(form.value),
            name,
            model,
            store: false,
            is_stream,
            stream_options: None,
            prompt_tokens,
            answer_tokens: 0,
            prompt: 0..0,
        })
    }
}

impl Fields {
    async fn read(boundary: &str, bytes: Bytes) -> Result<Self, ApiError> {
        let mut parts = Multipart::new(iter([Ok::<_, Infallible>(bytes.clone())]), boundary);
        let mut fields = Self::default();
        let mut place = 0;
        while let Some(part) = parts.next_field().await.map_err(|error| unreadable(&error))? {
            if place == PARTS {
                return Err(unreadable(&format!("more than {PARTS} parts")));
            }
            if part.headers().get(header::CONTENT_DISPOSITION).is_some_and(is_ambiguous) {
                return Err(unreadable(&"a part whose name can be read in two ways"));
            }
            let field = part.name().filter(|_| part.file_name().is_none()).map(str::to_owned);
            let content = part.bytes().await.map_err(|error| unreadable(&error))?;
            let text = str::from_utf8(&content).ok().filter(|text| text.len() <= TEXT);
            match (field.as_deref(), text) {
                (Some("model"), Some(text)) if fields.model.is_none() => {
                    let name = content_of(&bytes, boundary, place, content.len());
                    let name = name.filter(|name| bytes.get(name.clone()) == Some(&*content));
                    let name =
                        name.ok_or_else(|| unreadable(&"the place of `model` is unclear"))?;
                    fields.model = Some(text.to_owned());
                    fields.name = Some(name);
                }
                (Some("model"), _) => {
                    let message = "model: expected one text: name one of GET /v1/models";
                    return Err(ApiError::bad_request(Some("model"), message));
                }
                (Some("stream"), Some(text)) => fields.is_stream = text == "true",
                (Some("prompt"), Some(text)) => fields.prompt_tokens += tokens(text.as_bytes()),
                _ => {}
            }
            place += 1;
        }
        Ok(fields)
    }
}

/// Returns whether servers may differ in the name of a part: it has two, one in an encoding, or one with
/// escapes.
fn is_ambiguous(disposition: &HeaderValue) -> bool {
    let text = disposition.as_bytes().to_ascii_lowercase();
    let is_start = |at: usize| matches!(text.get(at.wrapping_sub(1)), Some(b';' | b' ' | b'\t'));
    let names = memmem::find_iter(&text, b"name").filter(|at| is_start(*at));
    let after = |at: usize| text[at + 4..].trim_ascii_start().first().copied();
    let names: Vec<_> =
        names.filter_map(after).filter(|next| matches!(next, b'=' | b'*')).collect();
    names.len() > 1 || names.contains(&b'*') || text.contains(&b'\\')
}

/// Place of the content of a part, of which the length is known.
fn content_of(form: &[u8], boundary: &str, place: usize, length: usize) -> Option<Range<usize>> {
    let delimiter = format!("--{boundary}");
    let is_line = |at: &usize| {
        let is_start = *at == 0 || form[..*at].ends_with(b"\r\n");
        let after = &form[at + delimiter.len()..];
        is_start && matches!(after, [b'\r', b'\n', ..] | [b'-', b'-', ..] | [b' ' | b'\t', ..])
    };
    let part = memmem::find_iter(form, delimiter.as_bytes()).filter(is_line).nth(place)?;
    let start = part + memmem::find(&form[part..], b"\r\n\r\n")? + 4;
    Some(start..start + length)
}

fn unreadable(why: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad_request(None, format!("the body is not a form: {why}"))
}

#[cfg(test)]
mod tests {
    use super::{super::Name, *};

    const FORM: &str = "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n\
                        RIFF\r\n--y\r\nname=\"model\"\r\n--x\r\n\
                        Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x\r\n\
                        content-disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--x\r\n\
                        content-disposition: form-data; name=\"prompt\"\r\n\r\n12345678\r\n--x--\r\n";

    fn headers(content_type: &'static str) -> HeaderMap {
        [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect()
    }

    fn read(form: &str) -> Result<Document, ApiError> {
        let form_type = FormType::of(&headers("multipart/form-data; boundary=x"))?;
        let bytes = Bytes::copy_from_slice(form.as_bytes());
        Document::read_form(Endpoint::Transcriptions, form_type, bytes)
    }

    #[test]
    fn model_of_a_form_is_read_and_renamed() {
        let document = read(FORM).expect("a form");
        assert_eq!(document.model(), "whisper-1");
        assert_eq!((document.is_stream, document.prompt_tokens()), (true, 2));
        let pieces = document.pieces([document.renamed(&Name::new("w")), None]);
        let expected = FORM.replace("\nwhisper-1\r", "\nw\r");
        assert_eq!(String::from_utf8(pieces.concat()).expect("text"), expected);
    }

    #[test]
    fn boundary_within_a_line_is_none() {
        let form = FORM.replace("RIFF\r\n", "RIFF --x--x\r\n\r\n");
        let document = read(&form).expect("a form");
        let pieces = document.pieces([document.renamed(&Name::new("w")), None]);
        let expected = form.replace("\nwhisper-1\r", "\nw\r");
        assert_eq!(String::from_utf8(pieces.concat()).expect("text"), expected);
    }

    #[test]
    fn names_that_servers_may_read_differently_are_refused() {
        for name in
            ["name=\"x\"; name=\"model\"", "name=\"x\"; name*=utf-8''model", "name=\"mo\\del\""]
        {
            let form = FORM.replace("name=\"prompt\"", name);
            assert!(read(&form).is_err(), "{name}");
        }
        let fine = FORM.replace("name=\"prompt\"", "name=\"prompt\"; filename=\"name.txt\"");
        assert!(read(&fine).is_ok());
    }

    #[test]
    fn forms_that_cannot_be_read_are_refused() {
        let without = FORM.replace("name=\"model\"\r\n\r\n", "name=\"x\"\r\n\r\n");
        let twice = FORM.replace("name=\"stream\"", "name=\"model\"");
        for form in ["", "{}", &FORM[..FORM.len() - 30], &without, &twice] {
            assert!(read(form).is_err(), "{form}");
        }
        for other in ["application/json", "multipart/form-data"] {
            assert!(FormType::of(&headers(other)).is_err(), "{other}");
        }
    }
}
