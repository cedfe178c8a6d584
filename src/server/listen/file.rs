//! A socket in the file system, for clients and proxies on the same machine.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream as BlockingStream,
    },
    path::{Path, PathBuf},
};

use rustix::net::{RecvFlags, recv};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixSocket, UnixStream},
};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A listener whose file is removed when this is dropped.
pub(crate) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of the file: another one in its place is not ours to remove.
    id: (u64, u64),
}

impl SocketFile {
    /// Listens on `path`, with these permissions. A socket that is there and that no process listens on
    /// is replaced.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        // Clients can connect from `listen` on.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        let id = id(&fs::symlink_metadata(path)?);
        let listener = socket.listen(BACKLOG)?;
        Ok(Self { listener, path: path.to_owned(), id })
    }

    /// Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    /// Removes the file: no further client can connect.
    pub(super) fn remove(&self) {
        let is_ours = |file: Metadata| id(&file) == self.id;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the socket was not removed");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

/// Removes a socket that a process which was killed has left. Anything else stays, and is an error.
fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is there",
        ));
    }
    match BlockingStream::connect(path) {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

/// Reads what is there first, without taking it.
pub(super) async fn peek(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    let peek = || Ok(recv(stream, &mut *buffer, RecvFlags::PEEK)?.0);
    stream.async_io(Interest::READABLE, peek).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stale_socket_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let first = SocketFile::bind(&path, 0o600).expect("bound");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let error = SocketFile::bind(&path, 0o600).err().expect("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        assert!(!path.exists(), "it is removed");

        // A process that is killed leaves its socket so.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let second = SocketFile::bind(&path, 0o660).expect("replaced");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "not a socket").expect("written");
        drop(second);
        let error = SocketFile::bind(&path, 0o660).err().expect("a file");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("still there"), b"not a socket");
    }
}
