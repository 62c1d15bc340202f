//! Events about the end of a session, and their delivery to the configured receivers.

use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use serde_json::json;
use url::{Url, form_urlencoded};

use crate::{
    grants::Grant,
    issuer::{Issuer, unix_time},
};

const TIMEOUT: Duration = Duration::from_secs(5);
const SESSION_REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Seconds until a logout token expires.
const LOGOUT_TOKEN_LIFETIME: u64 = 120;

/// The result of a delivery to one receiver.
pub(crate) struct Delivery {
    pub(crate) text: String,
    pub(crate) is_success: bool,
}

/// Pushes a security event token (RFC 8935) to each receiver, and returns the results.
pub(crate) async fn push_session_revoked(issuer: &Issuer, grant: &Grant) -> Vec<Delivery> {
    let (set, _) = issuer.sign(
        "secevent+jwt",
        json!({
            "aud": issuer.audience,
            "sub_id": { "format": "opaque", "id": grant.session },
            "events": { SESSION_REVOKED: { "event_timestamp": unix_time() } },
        }),
    );
    deliver(&issuer.event_receivers, "application/secevent+jwt", set).await
}

/// Sends a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4) to each receiver, and returns the results.
pub(crate) async fn send_logout_token(issuer: &Issuer, grant: &Grant) -> Vec<Delivery> {
    let (token, _) = issuer.sign(
        "logout+jwt",
        json!({
            "aud": grant.client_id,
            "sub": grant.choice.subject,
            "sid": grant.session,
            "exp": unix_time() + LOGOUT_TOKEN_LIFETIME,
            "events": { LOGOUT: {} },
        }),
    );
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", &token).finish();
    deliver(&issuer.logout_receivers, "application/x-www-form-urlencoded", form).await
}

async fn deliver(receivers: &[Url], content_type: &str, body: String) -> Vec<Delivery> {
    let client = awc::Client::builder().timeout(TIMEOUT).disable_redirects().finish();
    let mut deliveries = Vec::new();
    for receiver in receivers {
        let request = client.post(receiver.as_str()).insert_header((CONTENT_TYPE, content_type));
        deliveries.push(match request.send_body(body.clone()).await {
            Ok(response) => Delivery {
                text: format!("{receiver} responded with {}", response.status()),
                is_success: response.status().is_success(),
            },
            Err(error) => {
                Delivery { text: format!("{receiver} did not respond: {error}"), is_success: false }
            }
        });
    }
    deliveries
}
