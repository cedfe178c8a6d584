//! Secrets that are not in the configuration, which names the file or the variable that holds them.
//!
//! Docker and Kubernetes mount secrets as files: `store.url_file` names the file that holds
//! `store.url`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

use thermograph_common::pem;
use toml::{Table, Value};

use super::layers::UPSTREAMS;

/// Tables and keys of secrets, without those of upstreams; an empty text is none.
const OWN: [(&str, &str); 3] = [("diagnostics", "token"), ("store", "url"), ("redis", "url")];
/// Key of an upstream's secret.
const KEY: &str = "key";
/// Ends the name of a key that names a file.
const FILE: &str = "_file";
/// Ends the name of a key that names a variable; upstreams alone have one.
const VARIABLE: &str = "_env";
/// Largest file of a secret, in KiB.
const MOST: u64 = 64;
/// Some editors put it before UTF-8; it would be part of the secret.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reason why a text cannot be sent as a key.
const UNSENDABLE: &str = "has characters that are not visible ASCII";

/// Keys of upstreams that name files of certificates and keys.
const PEM: [&str; 3] = ["ca_file", "tls_cert", "tls_key"];

/// Secrets that were read, by their paths, and other files that upstreams need. Never shown.
#[derive(Default)]
pub(super) struct Secrets {
    secrets: BTreeMap<String, Secret>,
    /// Files and their contents, by the path of the key that names them. `None` if it cannot be read.
    others: BTreeMap<String, (PathBuf, Option<Vec<u8>>)>,
}

struct Secret {
    text: String,
    /// The file or the variable that holds it.
    name: String,
    /// Path of the key that names where it is.
    named_by: String,
    /// `None` if a variable holds it.
    file: Option<PathBuf>,
}

impl Secrets {
    /// Reads the secrets that `table` names, and puts them into it. An error is the path of a value
    /// and what is allowed.
    pub(super) fn read(
        table: &mut Table,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, (String, String)> {
        let mut secrets = Self::default();
        for (section, key) in OWN {
            let Some(Value::Table(values)) = table.get_mut(section) else { continue };
            let file = format!("{key}{FILE}");
            values
                .retain(|name, value| value.as_str() != Some("") || (name != key && name != file));
            secrets.replace(values, section, key, &[FILE], environment)?;
        }
        let Some(Value::Table(upstreams)) = table.get_mut(UPSTREAMS) else { return Ok(secrets) };
        for (name, upstream) in upstreams {
            let Value::Table(values) = upstream else { continue };
            let path = format!("{UPSTREAMS}.{name}");
            secrets.replace(values, &path, KEY, &[VARIABLE, FILE], environment)?;
            for key in PEM {
                let Some(file) = values.get(key).and_then(Value::as_str) else { continue };
                // A file that cannot be used is refused by the upstream.
                let content = pem::read(Path::new(file)).ok();
                secrets.others.insert(format!("{path}.{key}"), (file.into(), content));
            }
        }
        Ok(secrets)
    }

    /// Replaces the key that names where a secret is by the secret.
    fn replace(
        &mut self,
        values: &mut Table,
        path: &str,
        key: &str,
        endings: &[&'static str],
        environment: &BTreeMap<String, String>,
    ) -> Result<(), (String, String)> {
        // A value of another type is refused by the component's own configuration.
        let given = endings.iter().filter_map(|ending| {
            let value = values.get(&format!("{key}{ending}"))?.as_str()?;
            Some((*ending, value.to_owned()))
        });
        let given: Vec<_> = given.collect();
        let Some((ending, name)) = given.last() else { return Ok(()) };
        let named_by = format!("{path}.{key}{ending}");
        if given.len() > 1 || values.contains_key(key) {
            let others = endings.iter().map(|ending| format!(", `{key}{ending}`"));
            return Err((named_by, format!("only one of `{key}`{}", others.collect::<String>())));
        }
        let file = (*ending == FILE).then(|| PathBuf::from(name));
        let text = match &file {
            Some(file) => read(file),
            None => held(name, environment),
        };
        let text = text.map_err(|allowed| (named_by.clone(), allowed))?;
        values.remove(&format!("{key}{ending}"));
        values.insert(key.to_owned(), text.as_str().into());
        let secret = Secret { text, name: name.clone(), named_by, file };
        self.secrets.insert(format!("{path}.{key}"), secret);
        Ok(())
    }

    /// A value that is not allowed, and what is, in words for the key that names it.
    pub(super) fn named(&self, field: String, allowed: String) -> (String, String) {
        let Some(secret) = self.secrets.get(&field) else { return (field, allowed) };
        let Secret { text, name, file, .. } = secret;
        // URLs may have other characters.
        let is_of_upstream = field.starts_with(UPSTREAMS);
        let is_unsendable = is_of_upstream && !text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let allowed = match (file, is_unsendable) {
            (Some(_), true) => format!("a file that holds {allowed} ({UNSENDABLE})"),
            (Some(_), false) => format!("a file that holds {allowed}"),
            (None, true) => format!("`{name}` {UNSENDABLE}"),
            (None, false) => format!("`{name}` does not hold {allowed}"),
        };
        (secret.named_by.clone(), allowed)
    }

    /// Files that were read.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let others = self.others.values().map(|(file, _)| &**file);
        self.secrets.values().filter_map(|secret| secret.file.as_deref()).chain(others)
    }

    /// Paths of the keys whose secrets and files differ from those before, though the configuration
    /// names the same places.
    pub(super) fn differing<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        let secrets = self.secrets.iter().filter_map(|(path, secret)| {
            let before = before.secrets.get(path)?;
            let is_other = before.named_by == secret.named_by && before.text != secret.text;
            is_other.then_some(&*secret.named_by)
        });
        let others = self.others.iter().filter_map(|(path, (file, content))| {
            let (same, before) = before.others.get(path)?;
            (same == file && before != content).then_some(&**path)
        });
        secrets.chain(others)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.secrets.keys()).finish()
    }
}

