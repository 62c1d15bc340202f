//! How the hardened client connects: TCP and TLS here, so that awc sees the guarded connection of `connection.rs`.
//!
//! awc knows two pools of connections, and puts its own TLS on those of the second. So a request for `https` is routed
//! to the first one, under a name that tells TLS from plain connections to the same address.

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::{ConnectionType, RequestHeadType};
use actix_tls::connect::{ConnectError, ConnectInfo, Connection as Connected, ConnectorService};
use actix_web::{
    dev::{RequestHead, Service},
    http::{Uri, header::EXPECT},
};
use awc::{ConnectRequest, ConnectResponse, error::SendRequestError, middleware::Transform};
use futures_util::future::LocalBoxFuture;

use crate::issuer::http::connection::{Connection, Stream};

#[cfg(feature = "rustls")]
pub(crate) type Tls = Option<std::sync::Arc<rustls::ClientConfig>>;

/// The scheme of a request that this connector encrypts.
const TLS: &str = "tls";

thread_local! {
    /// Whether the request that is being sent may use a kept-alive connection although it asks to close.
    static MAY_REUSE: Cell<bool> = const { Cell::new(false) };
}

/// Which connection a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// A kept-alive one of the hardened client, or a new one.
    Allowed,
    /// A new one, which is not kept: nothing that happened before can disturb it.
    No,
}

impl Reuse {
    /// Sends a request that asks to close its connection. The hardened client keeps it alive nevertheless where that is
    /// allowed; any other client takes the request as it is, and cannot mix up its response with a later one.
    pub(crate) fn apply<T>(self, send: impl FnOnce() -> T) -> T {
        // `send` reaches `RouteService::call` before it returns.
        MAY_REUSE.set(self == Self::Allowed);
        let sending = send();
        MAY_REUSE.set(false);
        sending
    }
}

/// Opens guarded connections.
#[derive(Clone, Default)]
pub(crate) struct Connect {
    tcp: ConnectorService,
    #[cfg(feature = "rustls")]
    tls: Tls,
}

