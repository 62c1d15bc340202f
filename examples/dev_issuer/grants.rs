//! Codes and tokens. Everything is in memory and limited; the oldest entries are removed.

use std::collections::VecDeque;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    choice::Choice,
    error::OAuthError,
    issuer::{random_text, unix_time},
};

const MAX_CODES: usize = 100;
const MAX_TOKENS: usize = 500;
/// Seconds until a code expires.
const CODE_LIFETIME: u64 = 60;

/// A decision on the page, and the request that it belongs to.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) choice: Choice,
    pub(crate) audience: Vec<String>,
    /// The session, `sid`. Each login starts one.
    pub(crate) session: String,
    pub(crate) nonce: Option<String>,
    pub(crate) authenticated_at: u64,
}

impl Grant {
    pub(crate) fn new(client_id: &str, choice: Choice, audience: Vec<String>) -> Self {
        Self {
            client_id: client_id.to_owned(),
            choice,
            audience,
            session: random_text::<12>(),
            nonce: None,
            authenticated_at: unix_time(),
        }
    }

    pub(crate) fn has_scope(&self, scope: &str) -> bool {
        self.choice.scopes.iter().any(|one| one == scope)
    }
}

struct Code {
    value: String,
    grant: Grant,
    redirect_uri: String,
    challenge: String,
    expires_at: u64,
    is_used: bool,
}

pub(crate) struct AccessToken {
    /// Names the token on the page.
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) grant: Grant,
    pub(crate) claims: Value,
    pub(crate) expires_at: u64,
    pub(crate) is_revoked: bool,
}

impl AccessToken {
    pub(crate) fn is_active(&self) -> bool {
        !self.is_revoked && self.expires_at > unix_time()
    }
}

struct RefreshToken {
    token: String,
    grant: Grant,
    is_used: bool,
}

#[derive(Default)]
pub(crate) struct Grants {
    codes: VecDeque<Code>,
    access_tokens: VecDeque<AccessToken>,
    refresh_tokens: VecDeque<RefreshToken>,
}

/// Authorization codes.
impl Grants {
    pub(crate) fn add_code(&mut self, grant: Grant, redirect_uri: String, challenge: String) -> String {
        let code = random_text::<32>();
        let expires_at = unix_time() + CODE_LIFETIME;
        let entry = Code { value: code.clone(), grant, redirect_uri, challenge, expires_at, is_used: false };
        push(&mut self.codes, entry, MAX_CODES);
        code
    }

    /// Redeems a code once. If it is used again, the tokens of its session are revoked (RFC 6749 section 4.1.2).
    pub(crate) fn redeem_code(
        &mut self,
        code: &str,
        client_id: &str,
        redirect_uri: Option<&str>,
        verifier: &str,
    ) -> Result<Grant, OAuthError> {
        let found = self.codes.iter_mut().find(|one| one.value == code && one.grant.client_id == client_id);
        let found = found.ok_or_else(|| OAuthError::invalid_grant("the code is unknown"))?;
        if found.is_used {
            let session = found.grant.session.clone();
            self.end_session(&session);
            return Err(OAuthError::invalid_grant("the code was used before; its tokens are revoked now"));
        }
        found.is_used = true;
        if found.expires_at <= unix_time() {
            return Err(OAuthError::invalid_grant("the code has expired"));
        }
        if redirect_uri.is_some_and(|uri| uri != found.redirect_uri) {
            return Err(OAuthError::invalid_grant(
                "redirect_uri differs from that of the authorization request",
            ));
        }
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        if challenge != found.challenge {
            return Err(OAuthError::invalid_grant("code_verifier does not match code_challenge"));
        }
        Ok(found.grant.clone())
    }
}

/// Access tokens.
impl Grants {
    pub(crate) fn add_access_token(&mut self, token: AccessToken) {
        push(&mut self.access_tokens, token, MAX_TOKENS);
    }

    /// Returns the access tokens, newest first.
    pub(crate) fn access_tokens(&self) -> impl Iterator<Item = &AccessToken> {
        self.access_tokens.iter().rev()
    }

    pub(crate) fn find(&self, token: &str) -> Option<&AccessToken> {
        self.access_tokens.iter().find(|one| one.token == token)
    }

    pub(crate) fn revoke_by_id(&mut self, id: &str) {
        for token in self.access_tokens.iter_mut().filter(|token| token.id == id) {
            token.is_revoked = true;
        }
    }

    /// Revokes a token of this client. With a refresh token, its access tokens are revoked too (RFC 7009 section 2.1).
    pub(crate) fn revoke(&mut self, token: &str, client_id: &str) {
        for found in &mut self.access_tokens {
            found.is_revoked |= found.token == token && found.grant.client_id == client_id;
        }
        let mut refresh_tokens = self.refresh_tokens.iter();
        let found = refresh_tokens.find(|one| one.token == token && one.grant.client_id == client_id);
        if let Some(session) = found.map(|found| found.grant.session.clone()) {
            self.end_session(&session);
        }
    }

    /// Revokes all tokens of a session.
    pub(crate) fn end_session(&mut self, session: &str) {
        self.refresh_tokens.retain(|token| token.grant.session != session);
        for token in &mut self.access_tokens {
            token.is_revoked |= token.grant.session == session;
        }
    }
}

/// Refresh tokens.
impl Grants {
    pub(crate) fn add_refresh_token(&mut self, grant: Grant) -> String {
        let token = random_text::<32>();
        push(
            &mut self.refresh_tokens,
            RefreshToken { token: token.clone(), grant, is_used: false },
            MAX_TOKENS,
        );
        token
    }

    /// Redeems a refresh token once. If it is used again, the tokens of its session are revoked (RFC 9700 section 4.14.2).
    ///
    /// If `check` fails, the token stays valid.
    pub(crate) fn redeem_refresh_token(
        &mut self,
        token: &str,
        client_id: &str,
        check: impl FnOnce(&Grant) -> Result<(), OAuthError>,
    ) -> Result<Grant, OAuthError> {
        let mut tokens = self.refresh_tokens.iter_mut();
        let found = tokens.find(|one| one.token == token && one.grant.client_id == client_id);
        let found = found.ok_or_else(|| OAuthError::invalid_grant("the refresh token is unknown"))?;
        let grant = found.grant.clone();
        check(&grant)?;
        if std::mem::replace(&mut found.is_used, true) {
            self.end_session(&grant.session);
            let problem = "the refresh token was used before; the tokens of its session are revoked now";
            return Err(OAuthError::invalid_grant(problem));
        }
        Ok(grant)
    }
}

fn push<T>(entries: &mut VecDeque<T>, entry: T, limit: usize) {
    if entries.len() >= limit {
        entries.pop_front();
    }
    entries.push_back(entry);
}
