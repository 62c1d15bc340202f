//! The servers that are compared: one worker each, `GET /public` and `GET /data`.

use std::{env, time::Duration};

use actix_protect_api::{AuthenticatedRequest, ClientAuthentication, ProtectApi, Secret};
use actix_web::{
    App, HttpResponse, HttpServer,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use serde::Serialize;

use crate::by_hand::{self, ByHand};

/// The common settings of all servers, from variables.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) audience: String,
}

#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    pub(crate) sub: &'a str,
}

/// How long the caching servers keep a verdict.
pub(crate) const KEPT: Duration = Duration::from_secs(300);

/// Serves until it is killed.
pub(crate) fn serve(kind: &str) {
    let variable = |name| env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let setup = Setup {
        issuer: variable("ISSUER"),
        client_id: variable("CLIENT_ID"),
        client_secret: variable("CLIENT_SECRET"),
        audience: variable("AUDIENCE"),
    };
    let port = variable("PORT").parse().expect("PORT is a number");
    actix_web::rt::System::new().block_on(async move {
        match kind {
            "bare" => listen(port, || App::new().route("/data", web::get().to(public))).await,
            "wrapped" => {
                let app = || {
                    let data = web::resource("/data").wrap(from_fn(pass));
                    App::new().service(data.route(web::get().to(public)))
                };
                listen(port, app).await;
            }
            "forward" => {
                let by_hand = ByHand::discover(&setup, false).await;
                let app = move || {
                    let app = App::new().app_data(by_hand.clone()).app_data(by_hand::client());
                    app.route("/data", web::get().to(by_hand::forward))
                };
                listen(port, app).await;
            }
            "hand" | "hand-cached" => {
                let by_hand = ByHand::discover(&setup, kind == "hand-cached").await;
                let app = move || {
                    let app = App::new().app_data(by_hand.clone()).app_data(by_hand::client());
                    let data = web::resource("/data").wrap(from_fn(by_hand::protect));
                    app.service(data.route(web::get().to(by_hand::data)))
                };
                listen(port, app).await;
            }
            "ours" | "ours-cached" | "ours-forgetful" => {
                let protect = ours(&setup, kind);
                let app = move || {
                    let data = web::resource("/data").wrap(protect.clone());
                    App::new().service(data.route(web::get().to(data_of_caller)))
                };
                listen(port, app).await;
            }
            other => panic!(
                "{other:?} is no server; there are bare, wrapped, forward, hand, hand-cached, ours, ours-cached, ours-forgetful"
            ),
        }
    });
}

fn ours(setup: &Setup, kind: &str) -> ProtectApi {
    let secret = ClientAuthentication::client_secret_post(Secret::from(setup.client_secret.as_str()));
    let builder = ProtectApi::builder(&setup.issuer, &setup.audience).client(&setup.client_id, secret);
    let builder = match kind {
        "ours-cached" => builder.introspection_cache_duration(KEPT),
        "ours-forgetful" => builder.remember_jwts(false),
        _ => builder,
    };
    builder.build().expect("a valid configuration")
}

async fn pass<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    next.call(request).await
}

async fn public() -> HttpResponse {
    HttpResponse::Ok().json(Answer { sub: "anonymous" })
}

async fn data_of_caller(caller: AuthenticatedRequest) -> HttpResponse {
    HttpResponse::Ok().json(Answer { sub: caller.subject().unwrap_or_default() })
}

async fn listen<F, T>(port: u16, app: F)
where
    F: Fn() -> App<T> + Send + Clone + 'static,
    T: ServiceFactory<ServiceRequest, Config = (), Error = actix_web::Error, InitError = ()> + 'static,
    T: ServiceFactory<ServiceRequest, Response = ServiceResponse>,
{
    HttpServer::new(move || app().route("/public", web::get().to(public)))
        .workers(1)
        .backlog(4096)
        .keep_alive(Duration::from_secs(120))
        .disable_signals()
        .bind(("127.0.0.1", port))
        .expect("a free port")
        .run()
        .await
        .expect("a server");
}
