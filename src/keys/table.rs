//! Keys as a table for a terminal.

use jiff::Timestamp;
use thermograph_service::store::{KeyInfo, Scope};

const HEAD: [&str; 8] =
    ["id", "key", "name", "state", "scopes", "models", "created", "per minute, month"];

/// A line for each, columns as wide as what is in them.
pub(super) fn of(keys: &[KeyInfo]) -> String {
    let now = Timestamp::now().as_millisecond();
    let rows: Vec<_> = keys.iter().map(|key| cells(key, now)).collect();
    let all = || std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().cloned());
    let mut widths = [0; HEAD.len()];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: [String; HEAD.len()]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all().map(line).collect()
}

fn cells(key: &KeyInfo, now: i64) -> [String; HEAD.len()] {
    let scopes = key.scopes.iter().copied().map(Scope::name).collect::<Vec<_>>();
    [
        key.id.clone(),
        format!("{}…", key.prefix),
        key.name.clone(),
        state(key, now),
        scopes.join(" "),
        key.models.as_ref().map_or_else(|| "all".to_owned(), |models| models.join(" ")),
        day(&key.created_at),
        limits(key),
    ]
}

fn state(key: &KeyInfo, now: i64) -> String {
    match (&key.revoked_at, &key.expires_at) {
        (Some(_), _) => "revoked".to_owned(),
        (None, Some(_)) if !key.is_good_at(now) => "expired".to_owned(),
        (None, Some(until)) => format!("until {}", day(until)),
        (None, None) => "good".to_owned(),
    }
}

fn limits(key: &KeyInfo) -> String {
    let limits = [
        (key.requests_per_minute, "requests"),
        (key.tokens_per_minute, "tokens"),
        (key.monthly_tokens, "tokens a month"),
    ];
    let said = limits.iter().filter_map(|(most, of)| most.map(|most| format!("{most} {of}")));
    let said = said.collect::<Vec<_>>().join(", ");
    if said.is_empty() { "-".to_owned() } else { said }
}

fn day(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let created: Timestamp = "2026-11-26T05:00:00Z".parse().expect("a time");
        let plain = KeyInfo {
            id: "key_1".to_owned(),
            prefix: "tg-Ab3d".to_owned(),
            name: "alpha".to_owned(),
            scopes: vec![Scope::Inference],
            models: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            monthly_tokens: None,
            created_at: created,
            expires_at: None,
            revoked_at: None,
            rotated_from: None,
        };
        let bounded = KeyInfo {
            scopes: Scope::ALL.to_vec(),
            models: Some(vec!["a".to_owned(), "b".to_owned()]),
            requests_per_minute: Some(60),
            monthly_tokens: Some(1000),
            revoked_at: Some(created),
            ..plain.clone()
        };
        let expected = "\
id     key       name   state    scopes           models  created     per minute, month
key_1  tg-Ab3d…  alpha  good     inference        all     2026-11-26  -
key_1  tg-Ab3d…  alpha  revoked  inference usage  a b     2026-11-26  60 requests, 1000 tokens a month
";
        assert_eq!(of(&[plain, bounded]), expected);
    }
}
