//! The recipes of `docs/servers.md`, run against the test issuer, which imitates the tokens of each server.

use std::collections::{BTreeMap, BTreeSet};

use actix_protect_api::{
    AuthErrorKind, ProtectApi, ProtectApiBuilder, profile,
    test::{TestIssuer, Vendor},
};
use serde_json::{Value, json};
use url::Url;

use crate::support::service::{Api, Outcome};

const PAGE: &str = include_str!("../../docs/servers.md");
const PREFIX: &str = "MONOCLOUD_BACKEND_";

/// One recipe: the heading, the imitated server, and the requirements that a good token meets.
struct Case {
    heading: &'static str,
    vendor: Vendor,
    scope: Option<&'static str>,
    group: Option<&'static str>,
    /// Changes that make a good token one of another tenant, client or type.
    wrong: Vec<Value>,
}

fn case(
    heading: &'static str,
    vendor: Vendor,
    scope: &'static str,
    group: &'static str,
    wrong: impl IntoIterator<Item = Value>,
) -> Case {
    let some = |name: &'static str| Some(name).filter(|name| !name.is_empty());
    Case { heading, vendor, scope: some(scope), group: some(group), wrong: wrong.into_iter().collect() }
}

/// Every recipe but that of Google, which has no variables.
fn cases() -> Vec<Case> {
    let no_scp = || json!({ "scp": null });
    let no_scope = || json!({ "scope": null });
    let tenant = || json!({ "tid": "another" });
    vec![
        case(
            "Keycloak",
            Vendor::Keycloak,
            "read",
            "admin",
            [json!({ "aud": "account" }), json!({ "typ": "ID" })],
        ),
        case("Entra ID, version 2", Vendor::EntraUser, "read", "admin", [tenant(), no_scp()]),
        case("Entra ID, daemon", Vendor::EntraDaemon, "", "Api.Read.All", [tenant()]),
        case("Entra ID, version 1", Vendor::EntraV1, "read", "admin", [tenant(), no_scp()]),
        case("Entra ID, several tenants", Vendor::EntraUser, "read", "admin", [no_scp()]),
        case("Azure AD B2C", Vendor::AzureAdB2c, "read", "", [json!({ "tfp": "B2C_1_other" }), no_scp()]),
        case("Auth0", Vendor::Auth0, "admin", "", []),
        case("Okta", Vendor::Okta, "read", "admin", []),
        case(
            "Amazon Cognito",
            Vendor::Cognito,
            "read",
            "admin",
            [json!({ "token_use": "id" }), json!({ "client_id": "another" }), json!({ "client_id": null })],
        ),
        case("Zitadel", Vendor::Zitadel, "", "admin", [json!({ "jti": null })]),
        case("authentik", Vendor::Authentik, "", "admin", [json!({ "uid": null })]),
        case("Ory Hydra", Vendor::Hydra, "read", "", []),
        case("AD FS", Vendor::AdFs, "openid", "admin", [no_scp()]),
        case("Firebase", Vendor::Firebase, "", "admin", [json!({ "firebase": null })]),
        case("Supabase", Vendor::Supabase, "", "admin", [json!({ "role": "anon" })]),
        case("Salesforce", Vendor::Salesforce, "api", "", [json!({ "client_id": "another" })]),
        case("Kubernetes service accounts", Vendor::Kubernetes, "", "", []),
        case(
            "GitHub Actions",
            Vendor::GitHubActions,
            "",
            "",
            [
                json!({ "repository_id": "1", "repository": "acme/shop" }),
                json!({ "ref": "refs/pull/1/merge" }),
            ],
        ),
        case("Spring Authorization Server", Vendor::Spring, "read", "admin", [no_scope()]),
        case("Duende", Vendor::Duende, "read", "admin", []),
        case("better-auth", Vendor::BetterAuth, "read", "", []),
        case("oidc-provider", Vendor::OidcProvider, "read", "admin", []),
        case("django-oauth-toolkit", Vendor::DjangoOauthToolkit, "read", "", []),
        case("MonoCloud", Vendor::MonoCloud, "read", "admin", []),
    ]
}

