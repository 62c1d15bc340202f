//! How deployed clients parse a challenge. These parsers imitate the source of the clients.

use actix_protect_api::{ProtectApi, test::TestIssuer};
use actix_web::{
    App,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    middleware::{Next, from_fn},
    web,
};
use proptest::prelude::*;
use serde_json::json;

use crate::support::{
    app::{serve, whoami},
    service::introspecting,
};

/// A field as the regular expression `name=(?:"([^"]+)"|([^\s,]+))` finds it: at its first place in the header.
fn field(header: &str, name: &str) -> Option<String> {
    let start = format!("{name}=");
    header.match_indices(&start).find_map(|(index, _)| {
        let rest = header.get(index + start.len()..)?;
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        match quoted {
            Some((value, _)) if !value.is_empty() => Some(value.to_owned()),
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len());
                rest.get(..end).map(str::to_owned).filter(|value| !value.is_empty())
            }
        }
    })
}

/// `error`, `scope` and `resource_metadata`.
type Fields = [Option<String>; 3];

fn fields(header: &str) -> Fields {
    ["error", "scope", "resource_metadata"].map(|name| field(header, name))
}

/// `extractWWWAuthenticateParams` of `@modelcontextprotocol/sdk` 1.32.2: nothing, unless the first scheme is `Bearer`.
fn typescript(header: &str) -> Fields {
    let mut words = header.split(' ');
    let is_bearer = words.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"));
    if is_bearer && words.next().is_some_and(|word| !word.is_empty()) {
        fields(header)
    } else {
        Fields::default()
    }
}

/// `extract_field_from_www_auth` of the Python package `mcp` 2.3.0: anywhere in the header.
fn python(header: &str) -> Fields {
    fields(header)
}

/// The challenges of RFC 9110 section 11.6.1: the parameters of the scheme `Bearer`.
fn strict(header: &str) -> Fields {
    let parameters = header.strip_prefix("Bearer").expect("the first scheme is Bearer");
    let mut found = Fields::default();
    let (mut rest, mut is_first) = (parameters.trim_start(), true);
    while let Some((name, value)) = rest.split_once("=\"") {
        let name = if is_first { name } else { name.trim_start_matches(',').trim_start() };
        is_first = false;
        if name.contains(' ') {
            break; // the next scheme
        }
        let (mut text, mut characters) = (String::new(), value.char_indices());
        let end = loop {
            match characters.next().expect("the value ends") {
                (index, '"') => break index,
                (_, '\\') => text.extend(characters.next().map(|(_, escaped)| escaped)),
                (_, character) => text.push(character),
            }
        };
        let known = ["error", "scope", "resource_metadata"].iter().position(|known| *known == name);
        if let Some(index) = known {
            assert!(found[index].replace(text).is_none(), "{name} occurs twice: {header}");
        }
        rest = value.get(end + 1..).unwrap();
    }
    found
}

const METADATA: &str = "https://api.example.test/.well-known/oauth-protected-resource/mcp";

/// Status and challenge of a request without a token, with an invalid one, without the scope, without the group and
/// with an insufficient authentication.
async fn challenges(protect: &ProtectApi, scopes: &[String]) -> Vec<(u16, String)> {
    let app = actix_web::test::init_service(
        App::new()
            .service(web::resource("/a").wrap(protect.scopes(scopes)).route(web::get().to(whoami)))
            .service(
                web::resource("/b").wrap(protect.scopes(scopes).groups(["x"])).route(web::get().to(whoami)),
            )
            .service(
                web::resource("/c").wrap(protect.scopes(scopes).acr(["x"])).route(web::get().to(whoami)),
            ),
    )
    .await;
    let mut seen = Vec::new();
    for (path, claims) in [
        ("/a", None),
        ("/a", Some(json!({ "aud": "another" }))),
        ("/a", Some(json!({}))),
        ("/b", Some(json!({ "scope": scopes.join(" ") }))),
        ("/c", Some(json!({}))),
    ] {
        let request = actix_web::test::TestRequest::get().uri(path).to_request();
        let request = match claims {
            Some(claims) => actix_protect_api::test::authenticate(protect, request, claims),
            None => request,
        };
        let response = actix_web::test::call_service(&app, request).await;
        let challenges: Vec<_> = response.headers().get_all("www-authenticate").collect();
        assert_eq!(challenges.len(), 1);
        seen.push((response.status().as_u16(), challenges[0].to_str().unwrap().to_owned()));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever realm and scopes are configured, all parsers find the same parameters.
    #[test]
    fn clients_find_the_same_parameters(
        realm in prop::option::of("[ -~]{0,20}"),
        scopes in prop::collection::vec("[!#-<>-\\[\\]-~]{1,8}", 1..4),
        names_metadata in any::<bool>(),
    ) {
        let mut builder = ProtectApi::builder("https://issuer.example.test", "me");
        if names_metadata {
            builder = builder.resource_metadata(METADATA);
        }
        if let Some(realm) = &realm {
            builder = builder.realm(realm);
        }
        let Ok(protect) = builder.build() else {
            prop_assert!(realm.is_some_and(|realm| realm.contains('=')));
            return Ok(());
        };
        let seen = actix_web::rt::System::new().block_on(challenges(&protect, &scopes));
        let mut distinct = Vec::new();
        for scope in &scopes {
            if !distinct.contains(scope) {
                distinct.push(scope.clone());
            }
        }
        let (scope, metadata) = (Some(distinct.join(" ")), names_metadata.then(|| METADATA.to_owned()));
        for ((status, header), (expected, error)) in seen.iter().zip([
            (401, None),
            (401, Some("invalid_token")),
            (403, Some("insufficient_scope")),
            (403, None),
            (401, Some("insufficient_user_authentication")),
        ]) {
            let fields = [error.map(str::to_owned), scope.clone(), metadata.clone()];
            prop_assert_eq!(*status, expected);
            prop_assert_eq!(&strict(header), &fields, "{}", header);
            prop_assert_eq!(&typescript(header), &fields, "{}", header);
            prop_assert_eq!(&python(header), &fields, "{}", header);
        }
    }
}

/// Another scheme of the application comes in a header line after `Bearer`. A client that joins the lines still finds
/// `Bearer` first.
#[actix_web::test]
async fn another_scheme_after_bearer_does_not_hide_it() {
    async fn with_basic(
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
        let mut response = next.call(request).await?;
        let name = HeaderName::from_static("www-authenticate");
        response.headers_mut().append(name, HeaderValue::from_static("Basic realm=\"old\""));
        Ok(response)
    }
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).resource_metadata(METADATA).build().unwrap().scopes(["a", "b"]);
    let app = serve!(move || {
        App::new().wrap(protect.clone()).wrap(from_fn(with_basic)).route("/", web::get().to(whoami))
    });
    let answer = app.get("/").send().await;
    let lines = answer.headers.iter().filter(|(name, _)| name == "www-authenticate");
    let lines: Vec<_> = lines.map(|(_, value)| value.as_str()).collect();
    assert_eq!(lines[1..], ["Basic realm=\"old\""]);
    let joined = lines.join(", ");
    let expected = [None, Some("a b".to_owned()), Some(METADATA.to_owned())];
    assert_eq!(strict(&joined), expected);
    assert_eq!(typescript(&joined), expected);
    assert_eq!(python(&joined), expected);
    // The parser of the TypeScript SDK finds nothing in the other order.
    assert_eq!(typescript(&format!("{}, {}", lines[1], lines[0])), Fields::default());
}
