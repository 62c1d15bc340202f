use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://as.example.test";

fn rules() -> Rules {
    Rules {
        token_issuers: Vec::new(),
        audiences: vec!["https://api.example.test".to_owned()],
        accept_missing_issuer: false,
        accept_missing_audience: false,
        allowed_clients: Vec::new(),
        required_claims: Vec::new(),
        max_token_age: None,
        custom: Vec::new(),
        clock_skew: 0,
        clock_tolerance: 60,
        scopes: ScopeMapping::default(),
        hierarchy: ScopeHierarchy::default(),
        groups: groups_in(&["groups"]),
        groups_match_all: false,
        binding: CertificateBinding::WhenPresent,
    }
}

fn groups_in(claims: &[&str]) -> GroupsMapping {
    GroupsMapping::new(&texts(claims), false)
}

/// Checks with the scopes that the rules map.
fn check(
    claims: &Claims,
    rules: &Rules,
    requirements: &Requirements,
    issuer: &str,
    now: i64,
    certificate: Option<&CertificateThumbprint>,
) -> Result<(), AuthError> {
    let mapped = rules.scopes.map(claims);
    let granted = mapped.as_ref().unwrap_or_else(|| claims.scopes());
    super::check(claims, granted, rules, requirements, issuer, now, certificate)
}

fn good() -> Value {
    json!({ "iss": ISSUER, "aud": "https://api.example.test", "sub": "alice", "exp": NOW + 300, "scope": "read write",
            "groups": ["staff", {"id": "g-7", "name": "ops"}] })
}

/// Returns the valid claims with some members replaced (or removed by a null).
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
    for other in
        ["https://as.example.test/", "https://AS.example.test", "http://as.example.test", "", "https://evil"]
    {
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
fn the_accepted_issuers_replace_that_of_the_metadata() {
    let issuers = ["http://as.example.test/services/trust", "https://as.example.test/t/2"].map(str::to_owned);
    let rules = Rules { token_issuers: issuers.to_vec(), ..rules() };
    for good in &issuers {
        assert_eq!(decide(&json!({"iss": good}), &rules, &Requirements::default()), Ok(()), "{good}");
    }
    for other in
        [ISSUER, "http://as.example.test/services/trust/", "https://as.example.test/t/3", "", "https://evil"]
    {
        let decision = decide(&json!({"iss": other}), &rules, &Requirements::default());
        assert_eq!(decision, refused(TokenFault::Issuer), "{other}");
    }
    let missing = decide(&json!({"iss": null}), &rules, &Requirements::default());
    assert_eq!(missing, refused(TokenFault::MissingClaim));
    let lenient = Rules { accept_missing_issuer: true, ..rules };
    assert_eq!(decide(&json!({"iss": null}), &lenient, &Requirements::default()), Ok(()));
    let other = decide(&json!({"iss": ISSUER}), &lenient, &Requirements::default());
    assert_eq!(other, refused(TokenFault::Issuer));
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
        required_claims: names.iter().map(|name| RequiredClaim::with_any_value((*name).to_owned())).collect(),
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
        ..Requirements::default()
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
    let error =
        check(&claims(&json!({})), &rules(), &needs(&["read", "admin"], &[]), ISSUER, NOW, None).unwrap_err();
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
        json!("staff ops"),
        json!({"id": "staff"}),
        json!({"staff": null}),
        json!({"staff": false}),
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
        let rules = Rules { groups: groups_in(&[claim]), ..rules() };
        assert_eq!(decide(&realm, &rules, &groups_of(&[&["admin"]])), Ok(()), "{claim}");
    }
    for claim in ["realm_access", "/realm_access", "/realm_access/roles/1", "/nothing/here", "/"] {
        let rules = Rules { groups: groups_in(&[claim]), ..rules() };
        assert_eq!(
            decide(&realm, &rules, &groups_of(&[&["admin"]])),
            Err(AuthErrorKind::InsufficientGroups),
            "{claim}"
        );
    }
}

