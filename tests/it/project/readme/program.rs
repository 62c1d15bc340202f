use actix_protect_api::{AuthenticatedRequest, ProtectApi};
use actix_web::{App, HttpServer, Responder, web};

// Any caller with a valid token.
async fn data(caller: AuthenticatedRequest) -> impl Responder {
    web::Json(caller.claims().clone())
}

// Only callers whose token has the scope `posts:write`; see `wrap` below.
async fn publish(caller: AuthenticatedRequest) -> String {
    format!("published by {}\n", caller.subject().unwrap_or("a machine"))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    // RUST_LOG=actix_protect_api=debug adds the reason of each rejection
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    let protect = ProtectApi::from_env();

    HttpServer::new(move || {
        let posts = web::resource("/api/posts").wrap(protect.scopes(["posts:write"]));
        App::new()
            .wrap(protect.clone())
            .route("/api/data", web::get().to(data))
            .service(posts.route(web::post().to(publish)))
    })
    .bind(("127.0.0.1", 0))?
    .run()
    .await
}
