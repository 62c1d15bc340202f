//! A tunnel through an HTTP proxy (`CONNECT`, RFC 9110 section 9.3.6). The proxy sees the host and the port of the server.

use std::{error::Error, fmt, future::Future, io, time::Duration};

use actix_tls::connect::ConnectError;
use actix_web::{http::Uri, rt::net::TcpStream};
use zeroize::Zeroizing;

use crate::{
    deadline::Deadline,
    error::{AuthError, SetupFault, UpstreamFault},
    issuer::http::Reuse,
    settings::Proxy,
};

/// The longest time from the connection to the proxy to the end of its response. The client stops a connection after 5 s, and
/// its error would not name the proxy.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The maximum size of the responses of a proxy, and of the headers in one.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// The failure of a proxy, with its URL.
#[derive(Debug)]
pub(super) struct ProxyError {
    text: String,
    kind: ProxyErrorKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyErrorKind {
    /// There is no tunnel to the server.
    Unreachable,
    TimedOut,
    /// The proxy requires credentials, or rejects the configured ones. Or there are none that can be sent.
    Credentials,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for ProxyError {}

impl ProxyError {
    fn new(proxy: &Proxy, kind: ProxyErrorKind, problem: impl fmt::Display) -> Self {
        Self { text: format!("the proxy {} {problem}", proxy.url), kind }
    }

    /// Returns the error of the call.
    pub(super) fn to_error(&self, reuse: Reuse) -> AuthError {
        let fault = match self.kind {
            ProxyErrorKind::Credentials => {
                return AuthError::setup(SetupFault::Proxy).with_source(self.to_string());
            }
            ProxyErrorKind::TimedOut => UpstreamFault::TimedOut,
            ProxyErrorKind::Unreachable => UpstreamFault::Unreachable,
        };
        let error = AuthError::upstream(fault).with_source(self.to_string());
        if reuse == Reuse::Allowed { error.before_sending() } else { error }
    }

    /// Returns the failure of a proxy, if the cause of a failed connection is one.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Opens a tunnel to the server of this URL, over a connection to the proxy.
pub(super) async fn tunnel(
    connecting: impl Future<Output = Result<TcpStream, ConnectError>>,
    proxy: &Proxy,
    uri: &Uri,
) -> io::Result<TcpStream> {
    let fail = |kind, problem: &dyn fmt::Display| ProxyError::new(proxy, kind, problem);
    let unreachable = |problem: &dyn fmt::Display| fail(ProxyErrorKind::Unreachable, problem);
    let exchange = async {
        let stream =
            connecting.await.map_err(|error| unreachable(&format!("is unreachable: {}", cause(&error))))?;
        let request = request(proxy, uri)
            .map_err(|problem| fail(ProxyErrorKind::Credentials, &format!("cannot be used: {problem}")))?;
        write(&stream, request.as_bytes())
            .await
            .map_err(|error| unreachable(&format!("closed the connection: {error}")))?;
        match read_status(&stream).await.map_err(|problem| unreachable(&problem))? {
            200..=299 => Ok(stream),
            // Some proxies respond with 401 (tinyproxy). The server is not reached yet, so it is not its response.
            status @ (401 | 407) if proxy.credentials.is_some() => {
                let problem = format!("rejected the configured credentials (status {status})");
                Err(fail(ProxyErrorKind::Credentials, &problem))
            }
            status @ (401 | 407) => {
                let problem = format!("requires credentials, and none are configured (status {status})");
                Err(fail(ProxyErrorKind::Credentials, &problem))
            }
            status => {
                Err(unreachable(&format!("rejected the connection to the server with status {status}")))
            }
        }
    };
    let outcome = Deadline::after(TIMEOUT).wait(exchange).await;
    outcome
        .unwrap_or_else(|| {
            Err(fail(ProxyErrorKind::TimedOut, &format!("did not open a tunnel within {TIMEOUT:?}")))
        })
        .map_err(io::Error::other)
}

/// Returns the text of the innermost cause.
fn cause(error: &ConnectError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn request(proxy: &Proxy, uri: &Uri) -> Result<Zeroizing<String>, String> {
    let default_port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    let authority = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(default_port));
    let mut request = Zeroizing::new(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n"));
    if let Some(credentials) = &proxy.credentials {
        let header = credentials.header()?;
        // One buffer, so that no copy of the credentials is left behind.
        let mut with_credentials = Zeroizing::new(String::with_capacity(request.len() + header.len() + 32));
        with_credentials.push_str(&request);
        with_credentials.push_str("Proxy-Authorization: ");
        with_credentials.push_str(&header);
        with_credentials.push_str("\r\n");
        request = with_credentials;
    }
    request.push_str("\r\n");
    Ok(request)
}

async fn write(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the status of the final response. The server sends nothing before the TLS handshake starts, so further bytes are an
/// error.
async fn read_status(stream: &TcpStream) -> Result<u16, String> {
    let (mut received, mut buffer, mut total) = (Vec::new(), [0; 1024], 0_usize);
    loop {
        let closed = |error: io::Error| format!("closed the connection: {error}");
        stream.readable().await.map_err(closed)?;
        let count = match stream.try_read(&mut buffer) {
            Ok(0) => return Err("closed the connection without a response".to_owned()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(closed(error)),
        };
        total = total.saturating_add(count);
        received.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if let Some(status) = final_status(&mut received)? {
            return Ok(status);
        }
        if total >= MAX_HEAD {
            return Err(format!("sent a response head of more than {MAX_HEAD} bytes"));
        }
    }
}

/// Returns the status of the final response, if it is complete. Removes interim responses. A rejection may have a body, which
/// is not read.
fn final_status(received: &mut Vec<u8>) -> Result<Option<u16>, String> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(received) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("sent a response that is not HTTP".to_owned()),
        };
        match response.code.unwrap_or_default() {
            101 => return Err("sent status 101".to_owned()),
            100..=199 => drop(received.drain(..length)),
            200..=299 if received.len() > length => {
                return Err("sent bytes after its response, before the server could respond".to_owned());
            }
            status => return Ok(Some(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::final_status;

    #[test]
    fn the_final_response_has_the_status() {
        let status = |text: &str| final_status(&mut text.as_bytes().to_vec());
        assert_eq!(status("HTTP/1.1 200 OK\r\n\r\n"), Ok(Some(200)));
        assert_eq!(status("HTTP/1.0 200 Connection established\r\nVia: 1.1 a\r\n\r\n"), Ok(Some(200)));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Ok(Some(200)));
        assert_eq!(status("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(status("HTTP/1.1 407 Who\r\nContent-Length: 3\r\n\r\nwho"), Ok(Some(407)));
        for text in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
            assert_eq!(status(text), Ok(None), "{text}");
        }
        for text in ["SSH-2.0-x\r\n", "HTTP/1.1 101 x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nx", "\0\0\0\0"] {
            assert!(status(text).is_err(), "{text}");
        }
    }
}
