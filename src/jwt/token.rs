//! Access tokens that are signed JWTs, validated with the issuer's keys (RFC 9068 section 4, RFC 8725). The
//! functions are pure: they take the keys as a [`KeySet`], fetch nothing, and do not read the clock.

#[cfg(test)]
mod tests;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    algorithm::Algorithm,
    claims::{
        Claims,
        object::JsonObject,
        token_type::{self, says_access_token, says_another_type},
    },
    error::{AuthError, TokenFault},
    jwt::{
        header::{JwtHeader, Typ},
        key_set::{KeySet, MAX_TRIED},
        shape::resembles_jwt,
    },
    settings::Tuning,
};

/// The longest token, in bytes. Header fields are rarely allowed to be longer, and each byte must be copied and
/// hashed.
pub(crate) const MAX_TOKEN: usize = 64 * 1024;

/// The longest signature, in bytes: RSA with the largest accepted modulus.
const MAX_SIGNATURE: usize = 8192 / 8;

/// The rules for accepted tokens.
#[derive(Clone, Debug)]
pub(crate) struct JwtRules {
    /// The allowed signature algorithms.
    pub(crate) algorithms: Box<[Algorithm]>,
    /// Whether the header must have the `typ` `at+jwt` of an access token (RFC 9068 section 2.1). Many servers send
    /// `JWT` or no `typ`; then only the claims distinguish an ID token from an access token.
    pub(crate) require_at_jwt: bool,
    /// Whether `iss` and `exp` are required in the token. If the token is introspected too, the response may
    /// contain them instead.
    pub(crate) requires_claims: bool,
}

impl JwtRules {
    pub(crate) fn new(tuning: &Tuning) -> Self {
        Self {
            algorithms: tuning.algorithms.as_slice().into(),
            require_at_jwt: tuning.require_at_jwt,
            requires_claims: !tuning.introspect_jwt_tokens,
        }
    }
}

/// A token in the form of a signed JWT. Nothing of it is verified yet.
pub(crate) struct Jwt<'t> {
    header: JwtHeader,
    signing_input: &'t str,
    payload: &'t str,
    signature: &'t str,
}

impl<'t> Jwt<'t> {
    /// Splits a token into three segments. The first one must be a JSON object with a string `alg` in strict
    /// base64url. Returns `None` for an opaque token. A token of five segments (an encrypted JWT) is opaque.
    ///
    /// [`verify`](Self::verify) checks the other rules for the header.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`] for a token that is meant as a JWT but is not well-formed, or is longer than 64
    /// KiB.
    pub(crate) fn read(token: &'t str) -> Result<Option<Self>, TokenFault> {
        match Self::split(token) {
            Some(jwt) => Ok(Some(jwt)),
            None if resembles_jwt(token) => Err(TokenFault::Malformed),
            None => Ok(None),
        }
    }

    fn split(token: &'t str) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signing_input, signature) = token.rsplit_once('.')?;
        let (header, payload) = signing_input.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        Some(Self { header: JwtHeader::decode(header)?, signing_input, payload, signature })
    }

