//! Sockets of the standard library, and the resolver.

use std::{
    hint::black_box,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    sync::LazyLock,
};

use super::{ILLNESS, files::scratch, later, resolver::NameServer, system::shorten_backlog};
use crate::specimen::{Specimen, blocked};

pub(super) fn all() -> Vec<Specimen> {
    let receive = &["recvfrom", "read"];
    vec![
        blocked(tcp_read, receive),
        blocked(tcp_read_timeout, receive),
        blocked(tcp_write, &["sendto", "write"]),
        blocked(tcp_accept, &["accept4", "accept"]),
        blocked(tcp_connect_timeout, &["poll", "ppoll"]),
        blocked(http_get, receive),
        blocked(udp_recv, &["recvfrom"]),
        blocked(udp_recv_timeout, &["recvfrom"]),
        blocked(unix_read, receive),
        blocked(unix_accept, &["accept4", "accept"]),
        blocked(unix_datagram, &["recvfrom"]),
        blocked(getaddrinfo, &["poll", "ppoll"]),
    ]
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound")
}

fn connect(listener: &TcpListener) -> TcpStream {
    TcpStream::connect(listener.local_addr().expect("an address")).expect("connected")
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = listener();
    let one = connect(&listener);
    let (other, _) = listener.accept().expect("accepted");
    other.set_nodelay(true).expect("set");
    (one, other)
}

#[inline(never)]
pub(super) fn tcp_read() {
    let (mut ours, mut theirs) = connected();
    later(move || theirs.write_all(b"x").expect("written"));
    ours.read_exact(&mut [0]).expect("read");
    black_box(());
}

#[inline(never)]
fn tcp_read_timeout() {
    let (mut ours, _theirs) = connected();
    ours.set_read_timeout(Some(ILLNESS)).expect("set");
    black_box(ours.read(&mut [0]).is_ok());
}

#[inline(never)]
fn tcp_write() {
    let (mut ours, mut theirs) = connected();
    // As much as the buffers hold.
    ours.set_nonblocking(true).expect("set");
    while ours.write(&[b'x'; 16_384]).is_ok() {}
    ours.set_nonblocking(false).expect("set");
    later(move || {
        let mut buffer = vec![0; 1 << 20];
        while theirs.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    ours.write_all(b"one more").expect("written");
    black_box(());
}

#[inline(never)]
fn tcp_accept() {
    let listener = listener();
    let address = listener.local_addr().expect("an address");
    later(move || drop(TcpStream::connect(address)));
    black_box(listener.accept().is_ok());
}

#[inline(never)]
fn tcp_connect_timeout() {
    let listener = listener();
    shorten_backlog(&listener);
    let _taken = connect(&listener);
    let address = listener.local_addr().expect("an address");
    // Nobody answers, since there is no room for another one.
    let _also_taken = TcpStream::connect_timeout(&address, ILLNESS);
    black_box(());
}

/// A client that waits for a slow server's answer, line by line.
#[inline(never)]
fn http_get() {
    let (mut ours, theirs) = connected();
    later(move || {
        let mut theirs = BufReader::new(theirs);
        let mut line = String::new();
        theirs.read_line(&mut line).expect("a request");
        theirs.get_mut().write_all(b"HTTP/1.0 204 No Content\r\n\r\n").expect("written");
    });
    ours.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("written");
    let lines = BufReader::new(ours).lines();
    black_box(lines.map_while(Result::ok).count());
}

fn datagrams() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound")
}

#[inline(never)]
fn udp_recv() {
    let (ours, theirs) = (datagrams(), datagrams());
    let address = ours.local_addr().expect("an address");
    later(move || {
        theirs.send_to(b"x", address).expect("sent");
    });
    black_box(ours.recv(&mut [0]).is_ok());
}

#[inline(never)]
fn udp_recv_timeout() {
    let ours = datagrams();
    ours.set_read_timeout(Some(ILLNESS)).expect("set");
    black_box(ours.recv_from(&mut [0]).is_ok());
}

#[inline(never)]
fn unix_read() {
    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
    later(move || theirs.write_all(b"x").expect("written"));
    ours.read_exact(&mut [0]).expect("read");
    black_box(());
}

#[inline(never)]
fn unix_accept() {
    let path = scratch("socket");
    let listener = UnixListener::bind(&path).expect("bound");
    let theirs = path.clone();
    later(move || drop(UnixStream::connect(theirs)));
    black_box(listener.accept().is_ok());
    std::fs::remove_file(path).expect("removed");
}

#[inline(never)]
fn unix_datagram() {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair");
    later(move || {
        theirs.send(b"x").expect("sent");
    });
    black_box(ours.recv(&mut [0]).is_ok());
}

#[inline(never)]
fn getaddrinfo() {
    static SERVER: LazyLock<NameServer> = LazyLock::new(|| NameServer::start(ILLNESS));
    SERVER.resolve("nowhere.invalid");
    black_box(());
}
