//! The connections to the authorization server: trusted certificates.

use actix_protect_api::{
    ClientAuthentication, ClientIdentity, ConfigError, ProtectApi, UpstreamFault,
    test::{Endpoint, Fault, TestIssuer},
};
use serde_json::json;

use crate::support::{
    folder::Folder,
    logs,
    service::{Api, OK, api, api_with, introspecting, jwts_only, upstream},
};

/// Reads the variables of an API of this issuer, with these in addition.
fn from_variables(issuer: &TestIssuer, more: &[(&str, &str)]) -> Result<ProtectApi, ConfigError> {
    let own = more.iter().map(|(name, value)| (format!("MONOCLOUD_BACKEND_{name}"), (*value).to_owned()));
    ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", issuer.variables().into_iter().chain(own))
}

#[actix_web::test]
async fn an_authority_is_trusted_in_addition_to_the_platforms() {
    logs::capture();
    let issuer = TestIssuer::builder().tls().start();
    let (jwt, opaque) = (issuer.jwt(json!({})), issuer.opaque(json!({})));
    let pem = issuer.ca_pem().unwrap();

    let without = api(introspecting(&issuer)).await;
    for token in [&jwt, &opaque] {
        assert_eq!(without.outcome(token).await, upstream(UpstreamFault::Unreachable));
    }
    let record = logs::last(|record| {
        record.value("event") == "fetch_failed" && record.value("issuer") == issuer.issuer()
    });
    let record = record.expect("it was logged");
    assert!(record.text.contains("UnknownIssuer"), "{record}");

    let folder = Folder::new();
    let file = folder.file("ca.pem", pem);
    let by_file = introspecting(&issuer).root_certificates_file(&file).build().unwrap();
    let by_variable = from_variables(&issuer, &[("ROOT_CERTIFICATES", pem)]).unwrap();
    let by_path = from_variables(&issuer, &[("ROOT_CERTIFICATES_FILE", &file)]).unwrap();
    let by_text = introspecting(&issuer).root_certificates(pem).build().unwrap();
    for protect in [by_text, by_file, by_variable, by_path] {
        protect.check().await.unwrap();
        let api = Api::of(&protect, None).await;
        for token in [&jwt, &opaque] {
            assert_eq!(api.outcome(token).await, OK);
        }
    }
}

#[actix_web::test]
async fn another_authority_is_no_help() {
    let (issuer, other) = (TestIssuer::builder().tls().start(), TestIssuer::builder().tls().start());
    let api = api(introspecting(&issuer).root_certificates(other.ca_pem().unwrap())).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, upstream(UpstreamFault::Unreachable));
    let both = [other.ca_pem().unwrap(), issuer.ca_pem().unwrap()].concat();
    let api = crate::support::service::api(introspecting(&issuer).root_certificates(both)).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
}

#[actix_web::test]
async fn calls_with_a_client_certificate_trust_it_too() {
    let issuer = TestIssuer::builder().tls().start();
    let opaque = issuer.opaque(json!({}));
    let mut active = issuer.claims(&opaque);
    active["active"] = true.into();
    issuer.fault(Endpoint::Introspection, Fault::body(active.to_string()).always());
    let endpoint = issuer.url(Endpoint::Introspection);
    issuer.set_metadata(|mut metadata| {
        metadata["mtls_endpoint_aliases"] = json!({ "introspection_endpoint": endpoint });
        metadata
    });
    let made = rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap();
    let identity = ClientIdentity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let mtls = || jwts_only(&issuer).client("me", ClientAuthentication::tls_client_auth(identity.clone()));
    assert_eq!(api(mtls()).await.outcome(&opaque).await, upstream(UpstreamFault::Unreachable));
    let trusting = api(mtls().root_certificates(issuer.ca_pem().unwrap())).await;
    assert_eq!(trusting.outcome(&opaque).await, OK);
    assert_eq!(trusting.outcome(&issuer.jwt(json!({}))).await, OK);
}

/// The client in the app data cannot have these certificates.
#[actix_web::test]
async fn with_certificates_in_the_configuration_the_client_of_the_application_is_not_used() {
    let issuer = TestIssuer::builder().tls().start();
    let builder = introspecting(&issuer).root_certificates(issuer.ca_pem().unwrap());
    let api = api_with(builder, awc::Client::default()).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
}

#[actix_web::test]
async fn a_tenant_has_its_trusted_certificates() {
    let (platform, issuer) = (TestIssuer::start(), TestIssuer::builder().tls().start());
    for trusts in [false, true] {
        let tenant = if trusts {
            introspecting(&issuer).root_certificates(issuer.ca_pem().unwrap())
        } else {
            introspecting(&issuer)
        };
        let tenant = tenant.build().unwrap();
        let resolve = move |_| {
            let tenant = tenant.clone();
            let resolved: std::pin::Pin<Box<dyn Future<Output = _>>> =
                Box::pin(async move { Ok(Some(tenant)) });
            resolved
        };
        let protect = ProtectApi::any_of([introspecting(&platform).build().unwrap()])
            .tenants(|request| request.issuer.map(str::to_owned), resolve)
            .build()
            .unwrap();
        let api = Api::of(&protect, None).await;
        let expected = if trusts { OK } else { upstream(UpstreamFault::Unreachable) };
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, expected);
    }
}

#[test]
fn certificates_that_cannot_be_used_are_an_error_that_names_the_variable() {
    let issuer = TestIssuer::start();
    let folder = Folder::new();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, value, expected) in [
        ("ROOT_CERTIFICATES", "hunter2", "contains no certificate, expected PEM"),
        ("ROOT_CERTIFICATES", broken, "certificate 1 cannot be used"),
        ("ROOT_CERTIFICATES", "-----BEGIN CERTIFICATE-----\n!!!\n", "certificate 1 is not valid PEM"),
        ("ROOT_CERTIFICATES_FILE", &folder.path("none.pem"), "none.pem cannot be read: No such file"),
        ("ROOT_CERTIFICATES_FILE", &folder.file("empty.pem", ""), "empty.pem: contains no certificate"),
        ("ROOT_CERTIFICATES_FILE", &folder.file("bad.pem", broken), "bad.pem: certificate 1 cannot be used"),
        ("ROOT_CERTIFICATES_FILE", &folder.path(""), "is not a regular file"),
    ] {
        let error = from_variables(&issuer, &[(name, value)]).unwrap_err();
        let [problem] = error.problems() else { panic!("{error}") };
        assert_eq!(problem.name, format!("MONOCLOUD_BACKEND_{name}"));
        assert!(problem.message.contains(expected) && !problem.message.contains("hunter2"), "{problem:?}");
    }
    let error = introspecting(&issuer).root_certificates_file("/nowhere.pem").build().unwrap_err();
    assert_eq!(error.problems()[0].name, "root_certificates_file");
}
