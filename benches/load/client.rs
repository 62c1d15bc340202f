//! The load: keep-alive connections that have one request under way each, served by one thread.
//!
//! It never sleeps: to wake a client costs the server several microseconds for each response, and the more of
//! them the slower it is, so that small differences between servers would look like large ones.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    thread::yield_now,
    time::{Duration, Instant},
};

const CONNECTIONS: usize = 32;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

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

    /// Keeps all connections busy for that long. Returns the number of responses.
    pub(crate) fn send(&self, port: u16, duration: Duration) -> u64 {
        let mut connections: Vec<Connection> = (0..CONNECTIONS).map(|_| Connection::open(port)).collect();
        let mut requests = self.0.iter().cycle();
        let start = Instant::now();
        let mut answered = 0;
        while connections.iter().any(|connection| connection.is_waiting) || start.elapsed() < duration {
            let before = answered;
            for connection in &mut connections {
                if connection.is_waiting && connection.has_answer() {
                    connection.is_waiting = false;
                    answered += 1;
                }
                if !connection.is_waiting && start.elapsed() < duration {
                    connection.ask(requests.next().unwrap());
                }
            }
            assert!(start.elapsed() < duration + PATIENCE, "an answer is missing");
            if answered == before {
                // For the authorization server, which runs beside.
                yield_now();
            }
        }
        answered
    }
}

struct Connection {
    stream: TcpStream,
    buffer: [u8; 2048],
    filled: usize,
    is_waiting: bool,
}

impl Connection {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, buffer: [0; 2048], filled: 0, is_waiting: false }
    }

    fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("room for a small request");
        self.filled = 0;
        self.is_waiting = true;
    }

    /// Whether the whole answer is there, which must be a 200 with a length.
    fn has_answer(&mut self) -> bool {
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => panic!("the connection broke off"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
        let Some(length) = length(&self.buffer[..self.filled]) else { return false };
        assert!(self.filled <= length, "more than one answer");
        self.filled == length
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
