//! The last to connect, before a listener is closed.

use tokio::net::TcpListener;

/// From now on nobody begins to connect to `listener`; who has begun may come to the end of it.
///
/// There is no moment to close a listener without this: whoever connects after the last one was
/// accepted is reset, and has mostly sent a request. The kernel drops what would begin a
/// connection instead, and its client asks again, after a second as a rule, and finds the
/// listener closed, or the next one open.
#[cfg(target_os = "linux")]
pub(super) fn refuse_new(listener: &TcpListener) {
    use libc::{BPF_ABS, BPF_B, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET};
    use socket2::{SockFilter, SockRef};

    /// Where a segment's flags are in its TCP header, with which a listener's filter begins.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const NOTHING: u32 = 0;
    const WHOLE: u32 = u32::MAX;

    let instruction = |code: u32, then, otherwise, operand| {
        SockFilter::new(code as u16, then, otherwise, operand)
    };
    let filter = [
        instruction(BPF_LD | BPF_B | BPF_ABS, 0, 0, FLAGS),
        instruction(BPF_JMP | BPF_JSET | BPF_K, 0, 1, SYN),
        instruction(BPF_RET | BPF_K, 0, 0, NOTHING),
        instruction(BPF_RET | BPF_K, 0, 0, WHOLE),
    ];
    if let Err(error) = SockRef::from(listener).attach_filter(&filter) {
        tracing::warn!(%error, "who connects in the moment the listener is closed is reset");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_new(_: &TcpListener) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        net::TcpStream,
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn who_was_connected_is_taken_and_talks_and_nobody_else_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).expect("connected");
        refuse_new(&listener);
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.expect_err("not connected").kind(), ErrorKind::TimedOut);

        let (taken, _) = listener.accept().await.expect("it waits");
        client.write_all(b"a").expect("sent");
        taken.readable().await.expect("readable");
        assert_eq!(taken.try_read(&mut [0; 2]).expect("read"), 1);
        taken.try_write(b"b").expect("sent");
        assert_eq!(client.read(&mut [0; 2]).expect("read"), 1);

        drop(listener);
        let late = TcpStream::connect(address).expect_err("closed");
        assert_eq!(late.kind(), ErrorKind::ConnectionRefused);
    }
}
