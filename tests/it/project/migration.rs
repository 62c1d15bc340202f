//! The page `docs/migration.md`: every export, method and error of the SDK has a row, and every name of this crate in these
//! rows is a link, which rustdoc resolves.

use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/migration.md");

/// The names that the entry points `.`, `/express` and `/fastify` of `@monocloud/backend-node` 0.3.9 export.
const EXPORTS: [&str; 34] = [
    "AccessTokenClaims",
    "AuthenticatedExpressRequest",
    "AuthenticatedFastifyRequest",
    "CertificateBindingValidation",
    "ClientAuthMethod",
    "ClientCertificateResolver",
    "IIntrospectionCache",
    "IntrospectOptions",
    "IsUserInGroupOptions",
    "IssuerMetadata",
    "Jwk",
    "Jwks",
    "JwsHeaderParameters",
    "JwtClaims",
    "MonoCloudAuthBaseError",
    "MonoCloudBackendNodeClient",
    "MonoCloudBackendNodeClientOptions",
    "MonoCloudHttpError",
    "MonoCloudOPError",
    "MonoCloudOidcBackendClient",
    "MonoCloudOidcBackendClientOptions",
    "MonoCloudRawResponse",
    "MonoCloudTokenError",
    "MonoCloudTokenErrorCode",
    "MonoCloudValidationError",
    "MtlsEndpointAliases",
    "ProtectApiRequestOptions",
    "ProtectHook",
    "ProtectMiddleware",
    "ProtectOptions",
    "TokenResolver",
    "ValidateAccessTokenOptions",
    "ValidateJwtAccessTokenOptions",
    "protectApi",
];

/// The names of `/utils`, and the entry point with the helpers of the SDK.
const UTILITIES: [&str; 13] = [
    "/internal",
    "decrypt",
    "decryptAuthState",
    "decryptSession",
    "encrypt",
    "encryptAuthState",
    "encryptSession",
    "generateNonce",
    "generatePKCE",
    "generateState",
    "isUserInGroup",
    "mergeArrays",
    "parseCallbackParams",
];

/// The methods of both clients.
const METHODS: [&str; 11] = [
    "constructor",
    "decodeJwt",
    "getJwks",
    "getMetadata",
    "introspectAccessToken",
    "setClockSkew",
    "setClockTolerance",
    "validateAccessToken",
    "validateAccessTokenClaims",
    "validateCertificateBinding",
    "validateJwtAccessToken",
];

/// The values of `MonoCloudTokenErrorCode`, and the classes that the SDK throws.
const ERRORS: [&str; 8] = [
    "MonoCloudHttpError",
    "MonoCloudOPError",
    "MonoCloudTokenError",
    "MonoCloudValidationError",
    "inactive_token",
    "insufficient_groups",
    "insufficient_scope",
    "invalid_token",
];

/// The part of the page below this heading.
fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// The first and the last cells of the rows of all tables in a section.
fn rows(heading: &str) -> Vec<(&'static str, &'static str)> {
    let rows = section(heading).lines().filter(|line| line.starts_with("| ")).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        (cells[0], *cells.last().unwrap())
    });
    let is_body = |(first, _): &(&str, &str)| *first != "---";
    let rows: Vec<_> = rows.filter(is_body).collect();
    assert!(rows.len() > 5, "{heading}: {rows:?}");
    rows
}

fn quotes(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The names in the first cells, with their counterparts.
fn counterparts(heading: &str) -> BTreeMap<&'static str, &'static str> {
    let mut found = BTreeMap::new();
    for (first, last) in rows(heading) {
        for name in quotes(first).filter(|name| !["/express", "/fastify"].contains(name)) {
            assert_eq!(found.insert(name, last), None, "{name} has two rows");
        }
    }
    found
}

#[test]
fn every_export_and_every_method_of_the_sdk_has_a_counterpart_or_a_reason() {
    let mut exports: Vec<&str> = EXPORTS.into_iter().chain(UTILITIES).collect();
    exports.sort_unstable();
    for (heading, names) in [("Exports", exports), ("Methods of the clients", METHODS.to_vec())] {
        let found = counterparts(heading);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), names, "{heading}");
        for (name, counterpart) in found {
            let is_told = counterpart.contains("](crate::")
                || counterpart.starts_with("the same")
                || counterpart.starts_with("not needed, because")
                || counterpart == "not needed, for the same reason";
            assert!(is_told, "{name}: {counterpart}");
        }
    }
}

#[test]
fn every_error_and_every_code_of_the_sdk_has_a_row() {
    let rows = rows("Errors");
    for name in ERRORS {
        assert!(rows.iter().any(|(first, _)| quotes(first).any(|quote| quote == name)), "{name}");
    }
}

/// Whether a text is a path or a type of Rust, and not an example.
fn is_item(quote: &str) -> bool {
    let is_path = quote.split("::").all(|part| {
        !part.is_empty() && part.chars().all(|character| character.is_alphanumeric() || character == '_')
    });
    is_path && (quote.contains("::") || quote.starts_with(char::is_uppercase))
}

#[test]
fn every_name_of_this_crate_in_the_tables_is_a_link_that_rustdoc_resolves() {
    assert!(is_item("TokenFault::Type") && is_item("Claims"));
    assert!(!is_item("protect.scopes([\"a\"])") && !is_item("code") && !is_item("web::get()"));
    let mut links = 0;
    for heading in ["Exports", "Methods of the clients", "Errors"] {
        for (_, last) in rows(heading) {
            let parts: Vec<_> = last.split("](crate::").collect();
            for part in parts.windows(2) {
                let shown = part[0].rsplit('`').nth(1).unwrap();
                let target = part[1].split(')').next().unwrap();
                assert!(target.ends_with(shown), "`{shown}` links to {target}");
                links += 1;
            }
            let text = last.replace("[`", "").replace("`](", "");
            let unlinked: Vec<_> = quotes(&text).filter(|quote| is_item(quote)).collect();
            assert!(unlinked.is_empty(), "expected links: {unlinked:?} in {last}");
        }
    }
    assert!(links > 60, "{links} links were found");
}
