//! Checks whether a valid token is accepted on a route: a pure function of claims, rules, requirements, time and
//! certificate. It runs on every request, also on a cache hit. Its result is never cached.

use serde_json::Value;

use crate::{
    certificate::{self, CertificateBinding, CertificateThumbprint},
    claims::{Claims, scope::Scope},
    error::{AuthError, AuthErrorKind, TokenFault},
};

/// The rules for every token of one API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// The audience that `aud` must contain.
    pub(crate) audience: String,
    /// Whether `iss` and `aud` may be absent. RFC 7662 makes them optional in introspection responses; accepting
    /// that is a decision of the operator.
    pub(crate) accept_missing_issuer: bool,
    pub(crate) accept_missing_audience: bool,
    /// Claims that must be present, whatever their values.
    pub(crate) required_claims: Vec<String>,
    /// Seconds by which the local clock is behind the issuer's clock. They are added to the current time.
    pub(crate) clock_skew: i64,
    /// The tolerance for `exp` and `nbf`, in seconds.
    pub(crate) clock_tolerance: i64,
    pub(crate) groups: GroupsClaim,
    pub(crate) groups_match_all: bool,
    pub(crate) binding: CertificateBinding,
}

/// The location of the groups: a top-level claim by name, or any claim by JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupsClaim {
    Name(String),
    /// The first reference token, unescaped, and the rest of the pointer.
    Pointer(String, String),
}

impl GroupsClaim {
    /// Parses the setting. A leading `/` makes it a pointer: `/realm_access/roles`.
    pub(crate) fn new(claim: &str) -> Self {
        let Some(pointer) = claim.strip_prefix('/') else { return Self::Name(claim.to_owned()) };
        let (first, rest) = pointer.find('/').map_or((pointer, ""), |slash| pointer.split_at(slash));
        Self::Pointer(first.replace("~1", "/").replace("~0", "~"), rest.to_owned())
    }

    /// Whether a pointer is one (RFC 6901 section 3); every name will do.
    pub(crate) fn is_well_formed(claim: &str) -> bool {
        let mut escapes = claim.split('~').skip(1);
        !claim.starts_with('/') || escapes.all(|escape| escape.starts_with(['0', '1']))
    }

    fn find<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        match self {
            Self::Name(name) => claims.get(name),
            Self::Pointer(first, rest) => claims.get(first)?.pointer(rest),
        }
    }
}

/// The requirements of one mount beyond a valid token. All of them must be met; an empty list requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    pub(crate) all_scopes: Vec<Scope>,
    /// One scope of each list is required.
    pub(crate) any_scopes: Vec<Vec<Scope>>,
    /// One group of each list is required, or all of them if the rules say so.
    pub(crate) groups: Vec<Vec<String>>,
}

/// Checks issuer, subject, audience, expiry, not-before, scopes, groups and certificate binding, in this order. So
/// an expired token without the scope is rejected with 401, and a missing scope with a wrong certificate with 403.
/// (The shape of the subject was checked when the claims were parsed.) `now` is in seconds since 1970; `issuer` is
/// spelled as in the metadata.
pub(crate) fn check(
    claims: &Claims,
    rules: &Rules,
    requirements: &Requirements,
    issuer: &str,
    now: i64,
    certificate: Option<&CertificateThumbprint>,
) -> Result<(), AuthError> {
    check_token(claims, rules, issuer, now)?;
    scopes(claims, requirements)?;
    groups(claims, rules, requirements)?;
    certificate::check(claims, rules.binding, certificate)
        .map_err(|fault| AuthError::token(TokenFault::Binding).with_source(fault))
}

/// Checks the part that is the same for every route: issuer, audience and times.
pub(crate) fn check_token(claims: &Claims, rules: &Rules, issuer: &str, now: i64) -> Result<(), AuthError> {
    check_parties(claims, rules, issuer, [rules.accept_missing_issuer, rules.accept_missing_audience])?;
    // A claim that is `null` counts as absent.
    let is_missing = |name: &&String| claims.get(name).is_none_or(Value::is_null);
    if let Some(missing) = rules.required_claims.iter().find(is_missing) {
        return Err(AuthError::token(TokenFault::MissingClaim).with_source(format!("`{missing}`")));
    }
    check_times(claims, rules, now)
}

