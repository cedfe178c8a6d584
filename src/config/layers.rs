//! One table out of defaults, file, environment and flags, which remembers who set what.
//!
//! No crate for layered configuration is used. `figment` (last release 0.10.19, May 2024) takes the
//! type of a variable from its text, so that the token `0123456` is a number, and replaces bytes
//! that are not UTF-8. `config` 0.15.27 accepts `true` or `1.6` for a whole number, calls every
//! variable "the environment", and drops the origin of unknown keys. Both merge tables key by key,
//! which would keep the default model beside those of the file, and print values and lines that may
//! be secrets. Variables' types, hidden values and error texts would still be code of this module.
//! Jujutsu once used `config` and now has a loader of its own, `jj_lib::config`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde::de::IntoDeserializer as _;
use thermograph_service::upstream::UpstreamConfig;
use thiserror::Error;
use toml::{Table, Value};

use super::{Config, Origin, allowed, kubernetes, models, secrets::Secrets};

/// File that is read where none is named.
pub(super) const DEFAULT_FILE: &str = "thermograph.toml";
/// What every variable of ours begins with.
const PREFIX: &str = "THERMOGRAPH_";
/// Variables with that beginning that are no values of the configuration.
const NOT_VALUES: [&str; 1] = ["THERMOGRAPH_CONFIG"];
/// Names in common use for values of ours; our own name wins.
const ALIASES: [(&str, &str); 1] = [("RUST_LOG", "log.filter")];
/// Names the folder of the one local model.
const MODEL_DIR: &str = "MODEL_DIR";
/// The table of models.
pub(super) const MODELS: &str = "models";
/// The table of upstreams.
pub(super) const UPSTREAMS: &str = "upstreams";
/// Tables whose keys are the user's: what is below them has no variable.
const NAMED: [&str; 2] = [MODELS, UPSTREAMS];
/// Values that are never printed; keys of upstreams are not either.
const SECRETS: [&str; 2] = ["diagnostics.token", "store.url"];
/// Addresses that are not printed where a password may be in them.
const ADDRESSES: [&str; 1] = ["redis.url"];
/// What stands for a secret.
const SECRET: &str = "(set)";

/// A value set by a flag: the flag's name, the value's path, the value.
pub type Flag = (&'static str, String, Value);

/// The configuration in effect.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    pub(super) table: Table,
    /// Secrets whose files or variables the table names.
    pub(super) secrets: Secrets,
    origins: BTreeMap<String, Origin>,
}

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The named file could not be read.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: line {line}: {expected}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Number of the line, from 1. What stands there may be a secret.
        line: usize,
        /// What was expected.
        expected: String,
    },
    /// A variable that no value has.
    #[error(
        "unknown variable {name}: allowed are {allowed}; `thermograph config` without it prints all \
         keys"
    )]
    UnknownVariable {
        /// The variable.
        name: String,
        /// Variables of its section, or the beginnings of all.
        allowed: String,
    },
    /// A variable of ours that is not text.
    #[error("variable {name} is not allowed: UTF-8 is")]
    NotText {
        /// The variable.
        name: String,
    },
    /// A key that there is not, or a value that is not allowed.
    #[error("{field}{value} (from {origin}) is not allowed: {allowed}")]
    Invalid {
        /// Path of the value.
        field: String,
        /// The value with a leading ` = `, where it may be shown.
        value: String,
        /// Where it came from.
        origin: Origin,
        /// What is allowed.
        allowed: String,
    },
}

/// Loads the configuration: `file`, or `thermograph.toml` if it is there, then `environment`,
/// then `flags`.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    flags: &[Flag],
) -> Result<Loaded, ConfigError> {
    let mut layers = Layers::defaults();
    if let Some((file, table)) = read(file)? {
        layers.merge_file(&file, table);
    }
    layers.merge_environment(environment)?;
    for (flag, path, value) in flags {
        layers.set(path, value.clone(), Origin::Flag(flag));
    }
    layers.finish()
}

