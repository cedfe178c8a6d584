//! A name server that takes its time, and the C library's resolver that asks it.

#![expect(unsafe_code, reason = "the resolver's state is the C library's")]

use std::{
    net::{Ipv4Addr, ToSocketAddrs as _, UdpSocket},
    thread,
    time::Duration,
};

/// Says of every name that there is none, after a while.
pub(crate) struct NameServer {
    port: u16,
}

impl NameServer {
    /// Runs as long as the process does.
    pub(crate) fn start(delay: Duration) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let port = socket.local_addr().expect("an address").port();
        thread::spawn(move || {
            loop {
                let mut query = [0; 512];
                let (length, from) = socket.recv_from(&mut query).expect("a query");
                let socket = socket.try_clone().expect("a socket");
                // Each by itself: the addresses of both families are asked for at once.
                thread::spawn(move || {
                    thread::sleep(delay);
                    // A response; recursion available; no such name.
                    query[2] |= 0x80;
                    query[3] = 0x83;
                    let _ = socket.send_to(&query[..length], from);
                });
            }
        });
        Self { port }
    }

    /// Asks the C library, which asks this server.
    pub(crate) fn resolve(&self, name: &str) {
        use_name_server(self.port);
        assert!((name, 80).to_socket_addrs().is_err(), "{name} exists");
    }
}

/// `struct __res_state` of glibc, as far as it is needed.
#[repr(C)]
struct ResolverState {
    retransmit_seconds: i32,
    retries: i32,
    options: u64,
    servers: i32,
    server: [libc::sockaddr_in; 3],
    id: u16,
}

unsafe extern "C" {
    fn __res_init() -> i32;
    fn __res_state() -> *mut ResolverState;
}

/// Makes the resolver of this thread ask a server on this machine.
fn use_name_server(port: u16) {
    // SAFETY: glibc keeps a state for each thread, and lets programs change it.
    let state = unsafe {
        assert_eq!(__res_init(), 0);
        &mut *__res_state()
    };
    state.servers = 1;
    state.server[0] = libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).expect("a family"),
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
}