    /// Verifies the token and returns its claims. Checks the header, the signature, and that it is an access token
    /// with `iss` and `exp`.
    ///
    /// Does **not** check the values of `iss`, `aud`, `exp`, `nbf` and other claims. The policy does this on every
    /// request.
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`] if no key of the set fits. The set may be old and should be fetched again.
    pub(crate) fn verify(&self, keys: &KeySet, rules: &JwtRules) -> Result<Claims, TokenFault> {
        let algorithm = self.check_header(rules)?;
        self.check_signature(keys, algorithm)?;
        let payload = self.unverified_payload()?;
        let members = JsonObject::read(&payload).map_err(|_| TokenFault::Malformed)?;
        let claims = Claims::from_payload(&members, &payload).map_err(|_| TokenFault::Malformed)?;
        if is_of_another_type(&members, &claims, self.header.typ) {
            return Err(TokenFault::Type);
        }
        if rules.requires_claims && (claims.issuer().is_none() || claims.expires_at().is_none()) {
            return Err(TokenFault::MissingClaim);
        }
        Ok(claims)
    }

    /// Returns the `iss` of the payload without any verification.
    pub(super) fn unverified_issuer(&self) -> Result<String, TokenFault> {
        let payload = self.unverified_payload()?;
        let members = JsonObject::read(&payload).map_err(|_| TokenFault::Malformed)?;
        members.text("iss").map(str::to_owned).ok_or(TokenFault::MissingClaim)
    }

    /// Checks only the header, which needs no key.
    ///
    /// # Errors
    /// If no key can make the token valid.
    pub(crate) fn check_header(&self, rules: &JwtRules) -> Result<Algorithm, TokenFault> {
        if self.header.is_malformed {
            return Err(TokenFault::Malformed);
        }
        let algorithm = self.header.algorithm.filter(|algorithm| rules.algorithms.contains(algorithm));
        let is_accepted = match self.header.typ {
            Typ::AccessToken => true,
            Typ::Jwt => !rules.require_at_jwt,
            Typ::SecurityEvent | Typ::Logout | Typ::Other => false,
        };
        match algorithm {
            None => Err(TokenFault::Algorithm),
            Some(_) if !is_accepted => Err(TokenFault::Type),
            Some(algorithm) => Ok(algorithm),
        }
    }

    /// Verifies a JWT of another type than access tokens, and returns its payload. Checks the header and the signature, and
    /// no claim.
    pub(super) fn verify_payload(
        &self,
        keys: &KeySet,
        algorithms: &[Algorithm],
        types: &[Typ],
    ) -> Result<Vec<u8>, TokenFault> {
        let algorithm = self.check_type(algorithms, types)?;
        self.check_signature(keys, algorithm)?;
        self.unverified_payload()
    }

    /// Checks the header of a JWT of another type, which needs no key.
    pub(super) fn check_type(
        &self,
        algorithms: &[Algorithm],
        types: &[Typ],
    ) -> Result<Algorithm, TokenFault> {
        if self.header.is_malformed {
            return Err(TokenFault::Malformed);
        }
        if !types.contains(&self.header.typ) {
            return Err(TokenFault::Type);
        }
        self.header.algorithm.filter(|algorithm| algorithms.contains(algorithm)).ok_or(TokenFault::Algorithm)
    }

    /// Returns the payload without any verification.
    pub(super) fn unverified_payload(&self) -> Result<Vec<u8>, TokenFault> {
        URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| TokenFault::Malformed)
    }

    /// Returns the error for a fault that [`verify`](Self::verify) found with this key set. The error states if not
    /// all fitting keys were tried.
    pub(crate) fn error(&self, fault: TokenFault, keys: &KeySet) -> AuthError {
        let error = AuthError::token(fault);
        let not_tried = self
            .header
            .algorithm
            .filter(|_| fault == TokenFault::Signature)
            .map_or(0, |algorithm| keys.not_chosen(self.header.kid.as_deref(), algorithm));
        if not_tried == 0 {
            return error;
        }
        error.with_source(format!(
            "only {MAX_TRIED} published keys were tried, and {not_tried} more fit the token: expected is one key for each `kid`"
        ))
    }

    /// Verifies the signature (RFC 7515 section 5.2). It covers the received text, before the payload is decoded.
    fn check_signature(&self, keys: &KeySet, algorithm: Algorithm) -> Result<(), TokenFault> {
        let mut buffer = [0; MAX_SIGNATURE];
        let signature = decode_signature(self.signature, &mut buffer)?;
        let mut fault = TokenFault::UnknownKey;
        for key in keys.choose(self.header.kid.as_deref(), algorithm) {
            if key.verify_sig(self.signing_input.as_bytes(), signature).is_ok() {
                return Ok(());
            }
            fault = TokenFault::Signature;
        }
        Err(fault)
    }
}

fn decode_signature<'b>(segment: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], TokenFault> {
    use base64::DecodeSliceError::{DecodeError, OutputSliceTooSmall};

    let length = URL_SAFE_NO_PAD.decode_slice(segment, buffer).map_err(|error| match error {
        DecodeError(_) => TokenFault::Malformed,
        OutputSliceTooSmall => TokenFault::Signature,
    })?;
    buffer.get(..length).filter(|signature| !signature.is_empty()).ok_or(TokenFault::Signature)
}

/// Claims that occur only in tokens of other types: ID tokens (OpenID Connect Core sections 3.1.3.6 and 3.3.2.11)
/// and introspection responses (RFC 9701 section 5).
const NON_ACCESS_TOKEN_CLAIMS: [&str; 4] = ["at_hash", "c_hash", "s_hash", "token_introspection"];

/// Returns whether the claims are those of another kind of JWT that the same issuer signs with the same keys (RFC
/// 8725 section 3.12).
///
/// Two claims are decisive only if nothing states that this is an access token. `events` belongs to logout and
/// other security event tokens (RFC 8417 section 2.2), but may be a private claim if the header has `at+jwt`.
/// `nonce` belongs to ID tokens, but some servers copy it into the access token. It is ignored beside `at+jwt`, a
/// claim like Keycloak's `typ: Bearer` or Cognito's `token_use: access`, or scopes, which an ID token does not
/// have.
fn is_of_another_type(members: &JsonObject<'_>, claims: &Claims, typ: Typ) -> bool {
    let has = |name: &str| members.get(name).is_some();
    let is_at_jwt = typ == Typ::AccessToken;
    let mut is_access_token = is_at_jwt || claims.scopes().iter().next().is_some();
    for said in token_type::said_by(members) {
        if says_another_type(said) {
            return true;
        }
        is_access_token |= says_access_token(said);
    }
    NON_ACCESS_TOKEN_CLAIMS.into_iter().any(has)
        || (has("events") && !is_at_jwt)
        || (has("nonce") && !is_access_token)
}