impl Loaded {
    /// The configuration as TOML, each value with where it came from.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (section, values) in &self.table {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "[{section}]");
            for (key, value) in values.as_table().into_iter().flatten() {
                let path = format!("{section}.{key}");
                let origin = self.origin(&path);
                let key = if NAMED.contains(&section.as_str()) {
                    Value::from(key.as_str()).to_string()
                } else {
                    key.clone()
                };
                let value = shown(&path, value);
                let _ = writeln!(text, "{key} = {value}  # {origin}");
            }
            text.push('\n');
        }
        text
    }

    /// Files that it was read from besides its own; they may change while it is in effect.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.secrets.files()
    }

    fn origin(&self, path: &str) -> Origin {
        origin(&self.origins, path)
    }
}

struct Layers {
    table: Table,
    /// Paths of all values that there are.
    known: Vec<String>,
    origins: BTreeMap<String, Origin>,
    /// Variables that `key_env` of an upstream may name.
    environment: BTreeMap<String, String>,
}

impl Layers {
    #[expect(clippy::expect_used, reason = "the default is made of types that TOML has")]
    fn defaults() -> Self {
        let table = Table::try_from(Config::default()).expect("the default serializes");
        let known = paths(&table);
        Self { table, known, origins: BTreeMap::new(), environment: BTreeMap::new() }
    }

    fn merge_file(&mut self, file: &Path, table: Table) {
        for (section, values) in table {
            if !self.table.contains_key(&section) {
                // There is none of this name, and it is from here.
                self.origins.insert(section.clone(), Origin::File(file.to_owned()));
            }
            match values {
                Value::Table(values) if section != MODELS => {
                    for (key, value) in values {
                        let path = format!("{section}.{key}");
                        self.set(&path, value, Origin::File(file.to_owned()));
                    }
                    // An empty one is there too, and its name may be wrong.
                    self.table.entry(section).or_insert_with(|| Table::new().into());
                }
                value => self.set(&section, value, Origin::File(file.to_owned())),
            }
        }
    }

    fn merge_environment(
        &mut self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), ConfigError> {
        let environment = texts(environment)?;
        if let Some(dir) = environment.get(MODEL_DIR) {
            self.set(MODELS, only_model(dir), Origin::Variable(MODEL_DIR.to_owned()));
        }
        let known = std::mem::take(&mut self.known);
        let aliases = ALIASES.iter().map(|(name, path)| ((*name).to_owned(), (*path).to_owned()));
        let own = known.iter().map(|path| (variable(path), path.clone()));
        for (name, path) in aliases.chain(own) {
            if let Some(text) = environment.get(&name) {
                let value = typed(text, lookup(&self.table, &path));
                self.set(&path, value, Origin::Variable(name));
            }
        }
        let unknown = environment.keys().find(|name| {
            name.starts_with(PREFIX)
                && !known.iter().any(|path| variable(path) == **name)
                && !NOT_VALUES.contains(&name.as_str())
                && !kubernetes::is_of_a_service(name, &environment[*name])
        });
        if let Some(name) = unknown {
            let allowed = near(name, &known);
            return Err(ConfigError::UnknownVariable { name: name.clone(), allowed });
        }
        self.known = known;
        self.environment = environment;
        Ok(())
    }

    fn set(&mut self, path: &str, value: Value, origin: Origin) {
        let previous = match path.split_once('.') {
            None => self.table.insert(path.to_owned(), value),
            Some((section, key)) => {
                let section = self.table.entry(section).or_insert_with(|| Table::new().into());
                section.as_table_mut().and_then(|section| section.insert(key.to_owned(), value))
            }
        };
        drop(previous);
        self.origins.insert(path.to_owned(), origin);
    }

