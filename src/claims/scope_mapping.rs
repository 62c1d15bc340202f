//! The claims that grant scopes, if they are not the standard ones.

use serde_json::Value;

use super::{
    Claims, Scopes,
    claim_path::{self, ClaimPath},
};

/// A claim that grants scopes; see [`scope_claims`](crate::ProtectApiBuilder::scope_claims).
///
/// ```
/// use actix_protect_api::{ProtectApi, ScopeClaim};
///
/// let roles = ScopeClaim::from("/realm_access/roles").add_prefix("role:");
/// let protect = ProtectApi::builder("https://issuer.example.test", "my-api")
///     .scope_claims([ScopeClaim::from("scope"), roles])
///     .build()?;
/// # Ok::<(), actix_protect_api::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeClaim {
    pub(crate) text: String,
    path: ClaimPath,
    strip_prefix: Option<String>,
    add_prefix: String,
}

impl ScopeClaim {
    /// Removes this prefix from the scopes of the claim that start with it. The other scopes stay as they are.
    #[must_use]
    pub fn strip_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.strip_prefix = Some(prefix.into());
        self
    }

    /// Adds this prefix to all scopes of the claim, after a prefix was removed. A claim that is not meant for scopes,
    /// such as roles, then cannot grant a scope of the same name.
    #[must_use]
    pub fn add_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.add_prefix = prefix.into();
        self
    }
}

impl From<&str> for ScopeClaim {
    fn from(claim: &str) -> Self {
        Self {
            text: claim.to_owned(),
            path: ClaimPath::new(claim),
            strip_prefix: None,
            add_prefix: String::new(),
        }
    }
}

impl From<String> for ScopeClaim {
    fn from(claim: String) -> Self {
        Self::from(claim.as_str())
    }
}

/// The configured claims and prefix. By default the standard claims are read without any cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScopeMapping {
    /// The claims; `None` reads the standard ones.
    pub(crate) claims: Option<Vec<ScopeClaim>>,
    /// The prefix to strip if a claim has no other.
    pub(crate) prefix: Option<String>,
}

impl ScopeMapping {
    /// Returns the scopes, or `None` if they are those of [`Claims::scopes`].
    pub(crate) fn map(&self, claims: &Claims) -> Option<Scopes> {
        if self.claims.is_none() && self.prefix.is_none() {
            return None;
        }
        let mut scopes = Scopes::default();
        match &self.claims {
            None => claims.scopes().iter().for_each(|scope| self.push(&mut scopes, scope, None)),
            Some(sources) => sources.iter().for_each(|source| self.extend(&mut scopes, source, claims)),
        }
        Some(scopes)
    }

    fn extend(&self, scopes: &mut Scopes, source: &ScopeClaim, claims: &Claims) {
        let mut push = |scope| self.push(scopes, scope, Some(source));
        match source.path.find(claims) {
            Some(Value::String(list)) => list.split_ascii_whitespace().for_each(push),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).for_each(&mut push),
            _ => {}
        }
    }

    /// Adds one scope with the prefixes of its claim.
    fn push(&self, scopes: &mut Scopes, scope: &str, source: Option<&ScopeClaim>) {
        let own = source.and_then(|source| source.strip_prefix.as_deref());
        let stripped = own.or(self.prefix.as_deref()).and_then(|prefix| scope.strip_prefix(prefix));
        let rest = stripped.unwrap_or(scope);
        if !rest.is_empty() {
            scopes.push(source.map_or("", |source| &source.add_prefix), rest);
        }
    }

    /// Describes the shapes of the claims that are read.
    pub(crate) fn describe(&self, claims: &Claims) -> String {
        match &self.claims {
            Some(sources) => claim_path::describe(sources.iter().map(|source| &source.path), claims),
            None => claim_path::describe(["scope", "scp"].map(ClaimPath::new).iter(), claims),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapped(mapping: &ScopeMapping, claims: Value) -> Option<String> {
        let claims: Claims = serde_json::from_value(claims).unwrap();
        mapping.map(&claims).map(|scopes| scopes.iter().collect::<Vec<_>>().join(","))
    }

    fn mapping(claims: impl IntoIterator<Item = ScopeClaim>) -> ScopeMapping {
        ScopeMapping { claims: Some(claims.into_iter().collect()), prefix: None }
    }

    #[test]
    fn the_default_maps_nothing() {
        assert_eq!(mapped(&ScopeMapping::default(), json!({"scope": "a"})), None);
    }

    #[test]
    fn all_claims_are_read_whatever_their_shape() {
        let all = mapping(["scope", "permissions", "/realm_access/roles"].map(ScopeClaim::from));
        for (claims, expected) in [
            (
                json!({"scope": "a  b", "permissions": ["c", "d e"], "realm_access": {"roles": "f g"}}),
                "a,b,c,d e,f,g",
            ),
            (json!({"scp": "a", "permissions": ["c", 7, null, ["x"], {"y": "z"}]}), "c"),
            (json!({"permissions": {"admin": true}, "realm_access": ["roles"]}), ""),
            (json!({"permissions": 7, "realm_access": {"roles": null}}), ""),
            (json!({}), ""),
        ] {
            assert_eq!(mapped(&all, claims.clone()).as_deref(), Some(expected), "{claims}");
        }
    }

    #[test]
    fn prefixes_are_stripped_where_present_and_added() {
        let claims = json!({"scope": "api://x/read write api://x/ api://x", "roles": ["admin", "x.admin"]});
        let plain = ScopeMapping { prefix: Some("api://x/".to_owned()), claims: None };
        assert_eq!(mapped(&plain, claims.clone()).as_deref(), Some("read,write,api://x"));
        let roles = ScopeClaim::from("roles").strip_prefix("x.").add_prefix("role:");
        let both = ScopeMapping { claims: Some(vec!["scope".into(), roles]), ..plain };
        assert_eq!(mapped(&both, claims).as_deref(), Some("read,write,api://x,role:admin,role:admin"));
        assert_eq!(
            mapped(&both, json!({"scope": "x.a", "roles": "api://x/b x."})).as_deref(),
            Some("x.a,role:api://x/b")
        );
    }

    #[test]
    fn the_description_has_shapes_and_no_values() {
        let claims: Claims = serde_json::from_value(json!({
            "scp": ["secret"], "permissions": "s1 s2", "o": {"secret": 1}, "n": 77, "b": true, "z": null, "e": []
        }))
        .unwrap();
        let text = |names: &[&str]| mapping(names.iter().copied().map(ScopeClaim::from)).describe(&claims);
        assert_eq!(
            ScopeMapping::default().describe(&claims),
            "`scope` is absent, `scp` is an array with 1 entry"
        );
        assert_eq!(
            text(&["permissions", "o", "n", "b", "z", "e", "/o/no", "/a~1b"]),
            "`permissions` is a string with 2 words, `o` is an object with 1 entry, `n` is a number, `b` is a boolean, \
             `z` is absent, `e` is an array with 0 entries, `/o/no` is absent, `/a~1b` is absent"
        );
    }
}
