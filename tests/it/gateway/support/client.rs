//! A client with one connection, of which there can be thousands.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::Reply;

/// A connection that is kept, and made again where it was closed. Dropped, it is closed at once,
/// whatever is on its way.
pub(crate) struct Client {
    address: SocketAddr,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, open: None }
    }

    /// Posts JSON, and gives the answer when its head is there.
    pub(crate) async fn begin(
        &mut self,
        path: &str,
        body: &Value,
    ) -> hyper::Result<Response<Incoming>> {
        let request = Request::post(path)
            .header(header::HOST, "gateway")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))
            .expect("a request");
        self.send(request).await
    }

    /// Posts JSON, and reads the answer to its end.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Reply {
        Reply::read(self.begin(path, body).await).await
    }

    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        if let Some(open) = &mut self.open
            && open.sender.ready().await.is_err()
        {
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(connect(self.address).await?),
        };
        open.sender.send_request(request).await
    }
}

async fn connect(address: SocketAddr) -> hyper::Result<Open> {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(async {
        // Whoever waits for an answer is told of an error.
        let _ = connection.await;
    });
    Ok(Open { sender, _driver: AbortOnDropHandle::new(driver) })
}