/// The secret that a variable holds. An error says why it holds none.
fn held(name: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    if name.is_empty() {
        return Err("the name of a variable of the environment that holds the key".to_owned());
    }
    match environment.get(name) {
        None => Err(format!("`{name}` is not set")),
        Some(text) if text.is_empty() => Err(format!("`{name}` is empty")),
        Some(text) if text.trim().is_empty() => Err(format!("`{name}` has only blanks")),
        Some(text) => Ok(text.clone()),
    }
}

/// Reads a secret, without the newline at its end. An error says what is allowed.
pub(crate) fn read(file: &Path) -> Result<String, String> {
    let allowed = |why: &dyn std::fmt::Display| {
        format!("a file of UTF-8 text, 1 byte to {MOST} KiB, that holds the secret ({why})")
    };
    let metadata = fs::metadata(file).map_err(|error| allowed(&error))?;
    if !metadata.is_file() {
        // A pipe that nothing is written to would block the start.
        return Err(allowed(&"not a regular file"));
    }
    let most = MOST << 10;
    let mut text = Vec::new();
    let opened = File::open(file).map_err(|error| allowed(&error))?;
    opened.take(most + 1).read_to_end(&mut text).map_err(|error| allowed(&error))?;
    if text.len() as u64 > most {
        return Err(allowed(&"larger"));
    }
    let text = String::from_utf8(text).map_err(|_| allowed(&"not UTF-8"))?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(allowed(&"empty"));
    }
    if secret.trim().is_empty() {
        return Err(allowed(&"only blanks"));
    }
    if secret.starts_with(BYTE_ORDER_MARK) {
        return Err(allowed(&"begins with a byte order mark"));
    }
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_of_a_secret_is_text_of_bounded_size() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("written");
            super::read(&path)
        };
        for (bytes, secret) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), (" a\n\n", " a\n")] {
            assert_eq!(read(bytes.as_bytes()).as_deref(), Ok(secret));
        }
        let largest = "a".repeat(64 << 10);
        assert_eq!(read(largest.as_bytes()), Ok(largest.clone()));
        let too_large = format!("{largest}a");
        let bad: [(&[u8], &str); 6] = [
            (b" \t\n", "(only blanks)"),
            (b"\xef\xbb\xbfa", "(begins with a byte order mark)"),
            (b"", "(empty)"),
            (b"\n", "(empty)"),
            (b"\xff", "(not UTF-8)"),
            (too_large.as_bytes(), "(larger)"),
        ];
        for (bytes, why) in bad {
            let error = read(bytes).expect_err(why);
            assert!(error.contains("1 byte to 64 KiB") && error.ends_with(why), "{error}");
        }
        let error = super::read(dir.path()).expect_err("a folder");
        assert!(error.ends_with("(not a regular file)"), "{error}");
        let error = super::read(&dir.path().join("none")).expect_err("none");
        assert!(error.contains("No such file"), "{error}");
    }
}