    fn finish(self) -> Result<Loaded, ConfigError> {
        let Self { table, origins, environment, .. } = self;
        let invalid = |field: String, allowed: String| {
            // Of a list, all of it.
            let named = field.split('[').next().unwrap_or(&field);
            let value = lookup(&table, named);
            let is_unknown = allowed.starts_with("unknown field");
            let shown = value.map(|value| match value {
                // A misspelt key of a table with a secret may be that of the secret.
                Value::String(_) if is_unknown && has_secret(section_of(&field)) => hidden(),
                value => shown(&field, value),
            });
            let is_hidden = shown.as_ref() != value.map(Value::to_string).as_ref();
            let allowed = if is_hidden { allowed::without_value(allowed) } else { allowed };
            let value = shown.map(|value| format!(" = {value}")).unwrap_or_default();
            let origin = origin(&origins, &field);
            ConfigError::Invalid { field, value, origin, allowed }
        };
        if let Some(Value::Table(of_models)) = table.get(MODELS) {
            // Here, where the path of what is wrong in it is known.
            models::check(of_models)
                .map_err(|(field, message)| invalid(field, allowed::of(&message)))?;
        }
        let mut resolved = table.clone();
        let secrets = Secrets::read(&mut resolved, &environment)
            .map_err(|(field, allowed)| invalid(field, allowed))?;
        let value = Value::Table(resolved);
        let config: Config =
            serde_path_to_error::deserialize(value.into_deserializer()).map_err(|error| {
                let allowed = allowed::of(error.inner().message());
                invalid(of_the_list(&error.path().to_string()), allowed)
            })?;
        config.validate().map_err(|(field, allowed)| {
            let (field, allowed) = secrets.named(field, allowed);
            invalid(field, allowed)
        })?;
        Ok(Loaded { config, table, secrets, origins })
    }
}

/// The variables. One that is not text is an error if it is ours; others may hold a key, which is
/// refused for its characters.
fn texts(
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut texts = BTreeMap::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(texts.insert(name, value)),
            Err(_) if is_ours(&name) => return Err(ConfigError::NotText { name }),
            Err(value) => drop(texts.insert(name, value.to_string_lossy().into_owned())),
        }
    }
    Ok(texts)
}

/// Returns whether a variable sets a value of the configuration, by its name.
fn is_ours(name: &str) -> bool {
    let is_alias = ALIASES.iter().any(|(alias, _)| *alias == name);
    name.starts_with(PREFIX) || name == MODEL_DIR || is_alias
}

fn read(file: Option<&Path>) -> Result<Option<(PathBuf, Table)>, ConfigError> {
    let named = file.is_some();
    let file = file.unwrap_or(Path::new(DEFAULT_FILE)).to_owned();
    match std::fs::read_to_string(&file) {
        Ok(text) => match text.parse::<Table>() {
            Ok(table) => Ok(Some((file, table))),
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.unwrap_or_default().matches('\n').count() + 1;
                let expected = error.message().to_owned();
                Err(ConfigError::Syntax { file, line, expected })
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { file, source }),
    }
}

/// The path of a list, of that of one of its entries: a list is set as a whole.
fn of_the_list(path: &str) -> String {
    let entry = path.strip_suffix(']').and_then(|path| path.rsplit_once('['));
    let list = entry.filter(|(_, place)| place.bytes().all(|byte| byte.is_ascii_digit()));
    list.map_or(path, |(list, _)| list).to_owned()
}

/// Paths of the values of a table of sections.
fn paths(table: &Table) -> Vec<String> {
    let of_section = |(section, values): (&String, &Value)| match values {
        Value::Table(values) if !NAMED.contains(&section.as_str()) => {
            values.keys().map(|key| format!("{section}.{key}")).collect()
        }
        _ => Vec::new(),
    };
    table.iter().flat_map(of_section).collect()
}

fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', "_").to_uppercase())
}

/// Variables of the section that an unknown one seems to be of, or else the beginnings of all.
fn near(unknown: &str, known: &[String]) -> String {
    let beginning = |path: &str| format!("{}_", variable(section_of(path)));
    let is_near = |path: &&String| unknown.starts_with(&beginning(path));
    let of_section: Vec<_> = known.iter().filter(is_near).map(|path| variable(path)).collect();
    if !of_section.is_empty() {
        return of_section.join(", ");
    }
    let beginnings: BTreeSet<_> = known.iter().map(|path| beginning(path) + "…").collect();
    beginnings.into_iter().collect::<Vec<_>>().join(", ")
}

