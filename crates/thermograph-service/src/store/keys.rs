//! Keys of the API: what each may do, and who makes them, lists them and ends them.

mod rows;

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use thermograph_common::{Invalid, is_name};

use super::{Database, Hash, Home, Secret, StoreConfig, StoreError, secret};
use crate::pattern;

pub(super) use self::rows::find;

/// What a key may be used for, beside its own use at `GET /v1/usage`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything that asks a model, and the lists of models.
    Inference,
    /// The use of all keys, at `GET /v1/usage?key=all`.
    Usage,
}

/// A key as it is to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The models that it may use, by name or by a pattern such as `gpt-*`; none: all.
    pub models: Option<Vec<String>>,
    /// Most requests in a minute; none: any.
    pub requests_per_minute: Option<u64>,
    /// Most tokens in a minute; none: any.
    pub tokens_per_minute: Option<u64>,
    /// Most tokens in a month of UTC; none: any.
    pub monthly_tokens: Option<u64>,
    /// How long it is good; none: until it is revoked.
    pub expires_in: Option<Duration>,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyInfo {
    /// Its name for machines, which is no secret.
    pub id: String,
    /// The first characters of the secret.
    pub prefix: String,
    /// What people call it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The models that it may use, by name or by a pattern such as `gpt-*`; none: all.
    pub models: Option<Vec<String>>,
    /// Most requests in a minute; none: any.
    pub requests_per_minute: Option<u64>,
    /// Most tokens in a minute; none: any.
    pub tokens_per_minute: Option<u64>,
    /// Most tokens in a month of UTC; none: any.
    pub monthly_tokens: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it is good; none: until it is revoked.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; none: it is not.
    pub revoked_at: Option<Timestamp>,
    /// The key in whose place it is.
    pub rotated_from: Option<String>,
}

/// A key that was made: its secret is shown this once.
#[derive(Debug)]
pub struct Created {
    /// What it may do.
    pub info: KeyInfo,
    /// The key itself.
    pub secret: Secret,
}

/// Makes, lists and ends keys. What it changes is known to every process with the same database
/// within a second. Blocks; not for a thread of a runtime.
pub struct Keys {
    home: Home,
    database: Database,
}

impl Scope {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::Inference, Self::Usage];

    /// Its name, on the command line and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Usage => "usage",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl NewKey {
    /// Most of any number: what all databases have room for.
    pub const MOST: u64 = 1_000_000_000_000_000;
    /// Most models.
    const MODELS: usize = 1000;
    /// Models that a key may be restricted to.
    pub const MODEL: &str =
        "a name of 1 to 128 bytes, in which at most one `*` stands for any characters";
    /// Longest that one can be good.
    pub const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

    /// A key of this name that may ask all models.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scopes: vec![Scope::Inference],
            models: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            monthly_tokens: None,
            expires_in: None,
        }
    }

    /// Returns whether a key may have this name.
    pub fn may_be_called(name: &str) -> bool {
        is_name(name)
    }

    /// Returns whether this is the name of a model, or a pattern of names.
    pub fn may_be_model(name: &str) -> bool {
        is_name(name) && !pattern::is_ambiguous(name)
    }

    fn validate(&self) -> Result<(), Invalid> {
        if !is_name(&self.name) {
            let allowed = "1 to 128 bytes, none of which controls a terminal";
            return Err(Invalid::new("name", &self.name, allowed));
        }
        if self.scopes.is_empty() {
            return Err(Invalid::new("scope", "", "inference, usage"));
        }
        let models = self.models.as_deref().unwrap_or_default();
        if let Some(bad) = models.iter().find(|model| !Self::may_be_model(model)) {
            return Err(Invalid::new("model", bad, Self::MODEL));
        }
        if models.len() > Self::MODELS {
            return Err(Invalid::new("model", models.len(), "at most 1000"));
        }
        let numbers = [
            ("requests-per-minute", self.requests_per_minute),
            ("tokens-per-minute", self.tokens_per_minute),
            ("monthly-tokens", self.monthly_tokens),
        ];
        for (field, number) in numbers {
            if let Some(number) = number {
                Invalid::unless_within(field, number, 1..=Self::MOST)?;
            }
        }
        if let Some(time) = self.expires_in {
            Invalid::unless_within("expires", time, Duration::from_secs(1)..=Self::LONGEST)?;
        }
        Ok(())
    }
}

