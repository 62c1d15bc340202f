//! OpenID Connect Back-Channel Logout 1.0.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, Resource, web};

use super::{
    body,
    event_claims::{ClaimRules, EventClaims},
    event_report::{EventReport, Outcome},
    reply, revoke,
    target_issuer::TargetIssuer,
    worker_client,
};
use crate::{
    deadline::Deadline,
    error::{AuthError, TokenFault},
    jwt::{self, Typ},
    protect_api::{ProtectApi, state::State},
    revocation::{Revocation, SeenEvent, is_blank},
    telemetry::EventSource,
};

/// The member of `events` (section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// The maximum number of members of `events`.
const MAX_EVENTS: usize = 16;

/// The longest time since `iat`, in seconds. Logout tokens of older servers have no `exp`.
const MAX_AGE: i64 = 600;

/// The kind in logs and metrics.
const KIND: &str = "logout";

impl ProtectApi {
    /// Returns a service that receives logout tokens at this path (OpenID Connect Back-Channel Logout 1.0), and revokes the
    /// tokens of the session (`sid`), or all tokens of the user (`sub`) that were issued until then.
    ///
    /// The authorization server sends logout tokens only to clients that took part in the session, so each of these `clients`
    /// needs the URL of this path as its `backchannel_logout_uri`. `aud` of the logout token must contain one of them. For a
    /// logout token with `sid`, the access tokens must contain `sid` too.
    ///
    /// The logout token of a [tenant](crate::AnyOf::tenants) is validated with the keys of this tenant. The functions of the
    /// tenants get the `iss` of the logout token, and the host and path of its delivery.
    ///
    /// Register it outside of the mounts of this handle. Anybody can call it: the body is limited to 64 KiB, and tokens with an
    /// unknown key cause no more fetches of keys than [`jwks_cooldown`](crate::ProtectApiBuilder::jwks_cooldown) allows.
    ///
    /// ```no_run
    /// # use actix_protect_api::ProtectApi;
    /// # use actix_web::App;
    /// # fn app(protect: ProtectApi) {
    /// let app = App::new().service(protect.backchannel_logout("/logout", ["spa", "bff"]));
    /// # }
    /// ```
    pub fn backchannel_logout(
        &self,
        path: &str,
        clients: impl IntoIterator<Item = impl Into<String>>,
    ) -> Resource {
        let receiver = Arc::new(LogoutReceiver {
            protect: self.clone(),
            clients: clients.into_iter().map(Into::into).collect(),
            report: EventReport::new(EventSource::BackchannelLogout, &self.state, &self.state),
        });
        web::resource(path.to_owned()).route(web::post().to(
            move |request: HttpRequest, payload: web::Payload| {
                let receiver = Arc::clone(&receiver);
                async move { receiver.respond(&request, payload).await }
            },
        ))
    }
}

struct LogoutReceiver {
    protect: ProtectApi,
    clients: Vec<String>,
    report: EventReport,
}

impl LogoutReceiver {
    async fn respond(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        let deadline = Deadline::after(self.protect.state.settings.tuning.response_timeout);
        let body = match body::read(request, payload, deadline).await {
            Ok(body) => body,
            Err(fault) => {
                self.report.refused(&fault.error());
                return reply::unread(fault);
            }
        };
        let outcome = match logout_token(request, &body) {
            Some(token) => self.receive(&token, request).await,
            None => Err(AuthError::token(TokenFault::Malformed)),
        };
        match outcome {
            Ok(outcome) => {
                self.report.accepted(KIND, outcome);
                reply::logged_out()
            }
            Err(error) => {
                self.report.refused(&error);
                reply::logout_refused(&error)
            }
        }
    }

    /// Validates a logout token (section 2.6) and revokes the tokens that it concerns.
    async fn receive(&self, token: &str, request: &HttpRequest) -> Result<Outcome, AuthError> {
        // The unverified `iss` selects the keys. Claims are checked first, so that other tokens cause no fetch.
        let unverified = jwt::unverified_payload(token).map_err(AuthError::token)?;
        let issuer = jwt::unverified_issuer(token).map_err(AuthError::token)?.unwrap_or_default();
        let configured = self.protect.states().iter().find(|state| names(state, &issuer)).cloned();
        let state = match configured {
            Some(state) => Some(state),
            None => self.protect.tenant(&issuer, request).await?.filter(|tenant| names(tenant, &issuer)),
        };
        let state = &state.ok_or_else(|| AuthError::token(TokenFault::Issuer))?;
        self.claims(&unverified, state)?;
        let deadline = Deadline::after(state.settings.tuning.response_timeout);
        let client = || worker_client(request, state);
        // Servers that follow an older version of the specification send `JWT` or no type.
        let types = [Typ::Logout, Typ::Jwt];
        let metadata = &state.validator.metadata;
        let verifying = state.validator.local.verify_payload(token, &types, metadata, &client, deadline);
        let payload = deadline.bound(verifying).await?;
        let claims = self.claims(&payload, state)?;
        let revocation = revocation(&claims).map_err(AuthError::token)?;
        let event = SeenEvent::new(KIND, &[&issuer], claims.id());
        if state.seen_events.contains(&event) {
            return Ok(Outcome::Repeated);
        }
        let revocation = TargetIssuer::named(state, &issuer).limit(revocation, None);
        let outcome = revoke(&self.protect, revocation).await?;
        state.seen_events.insert(event);
        Ok(outcome)
    }

    fn claims<'p>(&self, payload: &'p [u8], state: &State) -> Result<EventClaims<'p>, AuthError> {
        let rules = ClaimRules {
            audiences: &self.clients,
            now: state.clock.unix_time().saturating_add(state.settings.rules.clock_skew),
            tolerance: state.settings.rules.clock_tolerance,
            max_age: MAX_AGE,
        };
        EventClaims::read(payload, |issuer| names(state, issuer), &rules).map_err(AuthError::token)
    }
}

fn names(state: &State, issuer: &str) -> bool {
    state.settings.accepts_issuer(issuer) || state.settings.issuer.accepts(issuer)
}

/// Returns the revocation of a logout token. A token with `nonce` is an ID token.
fn revocation(claims: &EventClaims<'_>) -> Result<Revocation, TokenFault> {
    let members = &claims.members;
    if !claims.events(MAX_EVENTS)?.contains_key(LOGOUT_EVENT) || members.contains("nonce") {
        return Err(TokenFault::Type);
    }
    let text = |name| match (members.contains(name), members.text(name)) {
        (true, None) => Err(TokenFault::Malformed),
        (_, Some(text)) if is_blank(text) => Err(TokenFault::Malformed),
        (_, text) => Ok(text),
    };
    match (text("sid")?, text("sub")?) {
        (Some(session), _) => Ok(Revocation::session(session)),
        (None, Some(subject)) => Ok(Revocation::subject(subject).issued_before(claims.issued_at)),
        (None, None) => Err(TokenFault::MissingClaim),
    }
}

/// Returns the only `logout_token` of the form.
fn logout_token(request: &HttpRequest, body: &[u8]) -> Option<String> {
    if !body::has_type(request, "application/x-www-form-urlencoded") {
        return None;
    }
    let mut tokens = form_urlencoded::parse(body).filter(|(name, _)| name == "logout_token");
    let token = tokens.next()?.1.into_owned();
    tokens.next().is_none().then_some(token)
}
