//! The load: keep-alive connections that have one request under way each, served in turn by one thread.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 32;

/// Requests as bytes, sent in rotation.
pub(crate) struct Requests(Vec<Vec<u8>>);

impl Requests {
    pub(crate) fn new(path: &str, tokens: &[String]) -> Self {
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        let with = |token| format!("{head}Authorization: Bearer {token}\r\n\r\n").into_bytes();
        if tokens.is_empty() {
            return Self(vec![format!("{head}\r\n").into_bytes()]);
        }
        Self(tokens.iter().map(with).collect())
    }

    /// Keeps all connections busy for that long; tells how many requests were answered.
    pub(crate) fn send(&self, port: u16, duration: Duration) -> u64 {
        let connect = |_| {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream
        };
        let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(connect).collect();
        let mut requests = self.0.iter().cycle();
        let mut send = |stream: &mut TcpStream| stream.write_all(requests.next().unwrap()).unwrap();
        let (end, mut answered) = (Instant::now() + duration, 0);
        streams.iter_mut().for_each(&mut send);
        while Instant::now() < end {
            for stream in &mut streams {
                receive(stream);
                send(stream);
            }
            answered += u64::try_from(CONNECTIONS).unwrap();
        }
        streams.iter_mut().for_each(receive);
        answered + u64::try_from(CONNECTIONS).unwrap()
    }
}

/// One answer, which must be a 200 with a length.
fn receive(stream: &mut TcpStream) {
    let (mut buffer, mut filled) = ([0; 2048], 0);
    loop {
        let read = stream.read(&mut buffer[filled..]).expect("an answer in time");
        assert_ne!(read, 0, "the connection broke off");
        filled += read;
        if let Some(length) = length(&buffer[..filled])
            && filled >= length
        {
            assert_eq!(filled, length, "more than one answer");
            return;
        }
    }
}

/// How long the whole answer is, once its head is there.
fn length(received: &[u8]) -> Option<usize> {
    let head_end = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&received[..head_end]).expect("ASCII");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let lower = head.to_ascii_lowercase();
    let value = lower.split("content-length:").nth(1).expect("a length");
    let body: usize = value.split("\r\n").next().unwrap().trim().parse().expect("a number");
    Some(head_end + body)
}