impl KeyInfo {
    /// Whether it is good at this time, in milliseconds since 1970.
    pub fn is_good_at(&self, now: i64) -> bool {
        let is_over = |until: &Timestamp| until.as_millisecond() <= now;
        self.revoked_at.is_none() && !self.expires_at.as_ref().is_some_and(is_over)
    }

    /// Whether it may be used for this.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it may use the model of this name.
    pub fn may_use(&self, model: &str) -> bool {
        let models = self.models.as_ref();
        models.is_none_or(|models| models.iter().any(|allowed| pattern::allows(allowed, model)))
    }
}

impl Keys {
    /// Opens the database, and makes the tables that are missing.
    pub fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        if config.url.is_empty() {
            return Err(StoreError::None);
        }
        let home = Home::idle("store").map_err(StoreError::Thread)?;
        let database = super::open(&home, config)?;
        Ok(Self { home, database })
    }

    /// Makes a key.
    pub fn create(&self, new: &NewKey) -> Result<Created, StoreError> {
        new.validate()?;
        let now = Timestamp::now();
        let NewKey { name, scopes, models, .. } = new.clone();
        let info = KeyInfo {
            id: secret::id()?,
            prefix: String::new(),
            name,
            scopes,
            models,
            requests_per_minute: new.requests_per_minute,
            tokens_per_minute: new.tokens_per_minute,
            monthly_tokens: new.monthly_tokens,
            created_at: now,
            expires_at: new.expires_in.map(|time| later(now, time)),
            revoked_at: None,
            rotated_from: None,
        };
        let created = Created::with_secret(info)?;
        let (row, hash) = (created.info.clone(), created.secret.hash());
        self.ask(move |database| async move { rows::insert(&database, &row, hash).await })?;
        Ok(created)
    }

    /// All keys, the newest last.
    pub fn list(&self) -> Result<Vec<KeyInfo>, StoreError> {
        self.ask(|database| async move { rows::all(&database).await })
    }

    /// Ends a key; one that has ended already stays as it is.
    pub fn revoke(&self, id: &str) -> Result<KeyInfo, StoreError> {
        let id = id.to_owned();
        let now = Timestamp::now();
        self.ask(move |database| async move { rows::revoke(&database, &id, now).await })
    }

    /// Makes a key in the place of another, which is good for `grace` still.
    pub fn rotate(&self, id: &str, grace: Duration) -> Result<Created, StoreError> {
        Invalid::unless_within("grace", grace, Duration::ZERO..=NewKey::LONGEST)?;
        let wanted = id.to_owned();
        let found = self.ask(move |database| async move { rows::one(&database, &wanted).await })?;
        let now = Timestamp::now();
        if !found.is_good_at(now.as_millisecond()) {
            return Err(StoreError::Ended(found.id));
        }
        let old = found.id.clone();
        let info = KeyInfo {
            id: secret::id()?,
            created_at: now,
            rotated_from: Some(found.id.clone()),
            ..found
        };
        let created = Created::with_secret(info)?;
        let (row, hash) = (created.info.clone(), created.secret.hash());
        let until = later(now, grace);
        self.ask(move |database| async move {
            rows::replace(&database, &old, until, &row, hash).await
        })?;
        Ok(created)
    }

    fn ask<T: Send + 'static, F: Future<Output = Result<T, StoreError>> + Send + 'static>(
        &self,
        question: impl FnOnce(Database) -> F,
    ) -> Result<T, StoreError> {
        self.home.wait(question(self.database.clone())).ok_or(StoreError::Stopped)?
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.home.stop();
    }
}

impl Created {
    fn with_secret(info: KeyInfo) -> Result<Self, StoreError> {
        let secret = Secret::new()?;
        let prefix = secret.prefix().to_owned();
        Ok(Self { info: KeyInfo { prefix, ..info }, secret })
    }
}