/// The text of a variable as the type that the value has by default.
fn typed(text: &str, default: Option<&Value>) -> Value {
    let number = |text: &str| text.parse::<i64>().map(Value::from).ok();
    let typed = match default {
        Some(Value::Integer(_)) => number(text),
        Some(Value::Float(_)) => text.parse::<f64>().map(Value::from).ok(),
        Some(Value::Boolean(_)) => text.parse::<bool>().map(Value::from).ok(),
        Some(Value::Array(_)) => Some(list(text)),
        _ => None,
    };
    typed.unwrap_or_else(|| text.into())
}

/// A list of texts with commas between them.
fn list(text: &str) -> Value {
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Value::Array(entries.map(Value::from).collect())
}

/// The one local model of `MODEL_DIR`, named after its folder.
fn only_model(dir: &str) -> Value {
    let name = Path::new(dir).file_name().map_or(dir.into(), |name| name.to_string_lossy());
    let model = Table::from_iter([("dir".to_owned(), Value::from(dir))]);
    Table::from_iter([(name.into_owned(), Value::from(model))]).into()
}

/// The value of a path; names in it may have dots themselves.
fn lookup<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    table.get(path).or_else(|| {
        path.match_indices('.')
            .find_map(|(dot, _)| lookup(table.get(&path[..dot])?.as_table()?, &path[dot + 1..]))
    })
}

/// Where the value of a path came from, or else what it is in.
fn origin(origins: &BTreeMap<String, Origin>, path: &str) -> Origin {
    let ends = path.match_indices('.').map(|(dot, _)| dot).chain([path.len()]);
    let found = ends.rev().find_map(|end| origins.get(&path[..end]));
    found.cloned().unwrap_or_default()
}

/// A value as it may be printed.
fn shown(path: &str, value: &Value) -> String {
    let text = value.to_string();
    let is_empty = value.as_str().is_some_and(str::is_empty);
    // In place of a table there may be the secret that belongs into it.
    let is_in =
        |secret: &&str| *secret == path || (!value.is_table() && section_of(secret) == path);
    let is_secret =
        SECRETS.iter().any(is_in) || (ADDRESSES.iter().any(is_in) && text.contains('@'));
    if is_secret && !is_empty {
        return hidden();
    }
    match path.strip_prefix(UPSTREAMS).and_then(|rest| rest.rsplit('.').next()) {
        None => text,
        Some(key) => {
            let mut value = value.clone();
            hide(if path.contains(".headers.") { "" } else { key }, &mut value);
            value.to_string()
        }
    }
}

fn hidden() -> String {
    Value::from(SECRET).to_string()
}

/// Returns whether a table holds a secret, those of upstreams left out.
fn has_secret(section: &str) -> bool {
    SECRETS.iter().chain(&ADDRESSES).any(|path| section_of(path) == section)
}

