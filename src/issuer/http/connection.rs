//! A connection to the authorization server between TLS and awc. It prevents awc from assigning a response to the
//! wrong request.
//!
//! No byte of one response is read as part of another. Interim responses are skipped, the head is rewritten so that
//! awc has only one way to delimit the body (see `head.rs`), and a connection on which other bytes arrived is not
//! used again.

use std::{
    fmt,
    io::{self, ErrorKind},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::{
    rt::net::{ActixStream, Ready, TcpStream},
    web::{Buf as _, BytesMut},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::issuer::http::{
    chunks::Chunks,
    head::{Body, Head},
};

/// The maximum size of the interim heads and the final head together.
const MAX_HEAD: usize = 64 * 1024;
const CUT_SHORT: &str = "the response was cut short";

/// The byte stream that carries HTTP.
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "rustls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

impl Stream {
    fn io(&mut self) -> Pin<&mut dyn Io> {
        let io: &mut dyn Io = match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "rustls")]
            Self::Tls(stream) => stream.as_mut(),
        };
        Pin::new(io)
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "rustls")]
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Returns whether the kernel has nothing to read on this socket: no bytes, no end, no error.
fn is_silent(socket: &TcpStream) -> bool {
    let peeked = socket2::SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Returns the error for a response that violates HTTP.
fn broken(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// One connection, which serves one request after another.
pub(crate) struct Connection {
    stream: Stream,
    state: ConnectionState,
    /// The bytes of a head that is not complete.
    incoming: BytesMut,
    /// A rewritten head, and the bytes that arrived with it.
    outgoing: BytesMut,
}

enum ConnectionState {
    /// No request has been sent yet.
    New,
    /// The response is complete. The connection may be used again if no further bytes arrive.
    Complete,
    /// A request is being sent, or its response is awaited.
    Head {
        answers_head_request: bool,
        interim: usize,
    },
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    /// Status 101: the following bytes are not HTTP, and awc does not use the connection again.
    Upgraded,
    /// The connection must not be used again.
    Spent,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, state: ConnectionState::New, incoming: BytesMut::new(), outgoing: BytesMut::new() }
    }

    /// Checks whether a request may be sent. The kernel is queried, because awc queries only the runtime, and on a
    /// busy thread the runtime may not have been notified yet.
    fn begin(&mut self, request: &[u8]) -> io::Result<()> {
        match self.state {
            ConnectionState::Head { .. } | ConnectionState::Upgraded => return Ok(()),
            ConnectionState::New => {}
            ConnectionState::Complete if self.outgoing.is_empty() && is_silent(self.stream.socket()) => {}
            _ => {
                self.state = ConnectionState::Spent;
                return Err(io::Error::new(
                    ErrorKind::ConnectionAborted,
                    "the kept-alive connection is no longer usable",
                ));
            }
        }
        self.state =
            ConnectionState::Head { answers_head_request: request.starts_with(b"HEAD "), interim: 0 };
        Ok(())
    }

    /// Reads until the final head is complete.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        answers_head_request: bool,
        mut interim: usize,
    ) -> Poll<io::Result<()>> {
        loop {
            match Head::read(&self.incoming, answers_head_request).map_err(broken)? {
                Some(Head::Interim { length }) => {
                    self.incoming.advance(length);
                    interim += length;
                    self.state = ConnectionState::Head { answers_head_request, interim };
                    continue;
                }
                Some(Head::Upgrade) => {
                    self.state = ConnectionState::Upgraded;
                    self.outgoing = std::mem::take(&mut self.incoming);
                    return Poll::Ready(Ok(()));
                }
                Some(Head::Final { length, body, closes, rewritten }) => {
                    self.incoming.advance(length);
                    self.outgoing = rewritten;
                    self.outgoing.extend_from_slice(&self.incoming);
                    self.state = match body {
                        Body::UntilClose => ConnectionState::UntilClose,
                        Body::Length(0) if closes => ConnectionState::Spent,
                        Body::Length(length) => ConnectionState::Length(length),
                        Body::Chunked => ConnectionState::Chunked(Chunks::START),
                    };
                    let rest = std::mem::take(&mut self.incoming);
                    self.state.account(&rest);
                    return Poll::Ready(Ok(()));
                }
                None if interim + self.incoming.len() >= MAX_HEAD => {
                    return Poll::Ready(Err(broken("the head of the response is too long")));
                }
                None => {}
            }
            let mut chunk = [MaybeUninit::uninit(); 4096];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            let read = ready!(self.stream.io().poll_read(cx, &mut chunk));
            let nothing_came = interim == 0 && self.incoming.is_empty();
            match (read, chunk.filled()) {
                // The connection is closed, and no byte of a response arrived on it. The kind of the error does not
                // matter.
                (Err(error), _) if nothing_came => {
                    return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionReset, error)));
                }
                // awc treats this as a closed connection.
                (Ok(()), []) if nothing_came => {
                    self.state = ConnectionState::Spent;
                    return Poll::Ready(Ok(()));
                }
                (Err(_), _) | (_, []) => return Poll::Ready(Err(broken(CUT_SHORT))),
                (Ok(()), bytes) => self.incoming.extend_from_slice(bytes),
            }
        }
    }
}

impl ConnectionState {
    /// Counts bytes of a body.
    fn account(&mut self, bytes: &[u8]) {
        match self {
            Self::Length(left) => match left.checked_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)) {
                Some(0) => *self = Self::Complete,
                Some(rest) => *left = rest,
                None => *self = Self::Spent,
            },
            Self::Chunked(chunks) => match chunks.after(bytes) {
                Chunks::End => *self = Self::Complete,
                Chunks::Surplus => *self = Self::Spent,
                position => *chunks = position,
            },
            _ => {}
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let ConnectionState::Head { answers_head_request, interim } = this.state {
            let read = ready!(this.poll_head(cx, answers_head_request, interim));
            if read.is_err() {
                this.state = ConnectionState::Spent;
            }
            read?;
        }
        if !this.outgoing.is_empty() {
            let length = this.outgoing.len().min(buf.remaining());
            buf.put_slice(&this.outgoing.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match this.state {
            ConnectionState::Spent => return Poll::Ready(Ok(())),
            ConnectionState::New | ConnectionState::Complete => {
                // awc checks whether the connection is alive. If anything arrived, the connection is closed or
                // cannot be trusted, and awc must not use it. The kernel may have bytes that the runtime was not
                // notified of yet.
                if this.stream.io().poll_read(cx, buf).is_pending() && is_silent(this.stream.socket()) {
                    return Poll::Pending;
                }
                buf.set_filled(before);
                this.state = ConnectionState::Spent;
                return Poll::Ready(Ok(()));
            }
            _ => ready!(this.stream.io().poll_read(cx, buf))?,
        }
        let bytes = buf.filled().get(before..).unwrap_or_default();
        if bytes.is_empty() {
            let complete = matches!(this.state, ConnectionState::UntilClose | ConnectionState::Upgraded);
            this.state = ConnectionState::Spent;
            return Poll::Ready(if complete { Ok(()) } else { Err(broken(CUT_SHORT)) });
        }
        this.state.account(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin(buf)?;
        this.stream.io().poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.io().poll_shutdown(cx)
    }
}

impl ActixStream for Connection {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(self.stream.socket(), cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(self.stream.socket(), cx)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}