#[test]
fn groups_have_many_shapes_and_all_claims_are_read() {
    let claims = claims(&json!({
        "groups": "ops team", "roles": {"admin": {"org": "x"}, "owner": true, "off": false, "none": null},
        "a": {"b": ["c", {"id": "d", "name": "e"}, 7, ["f"], {"g": "h"}]}, "n": 7, "t": true, "e": ""
    }));
    let names = |claims_read: &[&str], is_delimited| {
        GroupsMapping { is_delimited, ..groups_in(claims_read) }.names(&claims).join(",")
    };
    assert_eq!(
        names(&["groups", "roles", "/a/b", "n", "t", "e", "absent"], false),
        "ops team,admin,owner,c,d,e"
    );
    assert_eq!(names(&["groups", "e", "/a/b"], true), "ops,team,c,d,e");
    let rules = Rules { groups: groups_in(&["groups", "/a/b"]), ..rules() };
    let error = insufficient_groups(&claims, &rules, &[&["staff", "ops"][..]]).text();
    assert_eq!(
        error,
        "a required group is missing: expected \"staff\" or \"ops\"; `groups` is a string with 2 words, `/a/b` is an array \
         with 5 entries"
    );
    let scope = insufficient_scope(&claims, &rules, &ScopeUnion::new(&rules.hierarchy), &[&["read"][..]]);
    assert_eq!(
        scope.text(),
        "a required scope is missing: expected \"read\"; `scope` is a string with 2 words, `scp` is absent"
    );
}