/// The sections of the page by their headings.
fn sections() -> BTreeMap<&'static str, &'static str> {
    PAGE.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

/// The variables of a section, with continued lines joined.
fn variables(section: &str) -> Vec<(String, String)> {
    let Some((_, block)) = section.split_once("```sh\n") else { return Vec::new() };
    let block = block.split("```").next().unwrap().replace("\\\n", "");
    let lines = block.lines().map(|line| line.split_once('=').unwrap());
    lines.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// A running recipe.
struct Recipe {
    issuer: TestIssuer,
    variables: Vec<(String, String)>,
}

impl Recipe {
    /// Starts an issuer at the recipe's path, and replaces the hosts of the server in all variables.
    fn start(section: &str) -> Self {
        let mut variables = variables(section);
        let find = |name: &str| get(&variables, name).map(str::to_owned);
        let domain = find("TENANT_DOMAIN").unwrap();
        let located = find("METADATA_URL").unwrap_or_else(|| domain.clone());
        let path = Url::parse(&located).unwrap().path().replace("/.well-known/openid-configuration", "");

        let mut builder =
            TestIssuer::builder().path(&path).trailing_slash(path.len() > 1 && path.ends_with('/'));
        if let (Some(id), Some(secret)) = (find("CLIENT_ID"), find("CLIENT_SECRET")) {
            builder = builder.client(&id, &secret);
        }
        let issuer = builder.start();
        let origin = Url::parse(issuer.issuer()).unwrap().origin().ascii_serialization();
        let hosts: BTreeSet<String> =
            [&domain, &located].map(|url| url.split('/').nth(2).unwrap().to_owned()).into();
        let is_url = |name: &str| {
            ["TENANT_DOMAIN", "METADATA_URL", "TOKEN_ISSUERS"].contains(&name.strip_prefix(PREFIX).unwrap())
        };
        for (_, value) in variables.iter_mut().filter(|(name, _)| is_url(name)) {
            for host in &hosts {
                for scheme in ["https", "http"] {
                    *value = value.replace(&format!("{scheme}://{host}"), &origin);
                }
            }
        }
        let named = get(&variables, "TENANT_DOMAIN").unwrap().to_owned();
        issuer.set_metadata(|mut metadata| {
            metadata["issuer"] = named.into();
            metadata
        });
        Self { issuer, variables }
    }

    fn protect(&self) -> ProtectApi {
        ProtectApi::builder_from_variables(PREFIX, self.variables.clone()).build().unwrap()
    }

    fn audience(&self) -> Option<&str> {
        get(&self.variables, "AUDIENCE")
            .or_else(|| get(&self.variables, "AUDIENCES").and_then(|list| list.split(' ').next()))
    }

    /// A token of the server with these changes.
    fn token(&self, vendor: Vendor, changes: &Value) -> String {
        let named = get(&self.variables, "TOKEN_ISSUERS").or_else(|| get(&self.variables, "TENANT_DOMAIN"));
        let mut claims = json!({});
        if vendor != Vendor::DjangoOauthToolkit {
            claims["iss"] = named.unwrap().into();
        }
        if let Some(audience) = self.audience() {
            claims["aud"] = json!([audience, "https://userinfo.example.test"]);
        }
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.issuer.imitate(vendor, claims)
    }
}

fn get<'v>(variables: &'v [(String, String)], name: &str) -> Option<&'v str> {
    let found = variables.iter().find(|(one, _)| one.strip_prefix(PREFIX) == Some(name));
    found.map(|(_, value)| value.as_str())
}

/// The changes that no recipe accepts.
fn always_wrong(recipe: &Recipe) -> Vec<Value> {
    let mut wrong = vec![
        json!({ "iss": "https://another.example.test" }),
        json!({ "exp": 1_000_000_000 }),
        // An ID token, as OpenID Connect Core sections 2 and 3.1.3.6 describe it.
        json!({ "aud": "app", "nonce": "n", "at_hash": "h", "scope": null, "scp": null }),
    ];
    if recipe.audience().is_some() {
        wrong.push(json!({ "aud": "https://another.example.test" }));
        wrong.push(json!({ "aud": null }));
    }
    wrong
}

fn is_rejected(outcome: Outcome) -> bool {
    matches!(outcome, Err(AuthErrorKind::InvalidToken(_)))
}

#[test]
fn every_recipe_has_a_case_and_a_label() {
    let sections = sections();
    let with_case: BTreeSet<_> = cases().iter().map(|case| case.heading).collect();
    let with_recipe: BTreeSet<_> = sections
        .iter()
        .filter(|(_, text)| !variables(text).is_empty())
        .map(|(heading, _)| *heading)
        .collect();
    assert_eq!(with_recipe, with_case);
    assert_eq!(sections.len(), with_case.len() + 1, "only Google has no recipe");
    let labels = ["real server", "source", "vendor documentation", "published payload", "general knowledge"];
    for (heading, text) in sections {
        let evidence =
            text.split_once("\n- Evidence: ").unwrap_or_else(|| panic!("{heading} has no label")).1;
        assert!(labels.iter().any(|label| evidence.starts_with(label)), "{heading}: {evidence}");
    }
}

