//! A protected application on a loopback socket, and a client that calls it.

use std::net::SocketAddr;

use actix_protect_api::{AuthenticatedRequest, ProtectApi};
use actix_web::{
    App, HttpServer, Responder,
    dev::ServerHandle,
    http::header::{AUTHORIZATION, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE},
    rt, web,
};
use serde_json::Value;

/// A running application: `/` responds with the token's claims, `/write` requires the scope `write`, `/read-or-write` one of
/// the two, `/ops` and `/finance` for the group of that name.
pub(crate) struct ProtectedApp {
    address: SocketAddr,
    handle: ServerHandle,
}

/// The response, as the caller receives it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) challenge: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
}

impl ProtectedApp {
    pub(crate) fn serve(protect: ProtectApi) -> Self {
        Self::serve_with(protect, |_| {})
    }

    /// With services that are not protected.
    pub(crate) fn serve_with(
        protect: ProtectApi,
        unprotected: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        let server = HttpServer::new(move || {
            let resource = |path| web::resource(path).route(web::get().to(claims));
            let protected = web::scope("").wrap(protect.clone());
            let protected = protected
                .service(resource("/"))
                .service(resource("/write").wrap(protect.clone().scopes(["write"])))
                .service(resource("/read-or-write").wrap(protect.clone().any_scope(["read", "write"])))
                .service(resource("/ops").wrap(protect.clone().groups(["ops"])))
                .service(resource("/finance").wrap(protect.clone().groups(["finance"])));
            App::new().configure(unprotected.clone()).service(protected)
        })
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let address = server.addrs()[0];
        let running = server.run();
        let handle = running.handle();
        rt::spawn(running);
        Self { address, handle }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(path, Some(token)).await
    }

    pub(crate) async fn get_without_token(&self, path: &str) -> Answer {
        self.call(path, None).await
    }

    async fn call(&self, path: &str, token: Option<&str>) -> Answer {
        let mut request = awc::Client::default().get(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.insert_header((AUTHORIZATION, format!("Bearer {token}")));
        }
        let mut response = request.timeout(std::time::Duration::from_secs(30)).send().await.unwrap();
        let text = |headers: &HeaderMap, name| {
            let value = headers.get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Answer {
            status: response.status().as_u16(),
            challenge: text(response.headers(), WWW_AUTHENTICATE),
            retry_after: text(response.headers(), RETRY_AFTER),
            body: response.json().await.unwrap(),
        }
    }
}

impl Drop for ProtectedApp {
    fn drop(&mut self) {
        // The command is sent by the call itself; only its confirmation would have to be awaited.
        drop(self.handle.stop(false));
    }
}

async fn claims(request: AuthenticatedRequest) -> impl Responder {
    web::Json(request.claims().clone())
}

impl Answer {
    /// Let through; gives what the handler saw as claims.
    #[track_caller]
    pub(crate) fn claims(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.body
    }

    /// The token does not open the API.
    #[track_caller]
    pub(crate) fn assert_invalid_token(&self) {
        assert_eq!(self.status, 401, "{self:?}");
        self.assert_challenge(r#"error="invalid_token""#);
    }

    /// The token lacks the scope.
    #[track_caller]
    pub(crate) fn assert_insufficient(&self) {
        assert_eq!(self.status, 403, "{self:?}");
        self.assert_challenge(r#"error="insufficient_scope""#);
    }

    /// The token lacks the group. There is no error code, because no other token helps.
    #[track_caller]
    pub(crate) fn assert_forbidden(&self) {
        assert_eq!((self.status, self.challenge.as_deref()), (403, Some("Bearer")), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn assert_challenge(&self, part: &str) {
        let challenge = self.challenge.as_deref().unwrap();
        assert!(challenge.starts_with("Bearer ") && challenge.contains(part), "{self:?}");
    }

    /// A fault that is not the caller's: the token may be good, so no challenge.
    #[track_caller]
    pub(crate) fn assert_our_fault(&self, status: u16) {
        assert_eq!((self.status, self.challenge.as_deref()), (status, None), "{self:?}");
    }
}
