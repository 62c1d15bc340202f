use std::{error::Error as _, fs, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::generate_simple_self_signed;

use super::{
    testing::{Folder, ec_jwk, rsa_jwk},
    *,
};
use crate::error::AuthErrorKind;

const ISSUER: &str = "https://issuer.example";
const NOW: i64 = 1_700_000_000;

type Fields = Vec<(String, String)>;

fn applied(
    authentication: &ClientAuthentication,
    client_id: &str,
) -> Result<(Option<HeaderValue>, Fields), AuthError> {
    let mut form = Serializer::new(String::new());
    let header = authentication.apply(client_id, ISSUER, NOW, &mut form)?;
    Ok((header, form_urlencoded::parse(form.finish().as_bytes()).into_owned().collect()))
}

fn fields(authentication: &ClientAuthentication) -> Fields {
    let (header, fields) = applied(authentication, "me").unwrap();
    assert_eq!(header, None);
    fields
}

fn names(fields: &Fields) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

fn basic(authentication: &ClientAuthentication, client_id: &str) -> String {
    let (header, fields) = applied(authentication, client_id).unwrap();
    let header = header.unwrap();
    assert!(header.is_sensitive() && fields.is_empty());
    let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
    String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
}

fn problem(authentication: &ClientAuthentication) -> String {
    let error = applied(authentication, "me").unwrap_err();
    assert_eq!(error.kind(), AuthErrorKind::Misconfigured(SetupFault::Credentials));
    error.source().unwrap().to_string()
}

fn svid(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

fn identity() -> ClientIdentity {
    let made = generate_simple_self_signed(["client".to_owned()]).unwrap();
    ClientIdentity::from_pem(made.cert.pem(), made.signing_key.serialize_pem())
}

fn watching(method: Method, path: impl AsRef<Path>) -> ClientAuthentication {
    ClientAuthentication::secret(method, SecretSource::watching(path, Duration::ZERO))
}

#[test]
fn post_sends_id_and_secret_in_the_form() {
    let mut form = Serializer::new(String::new());
    form.append_pair("token", "t");
    let header = ClientAuthentication::client_secret_post("a&b=c d+é%")
        .apply("me&you", ISSUER, NOW, &mut form)
        .unwrap();
    assert_eq!(header, None);
    assert_eq!(form.finish(), "token=t&client_id=me%26you&client_secret=a%26b%3Dc+d%2B%C3%A9%25");
}

#[test]
fn basic_form_encodes_id_and_secret_before_base64() {
    for (plain, encoded) in [
        ("abc-._*019XYZ", "abc-._*019XYZ"),
        ("%", "%25"),
        ("+", "%2B"),
        (":", "%3A"),
        ("=", "%3D"),
        (" ", "+"),
        ("/", "%2F"),
        ("?", "%3F"),
        ("&", "%26"),
        ("~", "%7E"),
        ("%20", "%2520"),
        ("é", "%C3%A9"),
        ("€", "%E2%82%AC"),
        ("p@ss:w/rd", "p%40ss%3Aw%2Frd"),
    ] {
        let authentication = ClientAuthentication::client_secret_basic(plain);
        assert_eq!(basic(&authentication, "me"), format!("me:{encoded}"));
        let authentication = ClientAuthentication::client_secret_basic("secret");
        assert_eq!(basic(&authentication, plain), format!("{encoded}:secret"));
    }
}

#[test]
fn basic_raw_sends_both_as_they_are() {
    let authentication = ClientAuthentication::client_secret_basic_raw("a:b c%é");
    assert_eq!(basic(&authentication, "me/you"), "me/you:a:b c%é");
    assert!(authentication.check("a:b").unwrap_err().contains("colon"));
}

#[test]
fn jwt_methods_send_an_assertion_instead_of_a_secret() {
    for authentication in [
        ClientAuthentication::client_secret_jwt("a secret of at least thirty-two bytes"),
        ClientAuthentication::private_key_jwt(ec_jwk("P-256").to_string()),
    ] {
        let (first, second) = (fields(&authentication), fields(&authentication));
        assert_eq!(names(&first), ["client_id", "client_assertion_type", "client_assertion"]);
        assert_eq!(first[0].1, "me");
        assert_eq!(first[1].1, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!(first[2].1.split('.').count(), 3);
        assert_ne!(first[2].1, second[2].1);
    }
}

#[test]
fn certificate_methods_send_the_client_id_alone() {
    for (authentication, method) in [
        (ClientAuthentication::tls_client_auth(identity()), "tls_client_auth"),
        (ClientAuthentication::self_signed_tls_client_auth(identity()), "self_signed_tls_client_auth"),
        (ClientAuthentication::spiffe_x509(identity()), "spiffe_x509"),
    ] {
        assert_eq!(fields(&authentication), [("client_id".to_owned(), "me".to_owned())]);
        assert_eq!(authentication.method(), method);
        assert!(authentication.uses_mtls() && authentication.identity().is_some());
    }
}

#[test]
fn an_svid_is_sent_as_it_is_followed_when_it_changes_and_used_until_it_expires() {
    let folder = Folder::new();
    let (first, second) =
        (svid(&format!("{{\"exp\":{}}}", NOW + 1)), svid(&format!("{{\"exp\":{}.5}}", NOW + 9)));
    let path = folder.write("svid", format!("{first}\n"));
    let authentication = watching(Method::SpiffeJwt, &path);
    let sent = fields(&authentication);
    assert_eq!(names(&sent), ["client_id", "client_assertion_type", "client_assertion"]);
    assert_eq!(sent[1].1, "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
    assert_eq!(sent[2].1, first);
    folder.write("svid", &second);
    assert_eq!(fields(&authentication)[2].1, second);

    fs::remove_file(&path).unwrap();
    assert_eq!(fields(&authentication)[2].1, second, "still good");
    folder.write("svid", svid(&format!("{{\"exp\":{NOW}}}")));
    assert_eq!(problem(&authentication), "the JWT-SVID has expired");
}

#[test]
fn what_is_no_svid_is_refused() {
    let folder = Folder::new();
    for text in ["hunter2", "a.b", "a.b.c.d", "a.!.c", &svid("{}"), &svid("{\"exp\":\"1\"}"), &svid("[]")] {
        let authentication = ClientAuthentication::spiffe_jwt(folder.write("svid", text));
        let problem = authentication.check("me").unwrap_err();
        assert!(problem.contains("expected a JWT-SVID") && !problem.contains(text), "{problem}");
    }
}

#[test]
fn a_changed_secret_file_changes_what_is_sent() {
    let folder = Folder::new();
    let path = folder.write("secret", "one\n");
    let (post, header) = (watching(Method::SecretPost, &path), watching(Method::SecretBasic, &path));
    assert_eq!((fields(&post)[1].1.as_str(), basic(&header, "me").as_str()), ("one", "me:one"));
    folder.write("secret", "two\n");
    assert_eq!((fields(&post)[1].1.as_str(), basic(&header, "me").as_str()), ("two", "me:two"));
}

#[test]
fn a_key_file_that_turns_bad_leaves_the_last_good_key_in_use() {
    let folder = Folder::new();
    let path = folder.write("key", ec_jwk("P-256").to_string());
    let authentication = watching(Method::PrivateKeyJwt, &path);
    let header = |fields: &Fields| fields[2].1.split_once('.').unwrap().0.to_owned();
    let first = header(&fields(&authentication));
    folder.write("key", "half a key");
    assert_eq!(header(&fields(&authentication)), first);
    assert_eq!(header(&fields(&authentication)), first);
    folder.write("key", ec_jwk("P-384").to_string());
    assert_ne!(header(&fields(&authentication)), first);
}

#[test]
fn work_is_done_once_per_secret_and_client() {
    let authentication = ClientAuthentication::private_key_jwt(rsa_jwk().to_string());
    let Credential::Secret(source) = &authentication.0.credential else { panic!() };
    let proof = |client_id| authentication.proof(source, client_id).unwrap();
    let first = proof("me");
    assert!(Arc::ptr_eq(&first, &proof("me")));
    assert!(!Arc::ptr_eq(&first, &proof("you")));
}

#[test]
fn another_client_id_never_gets_the_first_ones_proof() {
    let authentication = ClientAuthentication::client_secret_basic("secret");
    assert_eq!(basic(&authentication, "me"), "me:secret");
    assert_eq!(basic(&authentication, "you"), "you:secret");
}

#[test]
fn an_empty_secret_is_refused_by_every_method() {
    for authentication in [
        ClientAuthentication::client_secret_post(""),
        ClientAuthentication::client_secret_basic(""),
        ClientAuthentication::client_secret_basic_raw(""),
        ClientAuthentication::client_secret_jwt(""),
        ClientAuthentication::private_key_jwt(""),
    ] {
        assert_eq!(authentication.check("me"), Err("the secret is empty".to_owned()));
        assert_eq!(problem(&authentication), "the secret is empty");
    }
}

#[test]
fn an_unusable_credential_is_found_at_start_up_and_never_sent() {
    let folder = Folder::new();
    for (authentication, wanted) in [
        (ClientAuthentication::private_key_jwt("hunter2"), "not a valid JWK"),
        (ClientAuthentication::client_secret_post(SecretSource::file(folder.path("gone"))), "cannot be read"),
        (ClientAuthentication::spiffe_jwt(folder.path("gone")), "cannot be read"),
        (
            ClientAuthentication::tls_client_auth(ClientIdentity::from_pem("hunter2", "hunter2")),
            "no certificate",
        ),
    ] {
        let found = authentication.check("me").unwrap_err();
        assert!(found.contains(wanted) && !found.contains("hunter2"), "{found}");
        assert_eq!(problem(&authentication), found);
    }
}

#[test]
fn a_failure_leaves_the_form_as_it_was() {
    let mut form = Serializer::new("token=t".to_owned());
    ClientAuthentication::client_secret_post("").apply("me", ISSUER, NOW, &mut form).unwrap_err();
    assert_eq!(form.finish(), "token=t");
}

#[test]
fn equality_is_by_method_and_credential() {
    let post = ClientAuthentication::client_secret_post;
    assert_eq!(post("a"), post("a"));
    assert_ne!(post("a"), post("b"));
    assert_ne!(post("a"), ClientAuthentication::client_secret_basic("a"));
    assert_ne!(
        ClientAuthentication::client_secret_basic_raw("a"),
        ClientAuthentication::client_secret_basic("a")
    );
    let certificate = identity();
    assert_eq!(
        ClientAuthentication::tls_client_auth(certificate.clone()),
        ClientAuthentication::tls_client_auth(certificate.clone())
    );
    assert_ne!(
        ClientAuthentication::tls_client_auth(certificate.clone()),
        ClientAuthentication::spiffe_x509(certificate)
    );
    let used = post("a");
    fields(&used);
    assert_eq!(used, post("a"), "what was made on the way does not count");
}

#[test]
fn debug_shows_no_secret() {
    let authentication = ClientAuthentication::client_secret_post("hunter2");
    fields(&authentication);
    assert_eq!(
        format!("{authentication:?}"),
        "ClientAuthentication(SecretPost, Secret(SecretSource([redacted])))"
    );
    let jwk = ec_jwk("P-256");
    let authentication = ClientAuthentication::private_key_jwt(jwk.to_string());
    fields(&authentication);
    assert!(!format!("{authentication:?}").contains(jwk["d"].as_str().unwrap()));
    let (header, _) = applied(&ClientAuthentication::client_secret_basic("hunter2"), "me").unwrap();
    assert_eq!(format!("{:?}", header.unwrap()), "Sensitive");
}

#[test]
fn method_names_are_the_registered_ones() {
    for (authentication, name) in [
        (ClientAuthentication::client_secret_post("a"), "client_secret_post"),
        (ClientAuthentication::client_secret_basic("a"), "client_secret_basic"),
        (ClientAuthentication::client_secret_basic_raw("a"), "client_secret_basic"),
        (ClientAuthentication::client_secret_jwt("a"), "client_secret_jwt"),
        (ClientAuthentication::private_key_jwt("a"), "private_key_jwt"),
        (ClientAuthentication::spiffe_jwt("a"), "spiffe_jwt"),
    ] {
        assert_eq!(authentication.method(), name);
        assert!(!authentication.uses_mtls());
    }
}
