//! `GET /v1/usage`: what a key has used, by day of UTC and by model.
//!
//! Read from the database: what was used in the last moments, and what waits in the spool of an
//! instance, is not in it yet.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, header};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

use super::openapi;
use crate::{
    caller::Caller,
    error::ApiError,
    state::AppState,
    store::{Scope, Span, Sums, Used},
};

/// Most days that are asked for at once.
const DAYS: i64 = 366;
/// Most lines of an answer.
const LINES: usize = 10_000;
/// The parameters.
const PARAMETERS: &str = "start, end, format and key";

/// What is asked for.
#[derive(Debug)]
struct Question {
    /// In days since 1970.
    start: i64,
    end: i64,
    format: Format,
    /// Whose use: one's own where none is named.
    key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Json,
    Csv,
}

#[derive(Serialize)]
struct Report {
    object: &'static str,
    start: String,
    end: String,
    data: Vec<Line>,
    totals: Sums,
}

#[derive(Serialize)]
struct Line {
    day: String,
    #[serde(flatten)]
    used: Used,
}

/// The caller's own use; `key=all`, or another's id, is for who has the scope `usage`.
#[utoipa::path(
    get, path = "/v1/usage", tag = "about",
    params(
        ("start" = Option<String>, Query, format = Date, description = "the first day of UTC, such as 2026-11-01; the first of the month where it is missing"),
        ("end" = Option<String>, Query, format = Date, description = "the last day; today where it is missing"),
        ("format" = inline(Option<openapi::UsageFormat>), Query, description = "the form of the answer; JSON where it is missing"),
        ("key" = Option<String>, Query, pattern = "^(key_[0-9A-Za-z_]{0,60}|all)$", description = "another key's id, or `all`: for keys with the scope `usage`"),
    ),
    responses(
        (status = 200, description = "by day and model", content((openapi::Used = "application/json"), (String = "text/csv"))),
        (status = 400, description = "what is not allowed, and what is", body = openapi::Error),
        (status = 401, description = "a key is needed", body = openapi::Error),
        (status = 403, description = "another key's use is not for this one", body = openapi::Error),
        (status = 503, description = "the ledger cannot be read now", body = openapi::Error),
    ),
)]
pub(super) async fn usage(
    State(state): State<Arc<AppState>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Some(key) = caller.key() else {
        return Err(ApiError::no_key("whose use? A key is needed: `authorization: Bearer tg-…`"));
    };
    let today = Timestamp::now().as_millisecond() / (24 * 60 * 60 * 1000);
    let question = Question::read(query.as_deref().unwrap_or_default(), &headers, today)?;
    let id = match question.key.as_deref() {
        None => Some(key.info.id.clone()),
        Some(id) if id == key.info.id => Some(id.to_owned()),
        Some(other) => {
            caller.must_be_allowed(Scope::Usage)?;
            Some(other.to_owned()).filter(|other| other != "all")
        }
    };
    // Who has a key has a store.
    let Some(store) = &state.store else {
        return Err(ApiError::unavailable("there is no store"));
    };
    let span = Span { key: id, start: question.start, end: question.end };
    let used = state.in_time(tokio::time::Instant::now(), async {
        store.used(span, LINES + 1).await.map_err(|error| {
            tracing::warn!(%error, "the ledger cannot be read");
            ApiError::overloaded("the ledger cannot be read at the moment")
        })
    });
    let used = used.await?;
    if used.len() > LINES {
        let message = format!("more than {LINES} lines are not allowed: ask for fewer days");
        return Err(ApiError::bad_request(Some("start"), message));
    }
    let report = Report::new(&question, used);
    Ok(match question.format {
        Format::Json => Json(report).into_response(),
        Format::Csv => {
            ([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], report.csv()).into_response()
        }
    })
}

impl Question {
    fn read(query: &str, headers: &HeaderMap, today: i64) -> Result<Self, ApiError> {
        let mut read =
            Self { start: i64::MIN, end: today, format: Format::wanted_by(headers), key: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "start" => read.start = day("start", value)?,
                "end" => read.end = day("end", value)?,
                "format" => read.format = Format::named(value)?,
                "key" => read.key = Some(key(value)?),
                _ => {
                    let message = format!("`{name}` is no parameter; allowed are {PARAMETERS}");
                    return Err(ApiError::bad_request(None, message));
                }
            }
        }
        if read.start == i64::MIN {
            read.start = first_of_month(read.end);
        }
        if !(0..DAYS).contains(&(read.end - read.start)) {
            let message = format!(
                "start: {} to {} is not allowed: 1 to {DAYS} days",
                date(read.start),
                date(read.end)
            );
            return Err(ApiError::bad_request(Some("start"), message));
        }
        Ok(read)
    }
}

