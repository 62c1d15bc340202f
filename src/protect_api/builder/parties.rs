//! The settings that decide for whom a token was issued: audiences, clients, required claims, and the age.

use std::time::Duration;

use super::ProtectApiBuilder;
use crate::policy::RequiredClaim;

impl ProtectApiBuilder {
    /// Sets the identifier of this API, which the token's `aud` must contain. Default: none, it is
    /// required unless [`allowed_clients`](Self::allowed_clients) are set.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.audiences([audience])
    }

    /// Sets several identifiers of this API. The token's `aud` must contain one of them. Default: none, one audience is
    /// required, as for [`audience`](Self::audience).
    pub fn audiences(mut self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.audiences = audiences.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the clients whose tokens are accepted. A token of another client is rejected with 401. The client of a token
    /// is the first of its claims `client_id`, `azp`, `cid` and `appid` that is present. Default: all clients.
    ///
    /// **Without an audience**, the clients take its place, for servers whose access tokens have no `aud` (Cognito): a
    /// token without `aud` is then accepted from these clients, and a token with any `aud` is rejected. With an
    /// audience, both are checked.
    pub fn allowed_clients(mut self, clients: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.allowed_clients = Some(clients.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the names of claims that each token must have, such as `client_id` if ID tokens lack it. Their values
    /// are not checked; see [`require_claim`](Self::require_claim). A token without one of them is rejected with 401.
    /// Default: none beyond `iss`, `aud` and, for JWTs, `exp`.
    pub fn required_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.required_claims.retain(|claim| claim.values.is_some());
        self.required_claims.extend(names.into_iter().map(Into::into).map(RequiredClaim::with_any_value));
        self
    }

    /// Requires that a claim has **one** of these values, in addition to all claims that are already required. Of an
    /// array, one element is enough. A number or boolean is compared as its JSON text. A token without the claim, or
    /// with another value, is rejected with 401. Default: none.
    pub fn require_claim(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.required_claims.push(RequiredClaim { name: name.into(), values: Some(values) });
        self
    }

    /// Sets the longest time since the token was issued (`iat`), from 1 s to a year. An older token is rejected with
    /// 401, as is a token without `iat` or with an `iat` in the future. [`clock_skew`](Self::clock_skew) and
    /// [`clock_tolerance`](Self::clock_tolerance) apply as to `exp`. Default: no limit.
    pub fn max_token_age(mut self, age: Duration) -> Self {
        self.max_token_age = Some(age);
        self
    }

    /// Requires the claims of the variable: names, and `name=value`. Values of one name are alternatives.
    pub(crate) fn required_claim_entries(self, entries: Vec<String>) -> Self {
        let mut names = Vec::new();
        let mut values: Vec<(String, Vec<String>)> = Vec::new();
        for entry in entries {
            let Some((name, value)) = entry.split_once('=') else {
                names.push(entry);
                continue;
            };
            match values.iter_mut().find(|(known, _)| known == name) {
                Some((_, alternatives)) => alternatives.push(value.to_owned()),
                None => values.push((name.to_owned(), vec![value.to_owned()])),
            }
        }
        let builder = self.required_claims(names);
        values.into_iter().fold(builder, |builder, (name, values)| builder.require_claim(name, values))
    }
}
