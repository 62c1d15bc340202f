//! The connector of the hardened client. It opens TCP and TLS connections itself, so that awc uses the guarded
//! connection of `connection.rs`.
//!
//! awc has two connection pools, and adds its own TLS to the connections of the second one. Therefore a request for
//! `https` is sent through the first pool. The user part of its URL, which is not sent, distinguishes TLS from plain
//! connections to the same address.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
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

use crate::{
    issuer::http::{
        connection::{Connection, Stream},
        proxy::tunnel,
    },
    settings::Proxy,
};

#[cfg(feature = "rustls")]
pub(crate) type Tls = Option<Arc<rustls::ClientConfig>>;

/// The scheme of a request that this connector encrypts.
const TLS: &str = "tls";

thread_local! {
    /// Whether the request that is being sent may use a kept-alive connection although it has `Connection: close`.
    static MAY_REUSE: Cell<bool> = const { Cell::new(false) };
}

/// The connection that a request uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// A kept-alive connection of the hardened client, or a new one.
    Allowed,
    /// A new connection, which is closed afterwards. Earlier requests cannot affect it.
    No,
}

impl Reuse {
    /// Sends a request with `Connection: close`. The hardened client keeps the connection alive nevertheless if
    /// that is allowed. Any other client closes it, so that it cannot confuse this response with a later one.
    pub(crate) fn apply<T>(self, send: impl FnOnce() -> T) -> T {
        // `send` calls `RouteService::call` before it returns.
        MAY_REUSE.set(self == Self::Allowed);
        let sending = send();
        MAY_REUSE.set(false);
        sending
    }
}

/// Opens guarded connections.
#[derive(Clone)]
pub(crate) struct Connect {
    tcp: ConnectorService,
    proxy: Option<Arc<Proxy>>,
    #[cfg(feature = "rustls")]
    tls: Tls,
}

impl Connect {
    pub(crate) fn new(#[cfg(feature = "rustls")] tls: Tls, proxy: Option<Arc<Proxy>>) -> Self {
        Self {
            tcp: ConnectorService::default(),
            proxy,
            #[cfg(feature = "rustls")]
            tls,
        }
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
        // In a URL an IPv6 address is in brackets.
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
        let uri = target.request().clone();
        let proxy = self.proxy.clone().filter(|proxy| !proxy.excepts(uri.host().unwrap_or_default()));
        let connecting = self.tcp.call(match &proxy {
            Some(proxy) => ConnectInfo::new(proxy.url.uri.clone()),
            None => target,
        });
        #[cfg(feature = "rustls")]
        let tls = self.tls.clone();
        Box::pin(async move {
            let connecting = async move { Ok(connecting.await?.into_parts().0) };
            let stream = match &proxy {
                Some(proxy) => tunnel(connecting, proxy, &uri).await.map_err(ConnectError::Io)?,
                None => connecting.await?,
            };
            // Requests are small and written at once, so waiting for more bytes has no benefit.
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

/// Selects the connection pool of a request.
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
        // awc would wait for the interim response, which the connection skips. Without the header it sends the body
        // at once.
        head.headers.remove(EXPECT);
        if let Some(uri) = pooled_as(&head.uri, self.tls, closes) {
            head.uri = uri;
        }
        head
    }
}

/// Returns a copy of the head without its flags, because a flag cannot be cleared.
fn kept_alive(head: RequestHead) -> RequestHead {
    let mut kept = RequestHead::default();
    kept.uri = head.uri;
    kept.method = head.method;
    kept.version = head.version;
    kept.headers = head.headers;
    kept
}

/// Returns the URL under which awc searches its pool, if it differs from the given one. The pool uses only the
/// authority of a URL, so the user part names the kind of connection. It is not sent.
fn pooled_as(uri: &Uri, has_tls: bool, closes: bool) -> Option<Uri> {
    let (scheme, port) = match uri.scheme_str()? {
        "https" | "wss" if has_tls => (TLS, 443),
        "http" | "ws" => ("http", 80),
        // awc reports that it has no TLS.
        _ => return None,
    };
    let authority = uri.authority()?;
    let kind = match scheme {
        // The pool contains no connection under this name.
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
