//! A client credential prepared for one authentication method, so that the work per request is small.

use std::sync::Arc;

use actix_web::http::header::HeaderValue;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use form_urlencoded::{Serializer, byte_serialize};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    client_auth::{Method, signer::JwtSigner},
    secret::Secret,
};

/// The type of JWT assertions (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The type of JWT-SVID assertions (OAuth SPIFFE client authentication).
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The credential of the client.
pub(super) enum ClientCredential {
    /// `client_secret` in the form.
    Post(Arc<Secret>),
    /// The value of the `Authorization` header.
    Authorization(HeaderValue),
    /// An assertion signed for each request.
    Signed(JwtSigner),
    /// An assertion that a SPIFFE agent has obtained, valid until `exp`.
    Svid { token: Arc<Secret>, exp: i64 },
}

impl ClientCredential {
    /// Prepares a credential. The error names the expected input and contains no part of the secret.
    pub(super) fn new(method: Method, client_id: &str, secret: &Arc<Secret>) -> Result<Self, String> {
        let text = secret.expose();
        if text.is_empty() {
            return Err("the secret is empty".into());
        }
        match method {
            Method::SecretPost => Ok(Self::Post(Arc::clone(secret))),
            Method::SecretBasic => basic(&encoded(client_id), &encoded(text)).map(Self::Authorization),
            Method::SecretBasicRaw if client_id.contains(':') => {
                Err("a client id with a colon cannot be sent without encoding: expected client_secret_basic"
                    .into())
            }
            Method::SecretBasicRaw => basic(client_id, text).map(Self::Authorization),
            Method::Bearer => bearer(text).map(Self::Authorization),
            Method::SecretJwt => JwtSigner::symmetric(text).map(Self::Signed),
            Method::PrivateKeyJwt => JwtSigner::private(text).map(Self::Signed),
            Method::SpiffeJwt => Ok(Self::Svid { token: Arc::clone(secret), exp: svid_exp(text)? }),
            Method::MutualTls(_) => Err("expected a certificate with its key, not a secret".into()),
        }
    }

    /// Adds the credential to a request: fields of the form, or the value of the `Authorization` header.
    pub(super) fn write_to(
        &self,
        client_id: &str,
        audience: &str,
        now: i64,
        form: &mut Serializer<'_, String>,
    ) -> Result<Option<HeaderValue>, String> {
        match self {
            Self::Authorization(header) => return Ok(Some(header.clone())),
            Self::Post(secret) => {
                form.append_pair("client_id", client_id).append_pair("client_secret", secret.expose());
            }
            Self::Signed(signer) => {
                let jwt = signer.assertion(client_id, audience, now).map_err(|_| "signing failed")?;
                assertion(form, client_id, JWT_BEARER, &jwt);
            }
            Self::Svid { exp, .. } if *exp <= now => return Err("the JWT-SVID has expired".into()),
            Self::Svid { token, .. } => assertion(form, client_id, JWT_SPIFFE, token.expose()),
        }
        Ok(None)
    }
}

fn assertion(form: &mut Serializer<'_, String>, client_id: &str, kind: &str, jwt: &str) {
    form.append_pair("client_id", client_id)
        .append_pair("client_assertion_type", kind)
        .append_pair("client_assertion", jwt);
}

/// Form-encodes an identifier or a secret. RFC 6749 section 2.3.1 requires this separately for each before they are
/// joined.
fn encoded(text: &str) -> Zeroizing<String> {
    Zeroizing::new(byte_serialize(text.as_bytes()).collect())
}

/// Returns the value of a `Basic` header (RFC 7617 section 2).
fn basic(id: &str, secret: &str) -> Result<HeaderValue, String> {
    let pair = Zeroizing::new(format!("{id}:{secret}"));
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut header = HeaderValue::from_str(&value).map_err(|_| "the secret does not fit into a header")?;
    header.set_sensitive(true);
    Ok(header)
}

/// Returns the value of a `Bearer` header (RFC 6750 section 2.1).
fn bearer(token: &str) -> Result<HeaderValue, String> {
    let is_token_character = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.bytes().all(is_token_character) {
        return Err("the token has characters that are not allowed (RFC 6750 section 2.1)".into());
    }
    let value = Zeroizing::new(format!("Bearer {token}"));
    let mut header = HeaderValue::from_str(&value).map_err(|_| "the token does not fit into a header")?;
    header.set_sensitive(true);
    Ok(header)
}

/// Returns `exp` of a JWT-SVID, which is a required claim. The authorization server verifies the signature.
fn svid_exp(token: &str) -> Result<i64, String> {
    #[derive(Deserialize)]
    struct Svid {
        exp: serde_json::Number,
    }
    let mut segments = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return Err("expected a JWT-SVID: three parts with dots between them".into());
    };
    URL_SAFE_NO_PAD
        .decode(claims)
        .ok()
        .and_then(|claims| serde_json::from_slice::<Svid>(&claims).ok())
        // NumericDate may have a fraction (RFC 7519 section 2); whole seconds are enough here.
        .and_then(|svid| svid.exp.to_string().split('.').next()?.parse().ok())
        .ok_or_else(|| "expected a JWT-SVID: its claims cannot be read, or lack \"exp\"".into())
}