/// Checks the same of the claims that are present. For a JWT that is introspected: the response can have the others.
pub(crate) fn check_present(claims: &Claims, rules: &Rules, issuer: &str, now: i64) -> Result<(), AuthError> {
    check_parties(claims, rules, issuer, [true, true])?;
    check_times(claims, rules, now)
}

/// The error sources name the expected values, which are configuration, and never values of the token.
fn check_parties(
    claims: &Claims,
    rules: &Rules,
    issuer: &str,
    [accept_missing_issuer, accept_missing_audience]: [bool; 2],
) -> Result<(), AuthError> {
    let refused = |fault, cause: String| Err(AuthError::token(fault).with_source(cause));
    match claims.issuer() {
        Some(stated) if stated == issuer => {}
        Some(_) => return refused(TokenFault::Issuer, format!("expected {issuer:?}")),
        None if accept_missing_issuer => {}
        None => return refused(TokenFault::MissingClaim, "`iss`".to_owned()),
    }
    if claims.audience().is_empty() {
        if !accept_missing_audience {
            return refused(TokenFault::MissingClaim, "`aud`".to_owned());
        }
    } else if !claims.audience().contains(&rules.audience) {
        return refused(TokenFault::Audience, format!("expected {:?}", rules.audience));
    }
    Ok(())
}

fn check_times(claims: &Claims, rules: &Rules, now: i64) -> Result<(), AuthError> {
    // Times in claims end with the year 9999 and both settings are bounded, so nothing here can overflow.
    let now = now.saturating_add(rules.clock_skew);
    if claims.expires_at().is_some_and(|expires| expires <= now.saturating_sub(rules.clock_tolerance)) {
        return Err(AuthError::token(TokenFault::Expired));
    }
    if claims.not_before().is_some_and(|starts| starts > now.saturating_add(rules.clock_tolerance)) {
        return Err(AuthError::token(TokenFault::NotYetValid));
    }
    Ok(())
}

fn scopes(claims: &Claims, requirements: &Requirements) -> Result<(), AuthError> {
    let granted = claims.scopes();
    if !requirements.all_scopes.iter().all(|scope| granted.contains(scope.as_str())) {
        return Err(insufficient_scope(&requirements.all_scopes));
    }
    for any in &requirements.any_scopes {
        if !any.is_empty() && !any.iter().any(|scope| granted.contains(scope.as_str())) {
            return Err(insufficient_scope(any));
        }
    }
    Ok(())
}

/// Creates the error that names these scopes in its challenge.
pub(crate) fn insufficient_scope(scopes: &[Scope]) -> AuthError {
    let names: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    AuthError::new(AuthErrorKind::InsufficientScope).with_required_scopes(names.join(" "))
}

fn groups(claims: &Claims, rules: &Rules, requirements: &Requirements) -> Result<(), AuthError> {
    let fulfilled = requirements.groups.iter().all(|wanted| in_groups(claims, rules, wanted));
    if fulfilled { Ok(()) } else { Err(AuthError::new(AuthErrorKind::InsufficientGroups)) }
}

/// Returns whether the subject is in one of these groups, or in all of them if the rules say so. An empty list
/// requires nothing.
pub(crate) fn in_groups<S: AsRef<str>>(claims: &Claims, rules: &Rules, wanted: &[S]) -> bool {
    let is_member = |group: &S| group_names(claims, &rules.groups).any(|name| name == group.as_ref());
    match wanted {
        [] => true,
        wanted if rules.groups_match_all => wanted.iter().all(is_member),
        wanted => wanted.iter().any(is_member),
    }
}

