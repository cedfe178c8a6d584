//! When the kernel received what is read from a socket.
//!
//! The kernel stamps incoming segments where a socket has `SO_TIMESTAMPNS` (socket(7)) and hands the
//! stamp of the last segment out with `recvmsg`, as ancillary data. An accepted socket inherits the
//! option from its listening socket, so that what arrives before it is accepted is stamped, too.

use std::{
    io,
    mem::{self, MaybeUninit},
    os::fd::{AsFd, AsRawFd as _},
    ptr,
    time::Duration,
};

use bytes::BufMut;

/// Bytes of ancillary data: one stamp takes 32, and what else an app has switched on is dropped by
/// the kernel where it does not fit.
const CONTROL: usize = 128;

/// Room for ancillary data, aligned as its headers are.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [MaybeUninit<u8>; CONTROL],
}

/// Has the kernel stamp what the socket, or a socket that is accepted from it, receives.
pub fn stamp(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads one `c_int` from a
    // pointer to one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads into `buffer` without waiting: the number of bytes, and when the last of them was received,
/// as time since the epoch by `CLOCK_REALTIME`; `None` if the kernel did not stamp it.
pub fn receive(
    socket: impl AsFd,
    buffer: &mut impl BufMut,
) -> io::Result<(usize, Option<Duration>)> {
    let room = buffer.chunk_mut();
    let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let mut control = Control { bytes: [MaybeUninit::uninit(); CONTROL] };
    // SAFETY: a `msghdr` is integers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    // The type differs between C libraries.
    message.msg_controllen = CONTROL as _;
    // SAFETY: the descriptor is open while it is borrowed; the message points to `room` and
    // `control`, which outlive the call, with their lengths.
    let read =
        unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let Ok(read) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has written `read` bytes, which `room` had place for.
    unsafe { buffer.advance_mut(read) };
    Ok((read, stamp_of(&message)))
}

/// The stamp among a message's ancillary data.
fn stamp_of(message: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the kernel has filled in the message, whose ancillary data is aligned and still there.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the macros give null or a header that is whole within the ancillary data; behind
        // one of this type stands a `timespec`, read as if unaligned.
        let time = unsafe {
            let is_stamp = (*header).cmsg_level == libc::SOL_SOCKET
                && (*header).cmsg_type == libc::SCM_TIMESTAMPNS;
            is_stamp.then(|| ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::timespec>()))
        };
        if let Some(time) = time {
            let seconds = u64::try_from(time.tv_sec).ok()?;
            return Some(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?));
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        thread,
        time::SystemTime,
    };

    use super::*;

    /// What a socket that waits to be accepted for so long receives: how long before it was read
    /// that was stamped.
    fn age_of_stamp(listener: &TcpListener, wait: Duration) -> Option<Duration> {
        let mut client = TcpStream::connect(listener.local_addr().expect("bound")).expect("there");
        client.write_all(b"hello").expect("sent");
        thread::sleep(wait);
        let (server, _) = listener.accept().expect("accepted");
        let mut buffer = Vec::with_capacity(64);
        let (read, stamp) = receive(&server, &mut buffer).expect("read");
        assert_eq!((read, &*buffer), (5, &b"hello"[..]));
        let error = receive(&server, &mut buffer).expect_err("nothing more");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Some(now.checked_sub(stamp?).expect("received before it was read"))
    }

    #[test]
    fn stamp_of_a_socket_not_yet_accepted_tells_when_bytes_arrived() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        stamp(&listener).expect("an option of Linux");
        // The kernel begins to stamp a moment after the first socket of the machine asks for it:
        // `net_enable_timestamp` of net/core/dev.c leaves that to a work queue.
        let begun = (0..500).any(|_| age_of_stamp(&listener, Duration::from_millis(5)).is_some());
        assert!(begun, "nothing is stamped");
        let wait = Duration::from_millis(50);
        let age = age_of_stamp(&listener, wait).expect("stamped");
        assert!(age >= wait, "{age:?}");
    }
}
