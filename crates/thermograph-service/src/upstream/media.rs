//! The media type of an answer, as its headers declare it.

use http::{HeaderMap, HeaderValue, header};
use memchr::memmem;
use thermograph_codec::events;

use super::Endpoint;
use crate::usage::Form;

/// The media type of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Media<'a> {
    content_type: Option<&'a [u8]>,
    /// True if the content is compressed, and so is not looked into.
    is_encoded: bool,
}

impl<'a> Media<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        Self {
            content_type: headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes),
            is_encoded: headers.contains_key(header::CONTENT_ENCODING),
        }
    }

    /// Returns whether it is a stream of events that can be told apart.
    pub(super) fn is_events(self) -> bool {
        !self.is_encoded && self.content_type.is_some_and(events::is_media_type)
    }

    /// Returns whether it may be a stream of events in truth: some servers declare streams as JSON or
    /// plain text, or not at all.
    pub(super) fn may_be_events(self) -> bool {
        let types = ["application/json", "text/plain"];
        let is_text =
            self.content_type.is_none() || types.iter().any(|text| self.begins_with(text));
        !self.is_encoded && is_text
    }

    /// Returns whether it is a page of HTML, by its type or else by its beginning.
    pub(super) fn is_html(self, body: &[u8]) -> bool {
        if self.content_type.is_some() {
            return self.begins_with("text/html");
        }
        let body = body.trim_ascii_start();
        begins_with(body, "<!doctype html") || begins_with(body, "<html")
    }

    /// Returns whether a good answer of an endpoint is JSON. Transcripts may be text, and speech is
    /// bytes.
    pub(super) fn must_be_json(self, endpoint: Endpoint) -> bool {
        let may_be_other = endpoint.is_form() || endpoint.answers_bytes();
        !self.is_encoded && (!may_be_other || self.content_type.is_some_and(is_json))
    }

    /// The form by which the tokens of an answer are counted.
    pub(super) fn form(self, endpoint: Endpoint) -> Form {
        if self.is_events() {
            return Form::Events;
        }
        if self.is_encoded {
            return Form::Opaque;
        }
        match endpoint.form() {
            form if self.content_type.is_none_or(is_json) => form,
            Form::Text if self.begins_with("text/") => Form::Plain,
            _ => Form::Opaque,
        }
    }

    fn begins_with(self, with: &str) -> bool {
        self.content_type.is_some_and(|content_type| begins_with(content_type, with))
    }
}

fn begins_with(text: &[u8], with: &str) -> bool {
    text.get(..with.len()).is_some_and(|text| text.eq_ignore_ascii_case(with.as_bytes()))
}

fn is_json(content_type: &[u8]) -> bool {
    memmem::find(content_type, b"json").is_some()
}
