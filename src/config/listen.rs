//! The address of the API, and permissions of its socket.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Begins the path of a socket.
const UNIX: &str = "unix:";

/// An address of TCP, or the path of a socket.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// A port.
    Tcp(SocketAddr),
    /// A socket in the file system, written `unix:/path`.
    Unix(PathBuf),
}

/// Octal permissions of a file, such as `0660`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mode(pub u32);

impl Listen {
    /// The address, if it is one of TCP.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Checks that the folder of a socket is there. An error says what is allowed.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Unix(path) if !path.parent().is_some_and(Path::is_dir) => {
                Err("the path of a socket in a folder that exists")
            }
            _ => Ok(()),
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl TryFrom<String> for Listen {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(path) = text.strip_prefix(UNIX).filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "an address and a port of 0 to 65535: \"127.0.0.1:8080\", or the absolute path of a \
             socket: \"unix:/run/thermograph.sock\""
        })
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl TryFrom<String> for Mode {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or("permissions in octal, in quotes, \"0000\" to \"0777\"")
    }
}

impl From<Mode> for String {
    fn from(Mode(mode): Mode) -> Self {
        format!("{mode:04o}")
    }
}
