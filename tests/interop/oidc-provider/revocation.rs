//! Back-channel logout of oidc-provider, and security events signed by `jose`.

use std::time::Duration;

use actix_protect_api::Ssf;

use crate::{app::ProtectedApp, server::Server};

async fn find() -> Server {
    Server::find("oidc-provider").await
}

const STREAM: &str = "https://stream.example.test";

/// Logout tokens go to `/logout` for the client `app`, security events to `/events`.
fn serve(server: &Server) -> ProtectedApp {
    let protect = server.with_client("http").introspection_cache_duration(Duration::from_secs(60));
    let protect = protect.build().unwrap();
    let issuer = server.issuer("http");
    let ssf = Ssf::transmitter(issuer).audience(STREAM).jwks_uri(format!("{issuer}/jwks"));
    ProtectedApp::serve_with(protect.clone(), move |config| {
        config.service(protect.backchannel_logout("/logout", ["app"]));
        config.service(protect.ssf_push("/events", ssf.clone()));
    })
}

/// The statuses of an opaque token, whose verdict is cached, and of a JWT.
async fn statuses(app: &ProtectedApp, tokens: &[String; 2]) -> [u16; 2] {
    [app.get("/", &tokens[0]).await.status, app.get("/", &tokens[1]).await.status]
}

async fn tokens(server: &Server, sub: &str, sid: &str) -> [String; 2] {
    [server.user_token(sub, sid, "opaque").await, server.user_token(sub, sid, "rs256").await]
}

#[actix_web::test]
async fn a_logout_token_with_sid_ends_the_session() {
    let server = find().await;
    let app = serve(&server);
    let this = tokens(&server, "alice", "session-1").await;
    let other = tokens(&server, "alice", "session-2").await;
    assert_eq!((statuses(&app, &this).await, statuses(&app, &other).await), ([200; 2], [200; 2]));

    server.log_out(&app.url("/logout"), "alice", "session-1").await;

    assert_eq!((statuses(&app, &this).await, statuses(&app, &other).await), ([401; 2], [200; 2]));
}

#[actix_web::test]
async fn a_logout_token_without_sid_ends_all_sessions_of_the_user() {
    let server = find().await;
    let app = serve(&server);
    let carol = [tokens(&server, "carol", "s-1").await, tokens(&server, "carol", "s-2").await];
    let dave = tokens(&server, "dave", "s-3").await;
    for tokens in carol.iter().chain([&dave]) {
        assert_eq!(statuses(&app, tokens).await, [200; 2]);
    }

    server.log_out(&app.url("/logout"), "carol", "").await;

    for tokens in &carol {
        assert_eq!(statuses(&app, tokens).await, [401; 2]);
    }
    assert_eq!(statuses(&app, &dave).await, [200; 2]);
}

#[actix_web::test]
async fn security_events_signed_by_jose_are_accepted() {
    let server = find().await;
    let app = serve(&server);
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let user = format!("user-{algorithm}");
        let tokens = tokens(&server, &user, "s").await;
        assert_eq!(statuses(&app, &tokens).await, [200; 2]);
        let wrong = server.push_event(&app.url("/events"), "https://other.example", algorithm, &user).await;
        assert_eq!((wrong, statuses(&app, &tokens).await), (400, [200; 2]));
        let status = server.push_event(&app.url("/events"), STREAM, algorithm, &user).await;
        assert_eq!((status, statuses(&app, &tokens).await), (202, [401; 2]), "{algorithm}");
    }
}
