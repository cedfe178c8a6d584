//! `thermograph keys`: makes, lists and ends keys of the API.

mod table;

use std::{path::Path, time::Duration};

use jiff::{Span, SpanRelativeTo};
use thermograph_service::store::{Created, Keys, NewKey, Scope};

use super::config;

/// Make, list and end keys of the API.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Args {
    /// Make a key; it is printed this once.
    Create(Create),
    /// List the keys.
    List(List),
    /// End a key: within a second it is good nowhere.
    Revoke(Revoke),
    /// Make a key in the place of another, which is good for a while still.
    Rotate(Rotate),
}

/// Make a key; it is printed this once.
#[derive(Clone, Debug, clap::Args)]
pub struct Create {
    /// What people call it.
    #[arg(long, value_parser = name)]
    pub name: String,
    /// What it may be used for: inference, or the use of all keys at /v1/usage; may be given
    /// several times [default: inference].
    #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
    pub scopes: Vec<Scope>,
    /// A model that it may use, by name or by a pattern such as `gpt-*`, where `*` stands for any
    /// characters; may be given several times [default: all].
    #[arg(long = "model", value_name = "NAME", value_parser = model)]
    pub models: Vec<String>,
    /// Most requests in a minute [default: any].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    pub requests_per_minute: Option<u64>,
    /// Most tokens in a minute [default: any].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    pub tokens_per_minute: Option<u64>,
    /// Most tokens in a month of UTC [default: any].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    pub monthly_tokens: Option<u64>,
    /// How long it is good, such as 90d [default: until it is revoked].
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub expires: Option<Duration>,
}

/// List the keys.
#[derive(Clone, Debug, clap::Args)]
pub struct List {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// End a key.
#[derive(Clone, Debug, clap::Args)]
pub struct Revoke {
    /// Its id, as `thermograph keys list` has it.
    pub id: String,
}

/// Make a key in the place of another.
#[derive(Clone, Debug, clap::Args)]
pub struct Rotate {
    /// The id of the other, as `thermograph keys list` has it.
    pub id: String,
    /// How long the other is good still.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = time)]
    pub grace: Duration,
}

/// Most of any number.
const MOST: u64 = NewKey::MOST;

/// Makes, lists or ends keys.
pub fn run(file: Option<&Path>, args: &Args) -> anyhow::Result<()> {
    let loaded = config::load(file, std::env::vars_os(), &[])?;
    let keys = Keys::open(&loaded.config.store)?;
    match args {
        Args::Create(create) => show(&keys.create(&create.key())?),
        Args::Rotate(rotate) => show(&keys.rotate(&rotate.id, rotate.grace)?),
        Args::Revoke(revoke) => {
            let key = keys.revoke(&revoke.id)?;
            anstream::println!("{} `{}` is revoked", key.id, key.name);
        }
        Args::List(List { json: true }) => {
            anstream::println!("{}", serde_json::to_string_pretty(&keys.list()?)?);
        }
        Args::List(_) => match &*keys.list()? {
            [] => anstream::println!("no keys: `thermograph keys create --name …` makes one"),
            keys => anstream::print!("{}", table::of(keys)),
        },
    }
    Ok(())
}

/// The key alone on the standard output, for whoever passes it on.
fn show(created: &Created) {
    let Created { info, secret } = created;
    anstream::eprintln!("{} `{}`; the key is not shown again:", info.id, info.name);
    anstream::println!("{}", secret.reveal());
}

impl Create {
    fn key(&self) -> NewKey {
        let mut new = NewKey::named(&self.name);
        if !self.scopes.is_empty() {
            new.scopes.clone_from(&self.scopes);
        }
        new.models = Some(self.models.clone()).filter(|models| !models.is_empty());
        new.requests_per_minute = self.requests_per_minute;
        new.tokens_per_minute = self.tokens_per_minute;
        new.monthly_tokens = self.monthly_tokens;
        new.expires_in = self.expires;
        new
    }
}

fn name(text: &str) -> Result<String, String> {
    if NewKey::may_be_called(text) {
        return Ok(text.to_owned());
    }
    Err("1 to 128 bytes are wanted, none of which controls a terminal".to_owned())
}

fn model(text: &str) -> Result<String, String> {
    if NewKey::may_be_model(text) {
        return Ok(text.to_owned());
    }
    Err(format!("allowed is {}", NewKey::MODEL))
}

fn scope(text: &str) -> Result<Scope, String> {
    let names = Scope::ALL.map(Scope::name).join(", ");
    Scope::named(text).ok_or_else(|| format!("allowed are {names}"))
}

/// `90d`, `24h`, `1d 12h`.
fn time(text: &str) -> Result<Duration, String> {
    let span = text.parse::<Span>().ok();
    let time = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
    let time = time.and_then(|time| Duration::try_from(time).ok());
    let time = time.filter(|time| *time <= NewKey::LONGEST);
    time.ok_or_else(|| "a time such as 90d or 24h is wanted, up to 36500d".to_owned())
}

fn some_time(text: &str) -> Result<Duration, String> {
    let some = time(text)?;
    if some.as_secs() == 0 { Err("a second or more is wanted".to_owned()) } else { Ok(some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_may_be_days() {
        assert_eq!(time("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(time("1d 12h"), Ok(Duration::from_hours(36)));
        assert_eq!(time("0s"), Ok(Duration::ZERO));
        for bad in ["", "soon", "-1d", "1mo", "36501d"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert!(some_time("0s").is_err());
    }
}
