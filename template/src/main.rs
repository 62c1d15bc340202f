use std::{io, time::Duration};

use actix_protect_api::ProtectApi;
use actix_web::{App, HttpServer, rt, web};

use {{crate_name}}::{Probe, prometheus, routes};

#[actix_web::main]
async fn main() -> io::Result<()> {
    // For development: variables in a file `.env`. In production there is no such file.
    let _ = dotenvy::dotenv();
    // `RUST_LOG=info,actix_protect_api=debug` logs the reason of each rejection.
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
    // Before `ProtectApi`, so that its metrics are described to the exporter.
    let exporter = prometheus().map_err(io::Error::other)?;
    let upkeep = exporter.clone();
    rt::spawn(async move {
        loop {
            rt::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    let exporter = web::Data::new(exporter);
    // An invalid configuration ends the process. The message lists all problems.
    let protect = ProtectApi::from_env();
    let probe = web::Data::new(Probe::new(protect.clone()));

    HttpServer::new(move || {
        App::new()
            .app_data(probe.clone())
            .app_data(exporter.clone())
            .configure(routes(&protect))
    })
    // Shorter than the time that the orchestrator waits before it ends the process.
    .shutdown_timeout(25)
    .bind(("0.0.0.0", port()?))?
    .run()
    .await
}

fn port() -> io::Result<u16> {
    let Ok(port) = std::env::var("PORT") else {
        return Ok(8080);
    };
    port.parse()
        .map_err(|_| io::Error::other(format!("PORT is {port:?}, expected a number up to 65535")))
}
