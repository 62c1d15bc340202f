//! The hardened client, and the selection of the client that a worker uses.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
};

use actix_web::{
    http::header::{HeaderValue, USER_AGENT},
    web,
};

use crate::{issuer::http::connector::Connect, settings::Proxy};

/// The client that a worker uses if the app data contains none. It is created on first use, one per worker and
/// configuration, so that all mounts of the configuration share one connection pool.
#[derive(Clone)]
pub(crate) struct WorkerClient(Rc<awc::Client>);

thread_local! {
    static CLIENTS: RefCell<Vec<(u64, Weak<awc::Client>)>> = const { RefCell::new(Vec::new()) };
    /// Clients of threads that may have no mount, the last used one at the end.
    static KEPT: RefCell<Vec<(u64, WorkerClient)>> = const { RefCell::new(Vec::new()) };
}

impl WorkerClient {
    /// Returns the client of this worker for the configuration with this id. Creates it with `make` if there is
    /// none.
    pub(crate) fn get_or_create(id: u64, make: impl FnOnce() -> awc::Client) -> Self {
        CLIENTS.with_borrow_mut(|clients| {
            clients.retain(|(_, client)| client.strong_count() > 0);
            let known =
                clients.iter().find(|(known, _)| *known == id).and_then(|(_, client)| client.upgrade());
            Self(known.unwrap_or_else(|| {
                let client = Rc::new(make());
                clients.push((id, Rc::downgrade(&client)));
                client
            }))
        })
    }

    /// Like [`get_or_create`](Self::get_or_create), but keeps the client alive, with its connections, without a mount on this
    /// thread. At most 16 clients are kept.
    pub(crate) fn get_or_keep(id: u64, make: impl FnOnce() -> awc::Client) -> Self {
        let client = Self::get_or_create(id, make);
        KEPT.with_borrow_mut(|kept| {
            kept.retain(|(known, _)| *known != id);
            if kept.len() >= MAX_KEPT {
                kept.remove(0);
            }
            kept.push((id, client.clone()));
        });
        client
    }

    /// Returns the application's client from the app data, or this one. Always returns this one if its settings are
    /// needed.
    pub(crate) fn choose(&self, needs_own: bool, app_data: Option<&web::Data<awc::Client>>) -> awc::Client {
        let given = app_data.filter(|_| !needs_own);
        given.map_or_else(|| (*self.0).clone(), |data| data.get_ref().clone())
    }
}

impl std::fmt::Debug for WorkerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerClient")
    }
}

/// The maximum number of clients that a thread without a mount keeps.
const MAX_KEPT: usize = 16;

/// The maximum number of connections of one worker's client. This is the default of awc. The limit of concurrent
/// calls is lower, so that calls wait in this crate, where waiting is limited, and not in awc.
const CONNECTIONS: usize = 100;

/// Returns the hardened client: no redirects, kept-alive connections, TLS by rustls with the platform's
/// certificates. It has no TLS without the feature `rustls`, or if TLS cannot be set up. Each call sets its
/// deadline.
pub(crate) fn client_with(
    #[cfg(feature = "rustls")] tls: super::connector::Tls,
    proxy: Option<Arc<Proxy>>,
) -> awc::Client {
    let connect = Connect::new(
        #[cfg(feature = "rustls")]
        tls,
        proxy,
    );
    let route = connect.route();
    awc::Client::builder()
        .connector(awc::Connector::new().connector(connect).limit(CONNECTIONS))
        .wrap(route)
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .add_default_header((USER_AGENT, HeaderValue::from_static(AGENT)))
        .finish()
}

/// Returns the HTTP client that this crate uses if the app data contains none. An application can put it into the app
/// data, and use it for other calls. Create one per worker, inside the closure of `HttpServer::new`.
///
/// It follows no redirects, because a redirect would carry credentials to another server and trust its response. It
/// uses TLS with the certificates of the platform (`SSL_CERT_FILE` is used). It keeps connections alive and opens at
/// most 100. **It has no deadline**: the calls of this crate set one. Without the feature `rustls` it has no TLS.
///
/// It prevents awc from assigning a response to the wrong request. A plain `awc::Client` treats an interim response
/// (1xx), or a response without a length, as complete, and reads the rest as the response to the next request on that
/// connection. This client skips interim responses, sends no `Expect` header, and reuses only connections on which
/// exactly one response arrived. If the app data contains another client, the calls of this crate use a new connection
/// each time and close it. The application must not call the authorization server with such a client.
pub fn hardened_client() -> awc::Client {
    client_with(
        #[cfg(feature = "rustls")]
        crate::issuer::tls::client_config()
            .inspect_err(
                |error| record!(log::Level::Error, event = "no_tls"; "no TLS to the authorization server: {error}"),
            )
            .ok(),
        None,
    )
}

const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