/// As late as there can be.
fn later(now: Timestamp, time: Duration) -> Timestamp {
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::store::Url;

    fn config(folder: &TempDir) -> StoreConfig {
        let file = folder.path().join("keys.db");
        let url = Url::from(format!("sqlite:{}", file.display()));
        StoreConfig { url, ..StoreConfig::default() }
    }

    fn found(keys: &Keys, secret: &Secret) -> Option<KeyInfo> {
        let hash = Hash::of_presented(secret.reveal()).expect("a key");
        keys.ask(move |database| async move { find(&database, hash).await }).expect("an answer")
    }

    #[test]
    fn a_key_is_made_found_replaced_and_revoked() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys::open(&config(&folder)).expect("opened");
        let new = NewKey {
            scopes: vec![Scope::Inference, Scope::Usage],
            models: Some(["a, b", "\"c\"", "gpt-*"].map(str::to_owned).to_vec()),
            requests_per_minute: Some(60),
            tokens_per_minute: Some(NewKey::MOST),
            monthly_tokens: Some(1),
            expires_in: Some(Duration::from_mins(1)),
            ..NewKey::named("alpha")
        };
        let created = keys.create(&new).expect("made");
        let info = found(&keys, &created.secret).expect("there");
        let now = created.info.created_at.as_millisecond();
        assert_eq!(info.id, created.info.id);
        assert_eq!((info.requests_per_minute, info.monthly_tokens), (Some(60), Some(1)));
        assert!(info.may(Scope::Usage) && info.may_use("a, b") && !info.may_use("a"));
        assert!(info.may_use("gpt-9") && !info.may_use("my-gpt-9"));
        assert!(info.is_good_at(now + 59_999) && !info.is_good_at(now + 60_000));

        let rotated = keys.rotate(&info.id, Duration::from_secs(10)).expect("made anew");
        assert_eq!(rotated.info.rotated_from.as_deref(), Some(&*info.id));
        assert_eq!(rotated.info.models, info.models);
        let old = found(&keys, &created.secret).expect("there");
        assert!(old.expires_at < info.expires_at, "{old:?}");
        // An end that is sooner stays.
        keys.rotate(&info.id, Duration::from_hours(1)).expect("made anew");
        assert_eq!(found(&keys, &created.secret).expect("there").expires_at, old.expires_at);

        let revoked = keys.revoke(&info.id).expect("revoked");
        assert!(revoked.revoked_at.is_some() && !revoked.is_good_at(now));
        assert_eq!(keys.revoke(&info.id).expect("again").revoked_at, revoked.revoked_at);
        let why = keys.rotate(&info.id, Duration::ZERO).expect_err("it has ended");
        assert!(matches!(why, StoreError::Ended(_)), "{why}");
        assert_eq!(keys.list().expect("a list").len(), 3);
        assert!(matches!(keys.revoke("key_0"), Err(StoreError::NoKey(_))));
    }

    #[test]
    fn what_a_key_cannot_be_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Keys::open(&config(&folder)).expect("opened");
        let bad = |new: NewKey, field: &str| {
            let text = keys.create(&new).expect_err(field).to_string();
            assert!(text.starts_with(&format!("{field}: ")), "{text}");
        };
        bad(NewKey::named(""), "name");
        let good = NewKey::named("a");
        bad(NewKey { scopes: vec![], ..good.clone() }, "scope");
        for model in ["", "a\nb", "a*b*", "**"] {
            bad(NewKey { models: Some(vec![model.to_owned()]), ..good.clone() }, "model");
        }
        bad(NewKey { requests_per_minute: Some(0), ..good.clone() }, "requests-per-minute");
        bad(NewKey { tokens_per_minute: Some(u64::MAX), ..good.clone() }, "tokens-per-minute");
        bad(NewKey { monthly_tokens: Some(0), ..good.clone() }, "monthly-tokens");
        bad(NewKey { expires_in: Some(Duration::ZERO), ..good }, "expires");
        assert_eq!(keys.list().expect("a list"), []);
    }

    #[test]
    fn two_may_open_a_new_database_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(&folder);
        std::thread::scope(|scope| {
            let open = || scope.spawn(|| Keys::open(&config).map(drop));
            let both = [(); 4].map(|()| open());
            for one in both {
                one.join().expect("no panic").expect("opened");
            }
        });
    }

    #[test]
    fn without_a_database_it_is_said_what_makes_one() {
        let none = Keys::open(&StoreConfig::default()).map(drop).expect_err("none");
        assert!(none.to_string().contains("sqlite:thermograph.db"), "{none}");
        let url = Url::from("sqlite:/no/such/folder/keys.db");
        let nowhere = Keys::open(&StoreConfig { url, ..StoreConfig::default() });
        let nowhere = nowhere.map(drop).expect_err("no folder").to_string();
        assert!(nowhere.starts_with("store.url: ") && nowhere.contains("/no/such"), "{nowhere}");
    }
}
