//! The configuration of the diagnostics.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::handlers::{Budget, Ledger};

/// What a threshold may be: below, the watchdog would look a thousand times a second; above, it would
/// see nothing.
const THRESHOLD: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);

/// Where the diagnostics listen, who may ask, and when the console is on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address of the diagnostics door. Default is `127.0.0.1:6060`.
    pub listen: SocketAddr,
    /// Token that every request must carry, as `authorization: Bearer …` or as the password of
    /// basic authentication. Needed when `listen` is not loopback, with at least 16 characters then.
    /// Default is none.
    pub token: Token,
    /// File that holds the token, for programs that load a configuration from a file: they read it, and
    /// set `token`. Default is none.
    pub token_file: PathBuf,
    /// File of the listener's certificate in PEM, for programs that put TLS before the diagnostics. Default
    /// is none.
    pub tls_cert: PathBuf,
    /// File of its private key in PEM. Default is none.
    pub tls_key: PathBuf,
    /// File of the authorities, in PEM, of the certificates that clients must have. Default is none.
    pub tls_client_ca: PathBuf,
    /// When tokio-console is fed. Without `--cfg tokio_unstable` it is off, whatever stands here.
    /// Default is `on-attach`.
    pub console: ConsoleMode,
    /// Address that tokio-console attaches to; must be loopback, since its protocol has no
    /// authentication. Default is `127.0.0.1:6669`.
    pub console_listen: SocketAddr,
    /// Most requests a second that tokio-console shows as rows of their own, named after their
    /// handler, 0 to 1000; a tenth of them at once. A row takes 50 KiB until 6 s after its end.
    /// Default is 200.
    pub named_per_second: u32,
    /// Most handlers that the ledger keeps apart at a time; further ones share one row, until one that
    /// has done nothing for 10 s gives way. Default is 256.
    pub max_handlers: usize,
    /// Length from which a poll is a stall, 1 ms to 10 s. Default is 10 ms.
    #[serde(with = "duration")]
    pub threshold: Duration,
    /// The way in which stacks of stalls are taken. Default is `auto`.
    pub stacks: Stacks,
    /// Stalls that are kept one by one, the newest ones. Default is 256.
    pub max_stalls: usize,
    /// Folder in whose `profiles` and `flamegraphs` captures are kept. Default is `.`, where the
    /// program runs.
    pub folder: PathBuf,
    /// Most captures in it; past them no further one is kept, and none deleted. Default is 200.
    pub max_captures: usize,
    /// When memory is sampled. Default is `on-demand`.
    pub heap: HeapMode,
}

/// The way in which stacks of stalls are taken. With each of them but `Off`, the stack of a waiting
/// thread is read without disturbing the thread.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stacks {
    /// The kernel copies the stack of a thread that computes (`perf_event_open(2)`). Where the process
    /// may not ask it to, the thread gets a signal.
    #[default]
    Auto,
    /// A thread that computes gets one real-time signal, whose handler copies its stack.
    Signal,
    /// No stack is taken of a stall: it has its handler, its class and its system call.
    Off,
}

/// When tokio-console is fed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleMode {
    /// While a console is attached: costs next to nothing otherwise, and shows the tasks spawned
    /// since then.
    #[default]
    OnAttach,
    /// From the start: shows every task, and costs up to a third of a small handler's throughput.
    Always,
    /// Never; its port stays closed.
    Off,
}

/// When memory is sampled, in a program whose allocator is jemalloc with profiling.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeapMode {
    /// While a capture lasts, which shows what was allocated in its window; and for good from the
    /// first time on that a profile without a window is asked for, as scrapers do. Costs nothing
    /// before that.
    #[default]
    OnDemand,
    /// From the start: shows all that lives, at the price of a stack for each half megabyte that is
    /// allocated.
    Always,
    /// Never.
    Off,
}

/// A secret that is compared in constant time and never printed.
#[derive(Clone, Default, Deserialize, PartialEq)]
#[serde(transparent)]
pub struct Token(String);