impl Format {
    fn wanted_by(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        let first = accept.unwrap_or_default().split([',', ';']).next().unwrap_or_default();
        if first.trim().eq_ignore_ascii_case("text/csv") { Self::Csv } else { Self::Json }
    }

    fn named(name: &str) -> Result<Self, ApiError> {
        match name {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err(bad("format", name, "json or csv")),
        }
    }
}

impl Report {
    fn new(question: &Question, used: Vec<Used>) -> Self {
        let mut totals = Sums::default();
        for used in &used {
            totals += used.sums;
        }
        let line = |used: Used| Line { day: date(used.day), used };
        Self {
            object: "usage",
            start: date(question.start),
            end: date(question.end),
            data: used.into_iter().map(line).collect(),
            totals,
        }
    }

    fn csv(&self) -> String {
        let head = "day,model,requests,errors,cached,prompt_tokens,completion_tokens,\
                    cached_prompt_tokens,estimated\r\n";
        let line = |Line { day, used }: &Line| {
            let Sums { requests, errors, cached, .. } = used.sums;
            let Sums { prompt_tokens, cached_prompt_tokens, completion_tokens, estimated, .. } =
                used.sums;
            let model = quoted(&used.model);
            let tokens =
                format!("{prompt_tokens},{completion_tokens},{cached_prompt_tokens},{estimated}");
            format!("{day},{model},{requests},{errors},{cached},{tokens}\r\n")
        };
        std::iter::once(head.to_owned()).chain(self.data.iter().map(line)).collect()
    }
}

/// A field of CSV. Clients name models: one that a spreadsheet would take for a formula is none.
fn quoted(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

fn key(value: &str) -> Result<String, ApiError> {
    let is_id = value.len() <= 64
        && value.starts_with("key_")
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_id || value == "all" {
        return Ok(value.to_owned());
    }
    // It may be a key by mistake.
    Err(bad("key", "(hidden)", "an id such as key_0123456789abcdef, or all"))
}

fn day(name: &'static str, value: &str) -> Result<i64, ApiError> {
    let allowed = || bad(name, value, "a date such as 2026-11-26, from 1970 to 9000");
    let date: Date = value.parse().map_err(|_| allowed())?;
    if value.len() != 10 || !(1970..=9000).contains(&date.year()) {
        return Err(allowed());
    }
    Ok(days(date))
}

fn bad(name: &'static str, value: &str, allowed: &str) -> ApiError {
    // Long ones are not repeated.
    let shown: String = value.chars().take(64).collect();
    ApiError::bad_request(Some(name), format!("{name}: `{shown}` is not allowed: {allowed}"))
}

/// Days since 1970.
fn days(date: Date) -> i64 {
    let midnight = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    midnight.map_or(0, |midnight| midnight.as_second().div_euclid(24 * 60 * 60))
}

fn of_days(days: i64) -> Date {
    let midnight = Timestamp::from_second(days.saturating_mul(24 * 60 * 60)).unwrap_or_default();
    TimeZone::UTC.to_datetime(midnight).date()
}

fn date(days: i64) -> String {
    of_days(days).to_string()
}

fn first_of_month(day: i64) -> i64 {
    days(of_days(day).first_of_month())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Question, ApiError> {
        let today = days("2026-11-26".parse().expect("a date"));
        Question::read(query, &HeaderMap::new(), today)
    }

    #[test]
    fn by_default_it_is_this_month() {
        let question = read("").expect("good");
        assert_eq!(
            (date(question.start), date(question.end)),
            ("2026-11-01".into(), "2026-11-26".into())
        );
        let question = read("end=2024-02-29&format=csv&key=all").expect("good");
        assert_eq!(date(question.start), "2024-02-01");
        assert_eq!((question.format, question.key.as_deref()), (Format::Csv, Some("all")));
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        let cases = [
            ("start=soon", "start: `soon` is not allowed: a date"),
            ("end=1969-12-31", "from 1970 to 9000"),
            ("start=2026-11-27", "1 to 366 days"),
            ("start=2024-11-26", "2024-11-26 to 2026-11-26 is not allowed"),
            ("format=xml", "format: `xml` is not allowed: json or csv"),
            ("key=tg-secret", "key: `(hidden)` is not allowed"),
            ("month=11", "`month` is no parameter; allowed are start"),
        ];
        for (query, said) in cases {
            let error = format!("{:?}", read(query).expect_err(query));
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_model_s_name_is_a_field_of_csv_and_no_formula() {
        assert_eq!(quoted("gpt-4"), "gpt-4");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
    }
}
