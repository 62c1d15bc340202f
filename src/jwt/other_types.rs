//! JWTs of other types that the issuer signs with the same keys: security event tokens and logout tokens.

use super::{
    JwtValidator,
    header::Typ,
    key_set::KeySet,
    token::{Jwt, MAX_TOKEN},
};
use crate::{
    deadline::Deadline,
    error::{AuthError, TokenFault, UpstreamFault},
    issuer::{MetadataCache, refresh::Reader},
};

/// Returns the payload of a JWT, which is **not verified**: it may only select the keys, and reject the JWT.
pub(crate) fn unverified_payload(token: &str) -> Result<Vec<u8>, TokenFault> {
    read(token)?.unverified_payload()
}

fn read(token: &str) -> Result<Jwt<'_>, TokenFault> {
    Jwt::read(token)?.filter(|_| token.len() <= MAX_TOKEN).ok_or(TokenFault::Malformed)
}

impl JwtValidator {
    /// Verifies the header and the signature of a JWT that is not an access token, and returns its payload. Checks no
    /// claim. The keys are fetched as for access tokens, and not more often.
    pub(crate) async fn verify_payload(
        &self,
        token: &str,
        types: &[Typ],
        metadata: &MetadataCache,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
    ) -> Result<Vec<u8>, AuthError> {
        let jwt = read(token).map_err(AuthError::token)?;
        let algorithms = &self.rules.algorithms;
        jwt.check_type(algorithms, types).map_err(AuthError::token)?;
        let verify = |keys: &KeySet| jwt.verify_payload(keys, algorithms, types);
        let fetch = || self.fetch(metadata, client());
        let mut current = self.keys.get(fetch, Reader::request(deadline)).await?;
        let mut outcome = verify(&current.document.set);
        if let Err(fault @ (TokenFault::UnknownKey | TokenFault::Signature)) = outcome
            && !self.has_fixed_keys()
        {
            match self.keys.refetch_if_same(&current, fetch, deadline).await {
                Ok(Some(newer)) => {
                    current = newer;
                    outcome = verify(&current.document.set);
                }
                // The key may be new. This cannot be decided while the fetch fails.
                Err(error) if fault == TokenFault::UnknownKey => return Err(error),
                Ok(None) | Err(_) => {}
            }
        }
        if current.document.set.is_empty() && outcome.is_err() {
            return Err(AuthError::upstream(UpstreamFault::NoKeys));
        }
        outcome.map_err(|fault| jwt.error(fault, &current.document.set))
    }
}
