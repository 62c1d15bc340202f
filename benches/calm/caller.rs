//! A client with one kept-alive connection, as plain as can be, so that what is counted is the server's doing.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

pub(crate) struct Caller {
    address: SocketAddr,
    stream: Option<TcpStream>,
    input: Vec<u8>,
}

impl Caller {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, input: Vec::new() }
    }

    /// The status that a request with this token is answered with.
    pub(crate) async fn status(&mut self, token: &str) -> io::Result<u16> {
        self.send(&head(&format!("Authorization: Bearer {token}\r\n"))).await
    }

    pub(crate) async fn status_without_token(&mut self) -> io::Result<u16> {
        self.send(&head("")).await
    }

    /// The status of a request with this body. `headers` end with a line break each.
    pub(crate) async fn post(&mut self, path: &str, headers: &str, body: &str) -> io::Result<u16> {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: api\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.send(&(head + body)).await
    }

    async fn send(&mut self, request: &str) -> io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(self.address).await?,
        };
        stream.write_all(request.as_bytes()).await?;
        let answer = read(&mut stream, &mut self.input).await?;
        if !answer.closes {
            self.stream = Some(stream);
        }
        Ok(answer.status)
    }
}

pub(crate) fn head(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: api\r\n{headers}\r\n")
}

pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    closes: bool,
}

/// Reads one answer; its body must have a `Content-Length`, as all of this API with content have.
pub(crate) async fn read(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Answer> {
    input.clear();
    loop {
        if stream.read_buf(input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = parse(input)? {
            return Ok(answer);
        }
    }
}

/// The answer, once it is complete.
fn parse(input: &[u8]) -> io::Result<Option<Answer>> {
    let text = String::from_utf8_lossy(input);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    let header = |wanted: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let length = header("content-length").and_then(|length| length.parse().ok());
    // A response without content has no length.
    let length: usize = length.or_else(|| (status == 204).then_some(0)).ok_or_else(bad)?;
    let closes = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((body.len() >= length).then_some(Answer { status, closes }))
}