impl Connect {
    #[cfg(feature = "rustls")]
    pub(crate) fn new(tls: Tls) -> Self {
        Self { tcp: ConnectorService::default(), tls }
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn route(&self) -> Route {
        Route { tls: self.tls.is_some() }
    }

    #[cfg(not(feature = "rustls"))]
    #[expect(clippy::unused_self, reason = "with TLS it is used")]
    pub(crate) fn route(&self) -> Route {
        Route { tls: false }
    }

    #[cfg(feature = "rustls")]
    async fn encrypt(tls: Tls, host: &str, stream: actix_web::rt::net::TcpStream) -> std::io::Result<Stream> {
        use rustls::pki_types::ServerName;
        // A URL writes an IPv6 address in brackets.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let tls = tls.ok_or_else(|| std::io::Error::other("TLS is not set up"))?;
        let stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl Service<ConnectInfo<Uri>> for Connect {
    type Response = Connected<Uri, Connection>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, target: ConnectInfo<Uri>) -> Self::Future {
        let connecting = self.tcp.call(target);
        #[cfg(feature = "rustls")]
        let tls = self.tls.clone();
        Box::pin(async move {
            let (stream, uri) = connecting.await?.into_parts();
            // Small requests, each written at once: nothing is gained by waiting for more.
            let _ = stream.set_nodelay(true);
            let stream = match uri.scheme_str() {
                #[cfg(feature = "rustls")]
                Some(TLS) => Self::encrypt(tls, uri.host().unwrap_or_default(), stream)
                    .await
                    .map_err(ConnectError::Io)?,
                _ => Stream::Plain(stream),
            };
            Ok(Connected::new(uri, Connection::new(stream)))
        })
    }
}

/// Chooses the pool of a request.
pub(crate) struct Route {
    tls: bool,
}

impl<S> Transform<S, ConnectRequest> for Route
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
{
    type Transform = RouteService<S>;

    fn new_transform(self, service: S) -> Self::Transform {
        RouteService { service, tls: self.tls }
    }
}

pub(crate) struct RouteService<S> {
    service: S,
    tls: bool,
}

impl<S> Service<ConnectRequest> for RouteService<S>
where
    S: Service<ConnectRequest, Response = ConnectResponse, Error = SendRequestError>,
{
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = S::Future;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&self, request: ConnectRequest) -> Self::Future {
        self.service.call(match request {
            ConnectRequest::Client(RequestHeadType::Owned(head), body, address) => {
                ConnectRequest::Client(RequestHeadType::Owned(self.route(head)), body, address)
            }
            ConnectRequest::Client(RequestHeadType::Rc(head, mut more), body, address) => {
                if let Some(more) = &mut more {
                    more.remove(EXPECT);
                }
                let head = Rc::new(self.route((*head).clone()));
                ConnectRequest::Client(RequestHeadType::Rc(head, more), body, address)
            }
            ConnectRequest::Tunnel(head, address) => ConnectRequest::Tunnel(self.route(head), address),
        })
    }
}

impl<S> RouteService<S> {
    fn route(&self, head: RequestHead) -> RequestHead {
        let closes = head.connection_type() == ConnectionType::Close;
        let mut head = if closes && MAY_REUSE.take() { kept_alive(head) } else { head };
        let closes = head.connection_type() == ConnectionType::Close;
        // awc would wait for the interim response, which the connection skips. Without the header it sends the body at once.
        head.headers.remove(EXPECT);
        if let Some(uri) = pooled_as(&head.uri, self.tls, closes) {
            head.uri = uri;
        }
        head
    }
}

/// A head whose flags cannot be taken back, without them.
fn kept_alive(head: RequestHead) -> RequestHead {
    let mut kept = RequestHead::default();
    kept.uri = head.uri;
    kept.method = head.method;
    kept.version = head.version;
    kept.headers = head.headers;
    kept
}

/// The URL under which awc looks for a connection, where it is another one. awc's pool knows only the authority of a
/// URL, so its user part names the kind of connection; it is not sent.
fn pooled_as(uri: &Uri, has_tls: bool, closes: bool) -> Option<Uri> {
    let (scheme, port) = match uri.scheme_str()? {
        "https" | "wss" if has_tls => (TLS, 443),
        "http" | "ws" => ("http", 80),
        // awc says that it has no TLS.
        _ => return None,
    };
    let authority = uri.authority()?;
    let kind = match scheme {
        // No connection is ever kept under this name.
        _ if closes => "once",
        TLS => TLS,
        _ if !authority.as_str().contains('@') => return None,
        _ => "plain",
    };
    let authority = format!("{kind}@{}:{}", authority.host(), authority.port_u16().unwrap_or(port));
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(scheme.parse().ok()?);
    parts.authority = Some(authority.parse().ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_kind_share_a_name_and_no_others() {
        for (uri, closes, expected) in [
            ("http://as.example/a?b", false, None),
            ("http://as.example/a?b", true, Some("http://once@as.example:80/a?b")),
            ("https://as.example/a?b", false, Some("tls://tls@as.example:443/a?b")),
            ("https://as.example:8443/a", true, Some("tls://once@as.example:8443/a")),
            ("http://tls@as.example:443/a", false, Some("http://plain@as.example:443/a")),
            ("https://x@[::1]:1/", false, Some("tls://tls@[::1]:1/")),
            ("wss://as.example/", false, Some("tls://tls@as.example:443/")),
        ] {
            let pooled = pooled_as(&uri.parse().unwrap(), true, closes);
            assert_eq!(pooled, expected.map(|uri| uri.parse().unwrap()), "{uri}");
        }
        assert_eq!(pooled_as(&"https://as.example/".parse().unwrap(), false, true), None);
    }
}
