//! A connection to the authorization server that awc cannot misread, above TLS and below awc.
//!
//! No byte of one response is read as part of another: interim responses are skipped, the framing of a body is awc's
//! only choice (see `head.rs`), and a connection on which anything else arrived is not used again.

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

/// Interim heads and the final one together.
const MAX_HEAD: usize = 64 * 1024;
const CUT_SHORT: &str = "the response was cut short";

/// The bytes of HTTP.
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

/// Whether nothing waits to be read: no bytes, no end, no error.
fn is_silent(socket: &TcpStream) -> bool {
    let peeked = socket2::SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The server answers, but not as HTTP is spoken.
fn broken(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// One connection, which serves one request after the other.
pub(crate) struct Connection {
    stream: Stream,
    state: ConnectionState,
    /// Bytes of a head that is not complete.
    incoming: BytesMut,
    /// A rewritten head, and the bytes that came with it.
    outgoing: BytesMut,
}

enum ConnectionState {
    /// No request was sent yet.
    New,
    /// The response is complete: the connection may be used again if nothing more arrives.
    Complete,
    /// A request is sent, or its response is awaited.
    Head {
        answers_head_request: bool,
        interim: usize,
    },
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    /// 101: what follows is no HTTP, and awc does not use the connection again.
    Upgraded,
    /// Not to be used again.
    Spent,
}

impl Connection {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, state: ConnectionState::New, incoming: BytesMut::new(), outgoing: BytesMut::new() }
    }

    /// Whether a request may be sent. A look into the kernel, since awc's own look sees only what the runtime has been
    /// told: on a busy thread that may be long ago.
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

    /// Reads on until the final head is complete.
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
                // However it ended: the connection is dead, and nothing was said on it.
                (Err(error), _) if nothing_came => {
                    return Poll::Ready(Err(io::Error::new(ErrorKind::ConnectionReset, error)));
                }
                // awc takes this for a closed connection, as it is.
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
                // awc checks whether the connection is alive. If anything arrived, it is closed or cannot be trusted, and
                // awc must not take it. The kernel may know of bytes that the runtime does not know of yet.
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