/// Returns the names of the token's groups: the strings of the claim, and the `id` and `name` of its objects. A
/// claim that is no array contains no group.
pub(crate) fn group_names<'c>(claims: &'c Claims, claim: &GroupsClaim) -> impl Iterator<Item = &'c str> {
    claim.find(claims).and_then(Value::as_array).into_iter().flatten().flat_map(|group| {
        let named = |member| group.get(member).and_then(Value::as_str);
        [group.as_str(), named("id"), named("name")].into_iter().flatten()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const ISSUER: &str = "https://as.example.test";

    fn rules() -> Rules {
        Rules {
            audience: "https://api.example.test".to_owned(),
            accept_missing_issuer: false,
            accept_missing_audience: false,
            required_claims: Vec::new(),
            clock_skew: 0,
            clock_tolerance: 60,
            groups: GroupsClaim::new("groups"),
            groups_match_all: false,
            binding: CertificateBinding::WhenPresent,
        }
    }

    fn good() -> Value {
        json!({ "iss": ISSUER, "aud": "https://api.example.test", "sub": "alice", "exp": NOW + 300, "scope": "read write",
                "groups": ["staff", {"id": "g-7", "name": "ops"}] })
    }

    /// The good claims with some members replaced (or removed by a null).
    fn claims(changes: &Value) -> Claims {
        let mut value = good();
        for (name, change) in changes.as_object().unwrap() {
            value[name] = change.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    fn decide(changes: &Value, rules: &Rules, requirements: &Requirements) -> Result<(), AuthErrorKind> {
        check(&claims(changes), rules, requirements, ISSUER, NOW, None).map_err(|error| error.kind())
    }

    fn refused(fault: TokenFault) -> Result<(), AuthErrorKind> {
        Err(AuthErrorKind::InvalidToken(fault))
    }

    fn scopes_of(list: &[&str]) -> Vec<Scope> {
        list.iter().map(|scope| Scope::new(scope).unwrap()).collect()
    }

    fn groups_of(lists: &[&[&str]]) -> Requirements {
        let groups = lists.iter().map(|list| list.iter().map(ToString::to_string).collect()).collect();
        Requirements { groups, ..Requirements::default() }
    }

    #[test]
    fn a_good_token_passes() {
        assert_eq!(decide(&json!({}), &rules(), &Requirements::default()), Ok(()));
        assert_eq!(
            decide(&json!({"sub": null}), &rules(), &Requirements::default()),
            Ok(()),
            "a machine has no subject"
        );
    }

    #[test]
    fn issuer_is_compared_byte_by_byte_and_must_be_there() {
        for other in [
            "https://as.example.test/",
            "https://AS.example.test",
            "http://as.example.test",
            "",
            "https://evil",
        ] {
            assert_eq!(
                decide(&json!({"iss": other}), &rules(), &Requirements::default()),
                refused(TokenFault::Issuer),
                "{other}"
            );
        }
        assert_eq!(
            decide(&json!({"iss": null}), &rules(), &Requirements::default()),
            refused(TokenFault::MissingClaim)
        );
        let lenient = Rules { accept_missing_issuer: true, ..rules() };
        assert_eq!(decide(&json!({"iss": null}), &lenient, &Requirements::default()), Ok(()));
        assert_eq!(
            decide(&json!({"iss": "https://evil"}), &lenient, &Requirements::default()),
            refused(TokenFault::Issuer)
        );
    }

    #[test]
    fn audience_is_exact_and_must_be_there() {
        for good in [json!("https://api.example.test"), json!(["x", "https://api.example.test"])] {
            assert_eq!(decide(&json!({"aud": good}), &rules(), &Requirements::default()), Ok(()));
        }
        for bad in [
            json!("https://api.example.test/"),
            json!("HTTPS://API.EXAMPLE.TEST"),
            json!("x"),
            json!(["x"]),
            json!(""),
        ] {
            assert_eq!(
                decide(&json!({"aud": bad}), &rules(), &Requirements::default()),
                refused(TokenFault::Audience),
                "{bad}"
            );
        }
        let lenient = Rules { accept_missing_audience: true, ..rules() };
        for none in [Value::Null, json!([])] {
            assert_eq!(
                decide(&json!({"aud": none}), &rules(), &Requirements::default()),
                refused(TokenFault::MissingClaim)
            );
            assert_eq!(decide(&json!({"aud": none}), &lenient, &Requirements::default()), Ok(()));
        }
        assert_eq!(
            decide(&json!({"aud": "x"}), &lenient, &Requirements::default()),
            refused(TokenFault::Audience)
        );
    }

    #[test]
    fn required_claims_must_be_present() {
        let required = |names: &[&str]| Rules {
            required_claims: names.iter().map(ToString::to_string).collect(),
            ..rules()
        };
        for (changes, names, expected) in [
            (json!({}), &["sub", "scope"][..], Ok(())),
            (json!({"client_id": "app"}), &["client_id"], Ok(())),
            (json!({"flag": false}), &["flag"], Ok(())),
            (json!({}), &["client_id"], refused(TokenFault::MissingClaim)),
            (json!({"client_id": null}), &["sub", "client_id"], refused(TokenFault::MissingClaim)),
            (json!({"Client_ID": "app"}), &["client_id"], refused(TokenFault::MissingClaim)),
            (json!({"aud": "x"}), &["client_id"], refused(TokenFault::Audience)),
        ] {
            let seen = decide(&changes, &required(names), &Requirements::default());
            assert_eq!(seen, expected, "{changes} {names:?}");
            let seen = check_present(&claims(&changes), &required(names), ISSUER, NOW);
            assert_eq!(seen.is_err(), changes.get("aud").is_some(), "{changes}: the response can have it");
        }
    }

    #[test]
    fn expiry_and_not_before_in_whole_seconds() {
        for (skew, tolerance, exp, passes) in [
            (0, 60, NOW - 59, true),
            (0, 60, NOW - 60, false),
            (0, 0, NOW + 1, true),
            (0, 0, NOW, false),
            (30, 0, NOW + 30, false),
            (30, 0, NOW + 31, true),
            (-30, 0, NOW - 29, true),
        ] {
            let rules = Rules { clock_skew: skew, clock_tolerance: tolerance, ..rules() };
            let seen = decide(&json!({"exp": exp}), &rules, &Requirements::default());
            assert_eq!(
                seen,
                if passes { Ok(()) } else { refused(TokenFault::Expired) },
                "{skew} {tolerance} {exp}"
            );
        }
        for (skew, tolerance, nbf, passes) in [
            (0, 60, NOW + 60, true),
            (0, 60, NOW + 61, false),
            (0, 0, NOW, true),
            (0, 0, NOW + 1, false),
            (30, 0, NOW + 30, true),
        ] {
            let rules = Rules { clock_skew: skew, clock_tolerance: tolerance, ..rules() };
            let seen = decide(&json!({"nbf": nbf}), &rules, &Requirements::default());
            assert_eq!(
                seen,
                if passes { Ok(()) } else { refused(TokenFault::NotYetValid) },
                "{skew} {tolerance} {nbf}"
            );
        }
    }

    #[test]
    fn all_scopes_are_needed_and_one_of_any() {
        let needs = |all: &[&str], any: &[&[&str]]| Requirements {
            all_scopes: scopes_of(all),
            any_scopes: any.iter().map(|list| scopes_of(list)).collect(),
            groups: Vec::new(),
        };
        for (requirements, passes) in [
            (needs(&[], &[]), true),
            (needs(&["read"], &[]), true),
            (needs(&["read", "write"], &[]), true),
            (needs(&["read", "admin"], &[]), false),
            (needs(&["Read"], &[]), false),
            (needs(&[], &[&["admin", "write"]]), true),
            (needs(&[], &[&["admin", "root"]]), false),
            (needs(&[], &[&["read"], &["admin"]]), false),
            (needs(&[], &[&[]]), true),
        ] {
            let seen = decide(&json!({}), &rules(), &requirements);
            assert_eq!(
                seen,
                if passes { Ok(()) } else { Err(AuthErrorKind::InsufficientScope) },
                "{requirements:?}"
            );
        }
        let error = check(&claims(&json!({})), &rules(), &needs(&["read", "admin"], &[]), ISSUER, NOW, None)
            .unwrap_err();
        assert_eq!(error.required_scopes(), "read admin");
    }

    #[test]
    fn groups_match_strings_and_objects_any_or_all() {
        for (wanted, any, all) in [
            (&["staff"][..], true, true),
            (&["g-7"], true, true),
            (&["ops"], true, true),
            (&["staff", "admin"], true, false),
            (&["staff", "ops"], true, true),
            (&["admin"], false, false),
            (&["Staff"], false, false),
            (&[], true, true),
        ] {
            for (match_all, passes) in [(false, any), (true, all)] {
                let rules = Rules { groups_match_all: match_all, ..rules() };
                let seen = decide(&json!({}), &rules, &groups_of(&[wanted]));
                assert_eq!(
                    seen,
                    if passes { Ok(()) } else { Err(AuthErrorKind::InsufficientGroups) },
                    "{wanted:?} {match_all}"
                );
            }
        }
        for no_list in [
            json!("staff"),
            json!({"id": "staff"}),
            Value::Null,
            json!(1),
            json!([["staff"]]),
            json!([{"id": 1}]),
        ] {
            let seen = decide(&json!({"groups": no_list}), &rules(), &groups_of(&[&["staff"]]));
            assert_eq!(seen, Err(AuthErrorKind::InsufficientGroups), "{no_list}");
        }
    }

    #[test]
    fn groups_are_found_by_name_or_pointer() {
        let realm = json!({"realm_access": {"roles": ["admin"]}, "https://x.test/groups": ["admin"], "a/b": {"c~d": ["admin"]}});
        for claim in ["/realm_access/roles", "https://x.test/groups", "/a~1b/c~0d"] {
            let rules = Rules { groups: GroupsClaim::new(claim), ..rules() };
            assert_eq!(decide(&realm, &rules, &groups_of(&[&["admin"]])), Ok(()), "{claim}");
        }
        for claim in ["realm_access", "/realm_access", "/realm_access/roles/0", "/nothing/here", "/"] {
            let rules = Rules { groups: GroupsClaim::new(claim), ..rules() };
            assert_eq!(
                decide(&realm, &rules, &groups_of(&[&["admin"]])),
                Err(AuthErrorKind::InsufficientGroups),
                "{claim}"
            );
        }
    }

    #[test]
    fn the_earlier_check_decides() {
        let needs = Requirements { all_scopes: scopes_of(&["admin"]), ..groups_of(&[&["none"]]) };
        assert_eq!(
            decide(&json!({"iss": "x", "aud": "y", "exp": 1}), &rules(), &needs),
            refused(TokenFault::Issuer)
        );
        assert_eq!(decide(&json!({"aud": "y", "exp": 1}), &rules(), &needs), refused(TokenFault::Audience));
        assert_eq!(decide(&json!({"exp": 1}), &rules(), &needs), refused(TokenFault::Expired));
        assert_eq!(
            decide(&json!({"cnf": {"jkt": "x"}}), &rules(), &needs),
            Err(AuthErrorKind::InsufficientScope)
        );
        let groups_only = groups_of(&[&["none"]]);
        assert_eq!(
            decide(&json!({"cnf": {"jkt": "x"}}), &rules(), &groups_only),
            Err(AuthErrorKind::InsufficientGroups)
        );
        assert_eq!(
            decide(&json!({"cnf": {"jkt": "x"}}), &rules(), &Requirements::default()),
            refused(TokenFault::Binding)
        );
    }

    /// Any JSON value of moderate size.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(Value::from(ISSUER)),
            Just(Value::from("https://api.example.test")),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(25_000))]

        #[test]
        fn no_claims_panic_and_none_pass_without_the_required_ones(
            name in prop::sample::select(vec!["iss", "sub", "aud", "exp", "nbf", "iat", "scope", "scp", "groups", "cnf", "token_type"]),
            value in any_json(),
            skew in -86_400_i64..86_400,
        ) {
            let mut members = good();
            members[name] = value.clone();
            let rules = Rules { clock_skew: skew, ..rules() };
            let needs = Requirements { all_scopes: scopes_of(&["read"]), ..groups_of(&[&["staff"]]) };
            if let Ok(claims) = serde_json::from_value::<Claims>(members)
                && check(&claims, &rules, &needs, ISSUER, NOW, None).is_ok()
            {
                prop_assert_eq!(claims.issuer(), Some(ISSUER));
                prop_assert!(claims.audience().contains("https://api.example.test"));
                prop_assert!(claims.scopes().contains("read"));
                prop_assert!(claims.expires_at().is_none_or(|exp| exp > NOW + skew - 60));
            }
        }
    }
}