/// A value that the configuration does not allow.
#[derive(Debug, Error, PartialEq)]
#[error("{field}: `{value}` is not allowed: {allowed}")]
pub struct Invalid {
    /// Path of the field inside the component's configuration.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// Allowed values.
    pub allowed: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 6060)),
            token: Token::default(),
            token_file: PathBuf::new(),
            tls_cert: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_client_ca: PathBuf::new(),
            console: ConsoleMode::default(),
            console_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 6669)),
            named_per_second: Budget::PER_SECOND,
            max_handlers: 256,
            threshold: Ledger::THRESHOLD,
            stacks: Stacks::default(),
            max_stalls: 256,
            folder: PathBuf::from("."),
            max_captures: 200,
            heap: HeapMode::default(),
        }
    }
}

impl Config {
    /// Largest [`Config::max_handlers`]; a handler takes about 14 KiB for each thread that has polled
    /// it.
    pub const MAX_HANDLERS: usize = 10_000;
    /// Largest [`Config::max_stalls`]; a stall takes about 1 KiB.
    pub const MAX_STALLS: usize = 10_000;
    /// Largest [`Config::max_captures`]; all are looked at whenever one is kept.
    pub const MAX_CAPTURES: usize = 10_000;
    /// Largest [`Config::named_per_second`].
    pub const MAX_NAMED_PER_SECOND: u32 = 1000;

    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.token.validate(self.listen.ip().is_loopback())?;
        if !self.token_file.as_os_str().is_empty() {
            return Err(Invalid {
                field: "token_file",
                value: self.token_file.display().to_string(),
                allowed: "no file that is not read yet: set `token` to what it holds",
            });
        }
        if !self.listen.ip().is_loopback() && self.token.is_none() {
            return Err(Invalid {
                field: "listen",
                value: self.listen.to_string(),
                allowed: "a loopback address such as 127.0.0.1:6060, or any address when `token` \
                          is set",
            });
        }
        if !self.console_listen.ip().is_loopback() && self.console != ConsoleMode::Off {
            return Err(Invalid {
                field: "console_listen",
                value: self.console_listen.to_string(),
                allowed: "a loopback address such as 127.0.0.1:6669 (the console has no \
                          authentication; reach it through an SSH tunnel)",
            });
        }
        if self.named_per_second > Self::MAX_NAMED_PER_SECOND {
            return Err(Invalid {
                field: "named_per_second",
                value: self.named_per_second.to_string(),
                allowed: "0 to 1000",
            });
        }
        if !(1..=Self::MAX_HANDLERS).contains(&self.max_handlers) {
            return Err(Invalid {
                field: "max_handlers",
                value: self.max_handlers.to_string(),
                allowed: "1 to 10000",
            });
        }
        if !THRESHOLD.contains(&self.threshold) {
            return Err(Invalid {
                field: "threshold",
                value: format!("{:?}", self.threshold),
                allowed: "1 ms to 10 s",
            });
        }
        if !(1..=Self::MAX_STALLS).contains(&self.max_stalls) {
            return Err(Invalid {
                field: "max_stalls",
                value: self.max_stalls.to_string(),
                allowed: "1 to 10000",
            });
        }
        if self.folder.as_os_str().is_empty() {
            return Err(Invalid {
                field: "folder",
                value: String::new(),
                allowed: "path of a folder, such as `.`",
            });
        }
        if !(1..=Self::MAX_CAPTURES).contains(&self.max_captures) {
            return Err(Invalid {
                field: "max_captures",
                value: self.max_captures.to_string(),
                allowed: "1 to 10000",
            });
        }
        Ok(())
    }
}

impl Token {
    /// Least length of a token where the listener is not on loopback.
    const LEAST: usize = 16;
    /// Stands for a token that is not shown.
    const SHOWN: &str = "(set)";