#[test]
fn one_check_of_groups_can_have_another_claim_and_mode() {
    let claims = claims(&json!({"roles": ["admin", "dev"]}));
    let is_in = |rules: &Rules, wanted: &[&str], options| in_groups_with(&claims, rules, wanted, &options);
    let roles = || GroupOptions::default().claim("roles");
    for rules in [rules(), Rules { groups_match_all: true, ..rules() }] {
        assert!(is_in(&rules, &["staff"], GroupOptions::default()));
        assert_eq!(is_in(&rules, &["staff", "no"], GroupOptions::default()), !rules.groups_match_all);
        assert!(is_in(&rules, &["admin"], roles()));
        assert!(!is_in(&rules, &["staff"], roles()));
        assert!(is_in(&rules, &["admin", "no"], roles().match_all(false)));
        assert!(!is_in(&rules, &["admin", "no"], roles().match_all(true)));
        assert!(is_in(&rules, &["admin", "dev"], roles().match_all(true)));
        assert!(is_in(&rules, &[], roles().match_all(true)));
        assert!(!is_in(&rules, &["admin"], GroupOptions::default().claim("/roles~")));
        assert!(!is_in(&rules, &["admin"], GroupOptions::default().claim("")));
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

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn only_allowed_clients_pass() {
    let only = Rules { allowed_clients: texts(&["spa", "cli"]), ..rules() };
    for (changes, expected) in [
        (json!({"client_id": "spa"}), Ok(())),
        (json!({"azp": "cli"}), Ok(())),
        (json!({"cid": "cli"}), Ok(())),
        (json!({"appid": "cli"}), Ok(())),
        (json!({"client_id": null, "azp": null, "appid": "cli"}), Ok(())),
        (json!({"client_id": "other", "azp": "spa"}), refused(TokenFault::Client)),
        (json!({"azp": "other", "cid": "spa", "appid": "spa"}), refused(TokenFault::Client)),
        (json!({"cid": "other", "appid": "spa"}), refused(TokenFault::Client)),
        (json!({"client_id": "SPA"}), refused(TokenFault::Client)),
        (json!({"client_id": ""}), refused(TokenFault::Client)),
        (json!({"client_id": "spa cli"}), refused(TokenFault::Client)),
        (json!({"cid": ["spa"], "appid": 7}), refused(TokenFault::MissingClaim)),
        (json!({}), refused(TokenFault::MissingClaim)),
        (json!({"client_id": "other", "aud": "x"}), refused(TokenFault::Audience)),
        (json!({"client_id": "spa", "aud": null}), refused(TokenFault::MissingClaim)),
        (json!({"client_id": "other", "exp": 1}), refused(TokenFault::Client)),
    ] {
        assert_eq!(decide(&changes, &only, &Requirements::default()), expected, "{changes}");
        let present = check_present(&claims(&changes), &only, ISSUER, NOW).map_err(|error| error.kind());
        let is_missing = expected == refused(TokenFault::MissingClaim);
        assert_eq!(present, if is_missing { Ok(()) } else { expected }, "{changes}");
    }
}

#[test]
fn clients_take_the_place_of_an_audience_that_is_not_configured() {
    let for_clients = Rules { audiences: Vec::new(), allowed_clients: texts(&["spa"]), ..rules() };
    for (changes, expected) in [
        (json!({"aud": null, "client_id": "spa"}), Ok(())),
        (json!({"aud": [], "client_id": "spa"}), Ok(())),
        (json!({"aud": null, "client_id": "other"}), refused(TokenFault::Client)),
        (json!({"aud": null}), refused(TokenFault::MissingClaim)),
        (json!({"aud": "spa", "client_id": "spa"}), refused(TokenFault::Audience)),
        (json!({"client_id": "spa"}), refused(TokenFault::Audience)),
        (json!({"aud": "", "client_id": "spa"}), refused(TokenFault::Audience)),
    ] {
        assert_eq!(decide(&changes, &for_clients, &Requirements::default()), expected, "{changes}");
    }
    // The settings are validated, so that no such rules exist.
    let nothing = Rules { audiences: Vec::new(), ..rules() };
    assert_eq!(
        decide(&json!({"aud": null}), &nothing, &Requirements::default()),
        refused(TokenFault::MissingClaim)
    );
}

#[test]
fn a_required_claim_has_one_of_its_values() {
    let required = |values: &[&str]| Rules {
        required_claims: vec![RequiredClaim { name: "tid".to_owned(), values: Some(texts(values)) }],
        ..rules()
    };
    for (value, expected) in [
        (json!("a"), true),
        (json!("b"), true),
        (json!(["x", "b"]), true),
        (json!([7, true]), true),
        (json!(7), true),
        (json!(true), true),
        (json!("true"), true),
        (json!(false), false),
        (json!(70), false),
        (json!(7.5), false),
        (json!("A"), false),
        (json!("a b"), false),
        (json!(["x", ["a"]]), false),
        (json!([]), false),
        (json!({"a": "a"}), false),
    ] {
        let seen =
            decide(&json!({"tid": value}), &required(&["a", "b", "7", "true"]), &Requirements::default());
        assert_eq!(seen, if expected { Ok(()) } else { refused(TokenFault::ClaimValue) }, "{value}");
    }
    for absent in [json!({}), json!({"tid": null})] {
        assert_eq!(
            decide(&absent, &required(&["null"]), &Requirements::default()),
            refused(TokenFault::MissingClaim)
        );
    }
    let both = Rules {
        required_claims: [required(&["a"]), required(&["b"])]
            .into_iter()
            .flat_map(|one| one.required_claims)
            .collect(),
        ..rules()
    };
    assert_eq!(decide(&json!({"tid": ["b", "a"]}), &both, &Requirements::default()), Ok(()));
    assert_eq!(
        decide(&json!({"tid": "a"}), &both, &Requirements::default()),
        refused(TokenFault::ClaimValue)
    );
    let error = check_token(&claims(&json!({"tid": "of-the-caller"})), &required(&["a", "b"]), ISSUER, NOW)
        .unwrap_err();
    assert_eq!(error.text(), "a claim has a value that is not accepted: `tid`, expected \"a\" or \"b\"");
}

#[test]
fn the_age_is_the_time_since_iat() {
    for (skew, tolerance, age, most, expected) in [
        (0, 60, 0, 600, Ok(())),
        (0, 60, 659, 600, Ok(())),
        (0, 60, 660, 600, refused(TokenFault::TooOld)),
        (0, 0, 599, 600, Ok(())),
        (0, 0, 600, 600, refused(TokenFault::TooOld)),
        (30, 0, 569, 600, Ok(())),
        (30, 0, 570, 600, refused(TokenFault::TooOld)),
        (0, 60, -60, 600, Ok(())),
        (0, 60, -61, 600, refused(TokenFault::NotYetValid)),
        (30, 60, -90, 600, Ok(())),
        (30, 60, -91, 600, refused(TokenFault::NotYetValid)),
    ] {
        let rules = Rules { clock_skew: skew, clock_tolerance: tolerance, ..rules() };
        let limited = Rules { max_token_age: Some(most), ..rules.clone() };
        let issued = json!({"iat": NOW - age});
        assert_eq!(decide(&issued, &limited, &Requirements::default()), expected, "{age} {skew} {tolerance}");
        let seen = check_present(&claims(&issued), &limited, ISSUER, NOW).map_err(|error| error.kind());
        assert_eq!(seen, expected, "{age}");
        assert_eq!(decide(&issued, &rules, &Requirements::default()), Ok(()), "no limit");
    }
    let limited = Rules { max_token_age: Some(600), ..rules() };
    assert_eq!(decide(&json!({}), &limited, &Requirements::default()), refused(TokenFault::MissingClaim));
    assert_eq!(
        check_present(&claims(&json!({})), &limited, ISSUER, NOW).map_err(|error| error.kind()),
        Ok(())
    );
}

#[test]
fn every_claim_rule_must_be_met() {
    let rule = |name: &str, is_met: bool| ClaimRule::new(name.to_owned(), move |_: &Claims| is_met);
    let with = |custom| Rules { custom, ..rules() };
    let decide_with = |rules| check(&claims(&json!({})), &rules, &Requirements::default(), ISSUER, NOW, None);
    assert!(decide_with(with(vec![rule("one", true), rule("two", true)])).is_ok());
    let error = decide_with(with(vec![rule("one", true), rule("own tenant", false)])).unwrap_err();
    assert_eq!(
        (error.kind(), error.text()),
        (AuthErrorKind::ClaimRule, "a claim rule is not met: \"own tenant\"".to_owned())
    );
    let one = rule("one", true);
    assert_eq!(one, one.clone());
    assert_ne!(one, rule("one", true), "two closures are two rules");
}

/// A few values that are right, wrong or absent.
fn few(right: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let right = prop::sample::select(right).prop_map(Value::from);
    prop_oneof![2 => right, 1 => Just(json!("wrong")), 1 => Just(Value::Null), 1 => Just(json!([])), 1 => any_json()]
}

prop_compose! {
    fn any_rules()(
        has_audience in any::<bool>(),
        has_clients in any::<bool>(),
        accept_missing_issuer in any::<bool>(),
        accept_missing_audience in any::<bool>(),
        values in prop::option::of(Just(texts(&["a", "b"]))),
        max_token_age in prop::option::of(1..1000_i64),
        rule in prop::option::of(any::<bool>()),
        clock_skew in -100..100_i64,
    ) -> Rules {
        let with_values = |values| RequiredClaim { name: "tid".to_owned(), values: Some(values) };
        Rules {
            audiences: if has_audience { rules().audiences } else { Vec::new() },
            allowed_clients: if has_clients { texts(&["spa", "cli"]) } else { Vec::new() },
            required_claims: values.map(with_values).into_iter().collect(),
            custom: rule.map(|is_met| ClaimRule::new("rule".to_owned(), move |_| is_met)).into_iter().collect(),
            accept_missing_issuer, accept_missing_audience, max_token_age, clock_skew, ..rules()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25_000))]

    /// States each check again, in another form.
    #[test]
    fn no_combination_accepts_a_token_that_fails_a_check(
        rules in any_rules(),
        aud in few(&["https://api.example.test"]),
        client_id in few(&["spa", "cli"]),
        azp in few(&["spa"]),
        tid in few(&["a", "b"]),
        issued in prop::option::of(NOW - 1500..NOW + 1500),
    ) {
        let mut members = good();
        for (name, value) in [("aud", aud), ("client_id", client_id), ("azp", azp), ("tid", tid.clone()), ("iat", json!(issued))] {
            members[name] = value;
        }
        let accepts_rule = rules.custom.iter().all(|rule| rule.check(&claims(&json!({}))).is_ok());
        if let Ok(claims) = serde_json::from_value::<Claims>(members)
            && check(&claims, &rules, &Requirements::default(), ISSUER, NOW, None).is_ok()
        {
            prop_assert!(accepts_rule);
            let is_allowed = claims.client_id().is_some_and(|client| ["spa", "cli"].contains(&client));
            prop_assert!(is_allowed || rules.allowed_clients.is_empty());
            if claims.audience().is_empty() {
                let is_for_client = rules.audiences.is_empty() && is_allowed;
                prop_assert!(rules.accept_missing_audience || is_for_client);
            } else {
                prop_assert!(claims.audience().contains(&rules.audiences[0]));
            }
            if !rules.required_claims.is_empty() {
                let has = |value: &Value| value == "a" || value == "b";
                prop_assert!(has(&tid) || tid.as_array().is_some_and(|list| list.iter().any(has)));
            }
            if let Some(most) = rules.max_token_age {
                let age = NOW + rules.clock_skew - issued.unwrap();
                prop_assert!((-60..most + 60).contains(&age), "{}", age);
            }
        }
    }
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

    /// A scope or group that is accepted is a text in one of the configured claims.
    #[test]
    fn only_the_configured_claims_grant(
        read in few(&["read", "x:read", "other read"]),
        other in few(&["read"]),
        is_delimited in any::<bool>(),
        prefix in prop::option::of(Just("x:".to_owned())),
    ) {
        let claims = claims(&json!({"scope": "read", "permissions": read.clone(), "groups": other, "roles": read.clone()}));
        let rules = Rules {
            scopes: ScopeMapping { claims: Some(vec!["permissions".into()]), prefix: prefix.clone() },
            groups: GroupsMapping { is_delimited, ..groups_in(&["roles"]) },
            ..rules()
        };
        let text = read.to_string();
        let scopes = Requirements { all_scopes: scopes_of(&["read"]), ..Requirements::default() };
        if check(&claims, &rules, &scopes, ISSUER, NOW, None).is_ok() {
            prop_assert!(text.contains("read"));
            prop_assert!(prefix.is_some() || text != "\"x:read\"");
        }
        if check(&claims, &rules, &groups_of(&[&["read"]]), ISSUER, NOW, None).is_ok() {
            prop_assert!(text == "\"read\"" || (is_delimited && text == "\"other read\""));
        }
    }
}
