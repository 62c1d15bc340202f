//! A transmitter that misbehaves when it is polled.

use std::{
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_web::rt::{self, task::JoinHandle};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The response to every poll.
#[derive(Clone)]
pub(super) enum Misbehaviour {
    /// This body.
    Body(Rc<[u8]>),
    /// Bytes that are no HTTP.
    Garbage,
    /// A body of any length, in chunks.
    Endless,
    /// A body of 1 GiB with its length.
    Huge,
    /// A byte now and then.
    Slow,
    /// Nothing.
    Silent,
    /// The connection is closed.
    Closed,
}

pub(super) struct Transmitter {
    pub(super) endpoint: String,
    polls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Transmitter {
    pub(super) async fn start(misbehaviour: Misbehaviour) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let polls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&polls);
        let task = rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (misbehaviour, count) = (misbehaviour.clone(), Arc::clone(&count));
                // The client closes connections at any time.
                rt::spawn(async move { respond(stream, &misbehaviour, &count).await.ok() });
            }
        });
        Self { endpoint: format!("http://{address}/poll"), polls, task }
    }

    /// The number of polls so far.
    pub(super) fn polls(&self) -> usize {
        self.polls.load(Ordering::SeqCst)
    }
}

impl Drop for Transmitter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn respond(mut stream: TcpStream, misbehaviour: &Misbehaviour, polls: &AtomicUsize) -> io::Result<()> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    loop {
        read_poll(&mut stream).await?;
        polls.fetch_add(1, Ordering::SeqCst);
        match misbehaviour {
            Misbehaviour::Body(body) => {
                stream.write_all(format!("{HEAD}Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
                stream.write_all(body).await?;
            }
            Misbehaviour::Garbage => {
                stream.write_all(b"\0\r\n\r\n{]").await?;
                return Ok(());
            }
            Misbehaviour::Endless => {
                let chunk = format!("4000\r\n{}\r\n", "a".repeat(0x4000));
                stream.write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await?;
                stream.write_all(b"9\r\n{\"sets\":\"\r\n").await?;
                loop {
                    stream.write_all(chunk.as_bytes()).await?;
                }
            }
            Misbehaviour::Huge => {
                stream.write_all(format!("{HEAD}Content-Length: {}\r\n\r\n", 1 << 30).as_bytes()).await?;
                loop {
                    stream.write_all(&[b' '; 0x4000]).await?;
                }
            }
            Misbehaviour::Slow => {
                stream.write_all(format!("{HEAD}Content-Length: 100000\r\n\r\n").as_bytes()).await?;
                loop {
                    stream.write_all(b" ").await?;
                    rt::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Misbehaviour::Silent => rt::time::sleep(Duration::from_secs(3600)).await,
            Misbehaviour::Closed => return Ok(()),
        }
    }
}

/// Reads a poll with its body.
async fn read_poll(stream: &mut TcpStream) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&input);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        if body.len() >= length {
            return Ok(());
        }
    }
}