fn section_of(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Hides what may be a secret of an upstream: its key, a key whose name is misspelt, values of its
/// headers, and a password or key in its URL.
fn hide(key: &str, value: &mut Value) {
    match value {
        Value::Table(headers) if key == "headers" => {
            headers.iter_mut().for_each(|(_, value)| hide("", value));
        }
        Value::Table(table) => table.iter_mut().for_each(|(key, value)| hide(key, value)),
        Value::Array(list) => list.iter_mut().for_each(|value| hide(key, value)),
        value => {
            let is_shown = UpstreamConfig::SHOWN.contains(&key);
            if !is_shown || value.as_str().is_some_and(UpstreamConfig::has_secret) {
                *value = SECRET.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        load(None, variables, &[])
    }

    fn from_file(text: &str) -> Result<Loaded, ConfigError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        load(Some(file.path()), std::iter::empty(), &[])
    }

    #[test]
    fn later_layers_win_and_are_remembered() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "[api]\nlisten = \"127.0.0.1:1\"\nbody_limit = \"1MiB\"\n")
            .expect("written");
        let variables = [("THERMOGRAPH_API_LISTEN".into(), "127.0.0.1:2".into())];
        let flag: Flag = ("listen", "api.listen".to_owned(), "127.0.0.1:3".into());
        let loaded = |flags: &[Flag]| {
            load(Some(file.path()), variables.clone().into_iter(), flags).expect("valid")
        };
        let port = |loaded: Loaded| loaded.config.api.listen.tcp().expect("an address").port();
        assert_eq!(port(loaded(std::slice::from_ref(&flag))), 3);
        assert_eq!(loaded(&[flag]).origin("api.listen"), Origin::Flag("listen"));
        assert_eq!(port(loaded(&[])), 2);
        assert_eq!(loaded(&[]).config.api.body_limit, bytesize::ByteSize::mib(1));
        assert_eq!(loaded(&[]).origin("api.body_limit"), Origin::File(file.path().into()));
        assert_eq!(loaded(&[]).origin("log.filter"), Origin::Default);
    }

    #[test]
    fn an_error_names_field_value_origin_and_what_is_allowed() {
        let error = with(&[("THERMOGRAPH_ENGINE_NICE", "lots")]).expect_err("no number");
        let text = error.to_string();
        assert!(text.contains("engine.nice = \"lots\" (from $THERMOGRAPH_ENGINE_NICE)"), "{text}");

        let text = from_file("[api]\nlisten = \"here\"\n").expect_err("no address").to_string();
        assert!(text.starts_with("api.listen = \"here\" (from "), "{text}");

        let text = from_file("[api]\nlisen = 1\n").expect_err("unknown key").to_string();
        assert!(text.contains("lisen") && text.contains("expected one of"), "{text}");

        let text = from_file("[apis]\n").expect_err("unknown section").to_string();
        assert!(text.contains("apis") && text.contains("`diagnostics`"), "{text}");

        let text = with(&[("THERMOGRAPH_API_PORT", "1")]).expect_err("unknown").to_string();
        assert!(text.contains("THERMOGRAPH_API_PORT") && text.contains("_API_LISTEN"), "{text}");

        let text = with(&[("RUST_LOG", "a=b=c")]).expect_err("no filter").to_string();
        assert!(text.starts_with("log.filter = \"a=b=c\" (from $RUST_LOG)"), "{text}");

        let open = [("THERMOGRAPH_DIAGNOSTICS_LISTEN", "0.0.0.0:6060")];
        let text = with(&open).expect_err("open without a token").to_string();
        assert!(text.contains("loopback") && text.contains("`token`"), "{text}");
    }

    #[test]
    fn unknown_variable_is_answered_with_its_section() {
        let said = |name: &str| with(&[(name, "1")]).expect_err(name).to_string();
        let text = said("THERMOGRAPH_STORE_URI");
        assert!(text.contains("THERMOGRAPH_STORE_URL, "), "{text}");
        assert!(!text.contains("_API_") && text.contains("`thermograph config`"), "{text}");
        let text = said("THERMOGRAPH_PORT");
        assert!(text.contains("THERMOGRAPH_API_…, THERMOGRAPH_CACHE_…, "), "{text}");
        assert!(text.len() < 400 && said("THERMOGRAPH_DIAGNOSTICS_A").len() < 800, "{text}");
    }

    #[test]
    fn variable_that_is_not_text_is_an_error_if_it_is_ours() {
        use std::os::unix::ffi::OsStringExt as _;
        let not_text = || OsString::from_vec(vec![b'a', 0xff]);
        let load = |name: OsString| load(None, std::iter::once((name, not_text())), &[]);
        load("LESSCHARSET".into()).expect("not ours");
        load(not_text()).expect("not ours");
        for name in ["THERMOGRAPH_DIAGNOSTICS_FOLDER", "MODEL_DIR", "RUST_LOG"] {
            let error = load(name.into()).expect_err(name).to_string();
            assert_eq!(error, format!("variable {name} is not allowed: UTF-8 is"));
        }
    }

    #[test]
    fn variables_that_kubernetes_sets_are_no_values() {
        let of_a_service = [
            ("THERMOGRAPH_SERVICE_HOST", "10.0.0.1"),
            ("THERMOGRAPH_SERVICE_PORT", "8080"),
            ("THERMOGRAPH_SERVICE_PORT_HTTP", "8080"),
            ("THERMOGRAPH_PORT", "tcp://10.0.0.1:8080"),
            ("THERMOGRAPH_API_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ];
        with(&of_a_service).expect("none is ours");
        for other in [("THERMOGRAPH_PORT", "8080"), ("THERMOGRAPH_FOO", "tcp://10.0.0.1:8080")] {
            let error = with(&[other]).expect_err(other.0).to_string();
            assert!(error.starts_with(&format!("unknown variable {}", other.0)), "{error}");
        }
    }

    #[test]
    fn what_is_described_holds_no_secret_and_is_loaded_with_them_put_in() {
        let loaded = with(&[("THERMOGRAPH_DIAGNOSTICS_TOKEN", "hunter2")]).expect("valid");
        assert!(loaded.config.diagnostics.token.matches("hunter2"));
        let text = loaded.describe();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("listen = \"127.0.0.1:8080\"  # default"), "{text}");
        assert!(text.contains("token = \"(set)\"  # $THERMOGRAPH_DIAGNOSTICS_TOKEN"), "{text}");
        let error = from_file(&text).expect_err("a placeholder").to_string();
        assert!(error.starts_with("diagnostics.token = \"(set)\" (from "), "{error}");
        assert!(error.contains("stands for a token that is not shown"), "{error}");
        from_file(&text.replace("(set)", "hunter2")).expect("valid");
    }

    #[test]
    fn placeholder_of_a_secret_is_refused_wherever_there_is_one() {
        for (section, key) in [("diagnostics", "token"), ("store", "url"), ("redis", "url")] {
            let text = format!("[{section}]\n{key} = \"(set)\"\n");
            let error = from_file(&text).expect_err(&text).to_string();
            assert!(error.contains(&format!("{section}.{key} = \"(set)\"")), "{error}");
            let variable = variable(&format!("{section}.{key}"));
            with(&[(&variable, "(set)")]).expect_err(&variable);
        }
        let upstream = "[upstreams.a]\nurl = \"http://a\"\nkey = \"(set)\"\n";
        let error = from_file(upstream).expect_err("a placeholder").to_string();
        assert!(error.starts_with("upstreams.a.key = \"(set)\""), "{error}");
    }

    #[test]
    fn what_is_secret_of_an_upstream_is_never_printed() {
        let file = |upstream: &str| format!("[upstreams.a]\n{upstream}\n");
        let good = from_file(&file("url = \"http://a\"\nkey = \"hunter2\"")).expect("valid");
        let text = good.describe();
        assert!(text.contains("http://a") && text.contains("(set)"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        from_file(&text.replace("(set)", "hunter2")).expect("valid");
        let bad = [
            "url = \"http://me:hunter2@a\"",
            "url = \"http://a\"\nkey = \"hunter2\\n\"",
            "url = \"http://a\"\nkye = \"hunter2\"",
            "url = \"http://a\"\nkey = \"hunter2",
            "url = \"\"\nkey = \"hunter2\"",
            "url = \"http://a\"\nkey = [\"hunter2\"]",
            "url = \"http://a\"\nkey = { value = \"hunter2\" }",
            "url = \"http://a\"\nheaders = \"hunter2\"",
            "url = \"http://a\"\nheaders = [\"authorization: hunter2\"]",
            "url = \"http://a\"\nheaders = { x-a = [\"hunter2\"] }",
            "url = [\"http://me:hunter2@a\"]",
            "url = \"http://a\"\nhealth = \"http://me:hunter2@a\"",
        ];
        for bad in bad {
            let text = from_file(&file(bad)).expect_err(bad).to_string();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn secrets_of_a_wrong_type_or_in_a_wrong_place_are_not_printed() {
        for (file, field) in [
            ("[upstreams.a]\nurl = \"http://a\"\nkey = 271828", "upstreams.a.key"),
            ("[upstreams]\na = \"http://me:271828@a\"", "upstreams.a"),
            ("upstreams = \"271828\"", "upstreams"),
            ("[diagnostics]\ntoken = 271828", "diagnostics.token"),
            ("[diagnostics]\ntokne = \"271828\"", "diagnostics.tokne"),
            ("[store]\nurl = [\"postgres://me:271828@a/b\"]", "store.url"),
            ("store = \"postgres://me:271828@a/b\"", "store"),
            ("[redis]\nurl = [\"redis://me:271828@a\"]", "redis.url"),
            ("[redis]\nulr = \"redis://me:271828@a\"", "redis.ulr"),
            ("redis = \"redis://me:271828@a\"", "redis"),
        ] {
            let text = from_file(file).expect_err(file).to_string();
            assert!(text.starts_with(&format!("{field} = \"(set)\" (from ")), "{text}");
            assert!(text.contains("expected ") && !text.contains("271828"), "{text}");
        }
    }

    #[test]
    fn the_password_of_redis_is_never_printed() {
        let file = |url: &str| format!("[redis]\nurl = \"{url}\"\n");
        let shown = from_file(&file("redis://a:1/2")).expect("valid").describe();
        assert!(shown.contains("redis://a:1/2"), "{shown}");
        let loaded = from_file(&file("redis://me:hunter2@a:1/2")).expect("valid");
        let shown = format!("{} {:?}", loaded.describe(), loaded.config);
        assert!(shown.contains("url = \"(set)\"") && !shown.contains("hunter2"), "{shown}");
        let error = from_file(&file("rediss//me:hunter2@a")).expect_err("no URL").to_string();
        assert!(error.contains("redis.url") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_key_may_be_in_the_environment() {
        use std::os::unix::ffi::OsStringExt as _;
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "[upstreams.\"a.b\"]\nurl = \"http://a\"\nkey_env = \"SOME_KEY\"\n";
        std::fs::write(file.path(), text).expect("written");
        let load = |variables: &[(&str, &str)]| {
            let pair = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
            load(Some(file.path()), variables.iter().map(pair), &[])
        };
        let loaded = load(&[("SOME_KEY", "hunter2")]).expect("valid");
        assert!(loaded.config.upstreams["a.b"].key.is_some());
        for (key, why) in [
            (None, "is not set"),
            (Some(""), "is empty"),
            (Some(" \t"), "has only blanks"),
            (Some("hunter2\n"), "has characters that are not visible ASCII"),
            (Some("hunter\u{e9}"), "has characters that are not visible ASCII"),
            (Some("(set)"), "does not hold the key itself"),
        ] {
            let variables: Vec<_> = key.map(|key| ("SOME_KEY", key)).into_iter().collect();
            let text = load(&variables).expect_err("no key").to_string();
            assert!(text.starts_with("upstreams.a.b.key_env = \"SOME_KEY\""), "{text}");
            assert!(text.contains(&file.path().display().to_string()), "{text}");
            assert!(text.contains(&format!("is not allowed: `SOME_KEY` {why}")), "{text}");
            assert!(!text.contains("hunter"), "{text}");
        }
        let not_text = OsString::from_vec(vec![b'a', 0xff]);
        let variables = std::iter::once(("SOME_KEY".into(), not_text));
        let text = super::load(Some(file.path()), variables, &[]).expect_err("no key").to_string();
        assert!(text.contains("`SOME_KEY` has characters that are not visible ASCII"), "{text}");
    }

    #[test]
    fn model_dir_names_the_one_model() {
        let loaded = with(&[("MODEL_DIR", "/somewhere/e5-small")]).expect("valid");
        let models = loaded.config.models.local;
        assert_eq!(models.keys().collect::<Vec<_>>(), ["e5-small"]);
        assert_eq!(models["e5-small"].dir, Path::new("/somewhere/e5-small"));
    }
}
