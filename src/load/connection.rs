//! One connection of the driver.

use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Address, failure::Failure};

/// Most of an error's body that is kept to be shown.
const SHOWN: usize = 300;

/// A connection that is kept alive; opened again when the service has closed it.
#[derive(Debug)]
pub(crate) struct Connection {
    address: Address,
    open: Option<Open>,
}

/// An open connection; dropped, it is closed.
#[derive(Debug)]
struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    pub(crate) fn new(address: Address) -> Self {
        Self { address, open: None }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// Not cancel-safe: after a cancelled exchange call [`close`](Self::close), since what is left
    /// of the old answer would be taken for the next one.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        let done = match self.send(request).await {
            Ok(response) => read(response).await,
            Err(failure) => Err(failure),
        };
        if matches!(done, Err(Failure::Closed(_) | Failure::Body(_))) {
            self.close();
        }
        done
    }

    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => Open::new(&self.address).await?,
        };
        // The service may have closed it while it was idle: that is no failed request.
        if open.sender.ready().await.is_err() {
            open = Open::new(&self.address).await?;
        }
        let sent = match open.sender.try_send_request(request).await {
            Ok(response) => Ok(response),
            Err(error) => open.again(error, &self.address).await,
        };
        self.open = Some(open);
        sent
    }
}

impl Open {
    async fn new(address: &Address) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address.sockets()).await?;
        stream.set_nodelay(true)?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // Its error is the request's too, where there is one.
            let _ended = connection.await;
        });
        Ok(Self { sender, _driver: AbortOnDropHandle::new(driver) })
    }

    /// On a new connection, once, a request of which the old one had not sent a byte.
    async fn again(
        &mut self,
        mut error: TrySendError<Request<Full<Bytes>>>,
        address: &Address,
    ) -> Result<Response<Incoming>, Failure> {
        let Some(request) = error.take_message() else {
            return Err(Failure::Closed(error.into_error()));
        };
        *self = Self::new(address).await?;
        self.sender.send_request(request).await.map_err(Failure::Closed)
    }
}

/// Reads the body to its end; keeps the beginning of one that says what went wrong.
async fn read(mut response: Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    let good = status.is_success() || status.is_redirection();
    let mut shown = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        let frame = frame.map_err(Failure::Body)?;
        if let (false, Some(data)) = (good, frame.data_ref()) {
            let room = SHOWN.saturating_sub(shown.len()).min(data.len());
            shown.extend_from_slice(&data[..room]);
        }
    }
    if good {
        return Ok(());
    }
    Err(Failure::Status(status, String::from_utf8_lossy(&shown).trim().to_owned()))
}