    /// A token; an empty text is none.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// Whether no token is set.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks that it is a secret, and hard to guess for an attacker who can reach the listener.
    fn validate(&self, is_loopback: bool) -> Result<(), Invalid> {
        let allowed = if self.0 == Self::SHOWN {
            "the token itself; `(set)` stands for a token that is not shown"
        } else if !self.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            "visible ASCII characters, without spaces"
        } else if !self.is_none() && !is_loopback && self.len() < Self::LEAST {
            "at least 16 characters where `listen` is not loopback, such as from `openssl rand -hex 16`"
        } else {
            return Ok(());
        };
        Err(Invalid { field: "token", value: Self::SHOWN.to_owned(), allowed })
    }

    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Compares in a time that does not depend on where the two differ.
    pub fn matches(&self, candidate: &str) -> bool {
        !self.is_none() && bool::from(self.0.as_bytes().ct_eq(candidate.as_bytes()))
    }

    /// The secret itself, for whoever must show it at a door.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn shown(&self) -> &'static str {
        if self.is_none() { "" } else { Self::SHOWN }
    }
}

impl From<String> for Token {
    fn from(token: String) -> Self {
        Self(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_address_needs_a_token() {
        let open = Config { listen: ([0, 0, 0, 0], 6060).into(), ..Config::default() };
        assert_eq!(open.validate().expect_err("no token").field, "listen");
        let guarded = Config { token: Token::new("0123456789abcdef"), ..open };
        assert_eq!(guarded.validate(), Ok(()));
    }

    #[test]
    fn token_is_a_secret_and_long_off_loopback() {
        let local = |token: &str| Config { token: Token::new(token), ..Config::default() };
        let open = |token: &str| Config { listen: ([0, 0, 0, 0], 6060).into(), ..local(token) };
        for (config, said) in [
            (local("(set)"), "`(set)` stands for a token that is not shown"),
            (open("(set)"), "`(set)` stands for a token that is not shown"),
            (local("…"), "visible ASCII"),
            (local("a secret"), "visible ASCII"),
            (open("0123456789abcde"), "at least 16 characters"),
        ] {
            let error = config.validate().expect_err(said);
            assert_eq!(error.field, "token");
            assert!(error.to_string().contains(said), "{error}");
        }
        assert_eq!(local("short").validate(), Ok(()));
    }

    #[test]
    fn the_console_stays_on_loopback() {
        let open = Config { console_listen: ([0, 0, 0, 0], 6669).into(), ..Config::default() };
        assert_eq!(open.validate().expect_err("open").field, "console_listen");
        let off = Config { console: ConsoleMode::Off, ..open };
        assert_eq!(off.validate(), Ok(()));
    }

    #[test]
    fn requests_in_the_console_have_a_bound() {
        for (named_per_second, is_allowed) in [(0, true), (1_000, true), (1_001, false)] {
            let config = Config { named_per_second, ..Config::default() };
            let error = config.validate().err().map(|error| error.to_string());
            let refused = "named_per_second: `1001` is not allowed: 0 to 1000";
            assert_eq!(error, (!is_allowed).then(|| refused.to_owned()));
        }
    }

    #[test]
    fn a_threshold_has_bounds() {
        for (ms, is_allowed) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
            let config = Config { threshold: Duration::from_millis(ms), ..Config::default() };
            assert_eq!(config.validate().is_ok(), is_allowed, "{ms} ms");
        }
        let none = Config { max_stalls: 0, ..Config::default() };
        assert_eq!(none.validate().expect_err("none").field, "max_stalls");
    }

    #[test]
    fn captures_have_a_folder_and_a_bound() {
        for (max_captures, is_allowed) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
            let config = Config { max_captures, ..Config::default() };
            assert_eq!(config.validate().is_ok(), is_allowed, "{max_captures}");
        }
        let nowhere = Config { folder: PathBuf::new(), ..Config::default() };
        assert_eq!(nowhere.validate().expect_err("nowhere").field, "folder");
    }

    #[test]
    fn a_token_is_never_printed() {
        let config = Config { token: Token::new("hunter2"), ..Config::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).expect("serializes").contains("hunter2"));
        assert!(config.token.matches("hunter2"));
        assert!(!config.token.matches("hunter"));
        assert!(!Token::default().matches(""));
    }
}