/// The tokens that an API of this configuration accepts or rejects in error.
async fn problems_of(case: &Case, recipe: &Recipe, protect: &ProtectApi) -> Vec<String> {
    let mut problems = Vec::new();
    let plain = Api::of(protect, None).await;
    let mut strict = protect.clone();
    if let Some(scope) = case.scope {
        strict = strict.scopes([scope]);
    }
    if let Some(group) = case.group {
        strict = strict.groups([group]);
    }
    let strict = Api::of(&strict, None).await;
    let good = recipe.token(case.vendor, &json!({}));
    let mut check = |api: &str, changes: &Value, outcome: Outcome, is_good: bool| {
        if !is_good {
            problems.push(format!("{}, {api}, {changes}: {outcome:?}", case.heading));
        }
    };
    for (name, api) in [("plain", &plain), ("strict", &strict)] {
        let outcome = api.outcome(&good).await;
        check(name, &json!("good"), outcome, outcome.is_ok());
    }
    let unscoped = Api::of(&protect.scopes(["another"]), None).await.outcome(&good).await;
    check("another scope", &json!("good"), unscoped, unscoped == Err(AuthErrorKind::InsufficientScope));
    for changes in always_wrong(recipe).iter().chain(&case.wrong) {
        let outcome = plain.outcome(&recipe.token(case.vendor, changes)).await;
        check("wrong", changes, outcome, is_rejected(outcome));
    }
    problems
}

#[actix_web::test]
async fn every_recipe_accepts_good_tokens_and_rejects_wrong_ones() {
    let sections = sections();
    let mut problems = Vec::new();
    for case in cases() {
        let recipe = Recipe::start(sections[case.heading]);
        problems.extend(problems_of(&case, &recipe, &recipe.protect()).await);
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The profiles, by the headings of their recipes, with the values of the recipes.
fn profiles() -> BTreeMap<&'static str, ProtectApiBuilder> {
    let cognito = profile::cognito("eu-west-1", "eu-west-1_Ab", ["app"]).scope_prefix("my-api/");
    let entra = profile::entra_tenants("API_ID", ["TENANT"]);
    [("Amazon Cognito", cognito), ("Entra ID, several tenants", entra)].into()
}

#[test]
fn a_recipe_with_more_than_three_settings_has_a_profile_with_the_same_settings() {
    const BASIC: [&str; 5] = ["TENANT_DOMAIN", "AUDIENCE", "AUDIENCES", "CLIENT_ID", "CLIENT_SECRET"];
    let mut profiles = profiles();
    for (heading, text) in sections() {
        let variables = variables(text);
        let further =
            variables.iter().filter(|(name, _)| !BASIC.contains(&name.strip_prefix(PREFIX).unwrap()));
        let profile = profiles.remove(heading);
        assert_eq!(further.count() > 3, profile.is_some(), "{heading}");
        assert_eq!(
            text.contains("(crate::profile::"),
            profile.is_some(),
            "{heading} does not name its profile"
        );
        if let Some(profile) = profile {
            let recipe = ProtectApi::builder_from_variables(PREFIX, variables).build().unwrap();
            assert_eq!(format!("{:?}", profile.build().unwrap()), format!("{recipe:?}"), "{heading}");
        }
    }
    assert!(profiles.is_empty(), "{profiles:?} have no recipe");
}

#[actix_web::test]
async fn every_profile_accepts_good_tokens_and_rejects_wrong_ones() {
    let (sections, cases) = (sections(), cases());
    let mut problems = Vec::new();
    for (heading, mut profile) in profiles() {
        let case = cases.iter().find(|case| case.heading == heading).unwrap();
        let recipe = Recipe::start(sections[heading]);
        let find = |name| get(&recipe.variables, name).map(str::to_owned);
        profile = profile.issuer(find("TENANT_DOMAIN").unwrap());
        if let Some(url) = find("METADATA_URL") {
            profile = profile.metadata_url(url).token_issuers(find("TOKEN_ISSUERS"));
        }
        problems.extend(problems_of(case, &recipe, &profile.build().unwrap()).await);
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn a_profile_without_clients_or_tenants_is_an_error() {
    let none: [&str; 0] = [];
    let cognito = profile::cognito("eu-west-1", "eu-west-1_Ab", none).build().unwrap_err();
    assert!(cognito.to_string().contains("allowed_clients"), "{cognito}");
    let entra = profile::entra_tenants("API_ID", none).build().unwrap_err();
    assert_eq!(entra.problems()[0].to_string(), "tenants: is empty, expected the ids of tenants");
    assert!(profile::entra_tenants("API_ID", ["{tenantid}"]).build().is_err());
}

#[test]
fn an_argument_of_a_profile_that_would_change_the_url_is_an_error() {
    for part in
        ["", " ", "evil.example/", "a/b", "a?", "a#", "a@b", "a:1", "..", "a\\b", "%2e", "é", "{tenantid}"]
    {
        let problems = |builder: ProtectApiBuilder, argument: &str| {
            let error = builder.build().unwrap_err();
            let start = format!("{argument}: is {part:?}, expected ");
            assert!(error.problems().iter().any(|one| one.to_string().starts_with(&start)), "{error}");
        };
        problems(profile::cognito(part, "eu-west-1_Ab", ["app"]), "region");
        problems(profile::cognito("eu-west-1", part, ["app"]), "user_pool");
        problems(profile::entra_tenants("API_ID", ["TENANT", part]), "tenants");
    }
}
