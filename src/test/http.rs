//! A small HTTP/1.1 server that can violate the protocol on request.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::test::{endpoint::RecordedRequest, fault::Delivery};

const MAX_HEAD: usize = 64 * 1024;
const MAX_BODY: usize = 1024 * 1024;

/// A response before it is sent. The length is added when it is written.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }
            .with("Content-Type", "application/json")
            .with("Cache-Control", "no-store")
    }

    /// Replaces or adds a header.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(one, _)| !one.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(one, _)| one.eq_ignore_ascii_case(name))
    }

    /// Writes the status line and the headers. `length` is announced unless the status forbids it or a fault set
    /// the framing.
    fn head(&self, length: usize, close: bool) -> Vec<u8> {
        let mut lines = vec![format!("HTTP/1.1 {} ", self.status)];
        lines.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if !self.has("content-length") && !self.has("transfer-encoding") && !self.is_bodiless() {
            lines.push(format!("Content-Length: {length}"));
        }
        if close {
            lines.push("Connection: close".to_owned());
        }
        lines.push("\r\n".to_owned());
        lines.join("\r\n").into_bytes()
    }

    fn is_bodiless(&self) -> bool {
        matches!(self.status, 100..=199 | 204 | 304)
    }
}

/// The reason why no request was read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The peer closed the connection, or the connection broke.
    Closed,
    /// Respond with this status and close the connection.
    Refused(u16),
}

impl From<io::Error> for Unreadable {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Reads one request. Surplus bytes stay in `buffer` for the next one.
pub(super) async fn read_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Result<RecordedRequest, Unreadable> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > MAX_HEAD {
            return Err(Unreadable::Refused(431));
        }
        read_more(stream, buffer).await?;
    };
    let rest = buffer.split_off(end);
    let head = std::mem::replace(buffer, rest);
    let mut request = parse_head(&head).ok_or(Unreadable::Refused(400))?;
    let length = body_length(&request).map_err(Unreadable::Refused)?;
    while buffer.len() < length {
        read_more(stream, buffer).await?;
    }
    let rest = buffer.split_off(length);
    request.body = std::mem::replace(buffer, rest);
    Ok(request)
}

async fn read_more<S: AsyncRead + Unpin>(stream: &mut S, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
    if stream.read_buf(buffer).await? == 0 { Err(Unreadable::Closed) } else { Ok(()) }
}

fn parse_head(head: &[u8]) -> Option<RecordedRequest> {
    let mut lines = std::str::from_utf8(head).ok()?.trim_end().split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    if first.next().is_some() || !target.starts_with('/') || version != "HTTP/1.1" {
        return None;
    }
    let headers = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
        .collect::<Option<_>>()?;
    Some(RecordedRequest { method: method.to_owned(), target: target.to_owned(), headers, body: Vec::new() })
}

/// Chunked requests are rejected (411); no test sends one.
fn body_length(request: &RecordedRequest) -> Result<usize, u16> {
    if request.header("transfer-encoding").is_some() {
        return Err(411);
    }
    match request.header("content-length").map(str::parse::<usize>) {
        None => Ok(0),
        Some(Ok(length)) if length <= MAX_BODY => Ok(length),
        Some(Ok(_)) => Err(413),
        Some(Err(_)) => Err(400),
    }
}

/// Sends the response as the fault requires. Returns `false` if the connection must be closed.
pub(super) async fn write_response<S: AsyncWrite + Unpin>(
    stream: &mut S,
    response: &Response,
    delivery: Delivery,
    close: bool,
) -> io::Result<bool> {
    let body = if response.is_bodiless() { &[][..] } else { &response.body };
    match delivery {
        Delivery::Reset | Delivery::Close => return Ok(false),
        Delivery::Truncate => {
            let (sent, _) = body.split_at(body.len() / 2);
            stream.write_all(&response.head(body.len().max(2), close)).await?;
            stream.write_all(sent).await?;
        }
        Delivery::Trickle(pause) => {
            stream.write_all(&response.head(body.len(), close)).await?;
            trickle(stream, body, pause).await?;
        }
        Delivery::Whole => {
            let mut bytes = response.head(body.len(), close);
            bytes.extend_from_slice(body);
            stream.write_all(&bytes).await?;
        }
    }
    stream.flush().await?;
    // With a length set by a fault, the start of the next response would be ambiguous.
    Ok(delivery != Delivery::Truncate && !close && !response.has("content-length"))
}

async fn trickle<S: AsyncWrite + Unpin>(stream: &mut S, body: &[u8], pause: Duration) -> io::Result<()> {
    for byte in body {
        stream.flush().await?;
        tokio::time::sleep(pause).await;
        stream.write_all(&[*byte]).await?;
    }
    Ok(())
}
