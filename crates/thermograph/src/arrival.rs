//! When a request's bytes arrived, for latency that begins there.
//!
//! While a worker is held, nobody reads sockets: a layer sees a request only once its connection is
//! polled, after the wait that the client complains of. A [`TimedListener`] has the kernel stamp what
//! it receives (`SO_TIMESTAMPNS`), and the layer counts from that stamp:
//!
//! ```no_run
//! # use axum::Router;
//! # use thermograph::Thermograph;
//! # async fn serve(thermograph: Thermograph, app: Router) -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(thermograph.listener(listener), app.layer(thermograph.layer())).await
//! # }
//! ```
//!
//! For `ConnectInfo<SocketAddr>`, add [`tap_io`](axum::serve::ListenerExt::tap_io): axum implements
//! it for the listener that this gives. An accept loop of your own takes streams from
//! [`TimedListener::accept`]; TLS goes on top of them.
//!
//! # How a request finds its stamp
//!
//! Each time that a connection's task reads, its stream notes on the thread which task it is and
//! when its newest bytes arrived. The layer takes the note where the same task calls it. So a body
//! that comes later does not count, a second request that was read with the first has no stamp of
//! its own, and a request that runs in another task than its connection, as with HTTP/2, has none:
//! such requests count from their first poll. The stamp is of the last segment that was read at
//! once: of a head that came in pieces it is the last piece.
//!
//! Elsewhere than on Linux (x86-64 and aarch64), and where the kernel refuses the option, streams
//! are passed through, and latency counts from the first poll.

mod listener;
mod note;
mod stream;

pub(crate) use self::note::{Arrived, take};
pub use self::{listener::TimedListener, stream::TimedStream};
