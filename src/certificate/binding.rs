//! Compares the `cnf` claim of a token with the presented certificate.

use std::{fmt, str::FromStr};

use derive_more::Display;
use serde_json::{Map, Value};

use crate::{certificate::CertificateThumbprint, claims::Claims};

/// The rules for tokens that are bound to a client certificate (RFC 8705 section 3), and for tokens that are not.
#[derive(Clone, Copy, Debug, Default, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateBinding {
    /// `when_present`, the default. A token with a `cnf` claim is accepted only together with the certificate named
    /// by its `x5t#S256`. A token without `cnf` is an ordinary bearer token.
    ///
    /// Any other `cnf` is rejected, because it cannot be checked: a key (`jkt`, `jwk`, `kid`, `jku`), an unknown
    /// member (even beside a matching `x5t#S256`), and an empty object. A token whose `token_type` is `DPoP` or
    /// `PoP` is rejected too: it is bound, but was sent as a bearer token.
    #[default]
    #[display("when_present")]
    WhenPresent,
    /// `required`: like `when_present`, and a token without a `cnf` claim is rejected.
    #[display("required")]
    Required,
    /// `dangerously_ignore`: `cnf` and `token_type` are not checked. **A stolen bound token is then accepted.** Use
    /// it during a migration, or if a gateway has checked the binding already.
    #[display("dangerously_ignore")]
    DangerouslyIgnore,
}

/// The text is not the name of a [`CertificateBinding`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownCertificateBinding;

impl FromStr for CertificateBinding {
    type Err = UnknownCertificateBinding;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "when_present" => Ok(Self::WhenPresent),
            "required" => Ok(Self::Required),
            "dangerously_ignore" => Ok(Self::DangerouslyIgnore),
            _ => Err(UnknownCertificateBinding),
        }
    }
}

impl fmt::Display for UnknownCertificateBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected `when_present`, `required` or `dangerously_ignore`")
    }
}

impl std::error::Error for UnknownCertificateBinding {}

/// The reason why a token is not accepted with the presented certificate, or without one. It is logged and never
/// sent to the caller.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
pub(crate) enum BindingFault {
    #[display("the token is not bound to a certificate, which is required")]
    Unbound,
    #[display("the token's type says that it is bound to a key, but it was sent as a bearer token")]
    NotBearer,
    #[display("`cnf` or its `x5t#S256` is malformed")]
    Malformed,
    #[display("`cnf` promises a confirmation that cannot be checked here")]
    Unsupported,
    #[display("the token is bound to a certificate, but none was shown")]
    NoCertificate,
    #[display("the token is bound to another certificate")]
    OtherCertificate,
}

impl std::error::Error for BindingFault {}

/// Compares the `cnf` of these claims (RFC 7800 section 3.1, RFC 8705 section 3.1) with the certificate of this
/// request. A pure function; call it for every request, also for cached claims.
pub(crate) fn check(
    claims: &Claims,
    binding: CertificateBinding,
    certificate: Option<&CertificateThumbprint>,
) -> Result<(), BindingFault> {
    if binding == CertificateBinding::DangerouslyIgnore {
        return Ok(());
    }
    // The usual token is decided without parsing its members.
    if claims.is_plain_bearer() && binding != CertificateBinding::Required {
        return Ok(());
    }
    if claims.string("token_type").is_some_and(is_bound_type) {
        return Err(BindingFault::NotBearer);
    }
    match claims.get("cnf") {
        // The claim existed when the claims were parsed, so the token is bound.
        None | Some(Value::Null) if claims.has_cnf() => Err(BindingFault::Malformed),
        None | Some(Value::Null) if binding == CertificateBinding::Required => Err(BindingFault::Unbound),
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(members)) => confirm(members, certificate),
        Some(_) => Err(BindingFault::Malformed),
    }
}

/// Token types that require a proof of possession (RFC 9449 section 5, RFC 9200 section 5.8.4.3). Types are
/// case-insensitive (RFC 6749 section 5.1).
fn is_bound_type(token_type: &str) -> bool {
    ["dpop", "pop"].iter().any(|bound| token_type.eq_ignore_ascii_case(bound))
}

fn confirm(
    members: &Map<String, Value>,
    certificate: Option<&CertificateThumbprint>,
) -> Result<(), BindingFault> {
    let expected = match members.get("x5t#S256") {
        Some(Value::String(text)) => {
            CertificateThumbprint::from_base64url(text).ok_or(BindingFault::Malformed)?
        }
        Some(_) => return Err(BindingFault::Malformed),
        // Also an empty object: the issuer announced a confirmation without naming one.
        None => return Err(BindingFault::Unsupported),
    };
    if members.len() > 1 {
        return Err(BindingFault::Unsupported);
    }
    match certificate {
        Some(shown) if *shown == expected => Ok(()),
        Some(_) => Err(BindingFault::OtherCertificate),
        None => Err(BindingFault::NoCertificate),
    }
}

#[cfg(test)]
mod tests {
    use BindingFault::{Malformed, NoCertificate, NotBearer, OtherCertificate, Unbound, Unsupported};
    use CertificateBinding::{DangerouslyIgnore, Required, WhenPresent};
    use proptest::prelude::*;
    use serde_json::json;

    use super::{
        super::thumbprint::tests::{RFC_8705_PEM, RFC_8705_X5T},
        *,
    };

    fn claims(value: Value) -> Claims {
        let Value::Object(members) = value else { panic!("not an object") };
        Claims::from_members(members).unwrap()
    }

    fn bound() -> Claims {
        claims(json!({"sub": "a", "cnf": {"x5t#S256": RFC_8705_X5T}}))
    }

    fn mine() -> CertificateThumbprint {
        CertificateThumbprint::from_pem(RFC_8705_PEM).unwrap()
    }

    fn other() -> CertificateThumbprint {
        CertificateThumbprint::from_der(&[0x30, 0]).unwrap()
    }

    #[test]
    fn a_bound_token_wants_its_certificate_each_time() {
        // The same claims, as a cache hands them out, against one certificate after the other.
        let claims = bound();
        for binding in [WhenPresent, Required] {
            for _ in 0..2 {
                assert_eq!(check(&claims, binding, Some(&mine())), Ok(()));
                assert_eq!(check(&claims, binding, Some(&other())), Err(OtherCertificate));
                assert_eq!(check(&claims, binding, None), Err(NoCertificate));
            }
        }
    }

    #[test]
    fn an_unbound_token_passes_unless_binding_is_required() {
        for value in
            [json!({}), json!({"cnf": null}), json!({"token_type": "Bearer"}), json!({"token_type": null})]
        {
            let claims = claims(value);
            for certificate in [None, Some(&mine())] {
                assert_eq!(check(&claims, WhenPresent, certificate), Ok(()), "{claims:?}");
                assert_eq!(check(&claims, Required, certificate), Err(Unbound), "{claims:?}");
            }
        }
    }

    #[test]
    fn refuses_each_confirmation_that_it_cannot_check() {
        let x5t = RFC_8705_X5T;
        for (cnf, fault) in [
            (json!({}), Unsupported),
            (json!({"jkt": x5t}), Unsupported),
            (json!({"jwk": {"kty": "EC"}}), Unsupported),
            (json!({"jwe": "x"}), Unsupported),
            (json!({"kid": "k"}), Unsupported),
            (json!({"jku": "https://as.example.test/jwks"}), Unsupported),
            (json!({"x5t": "x"}), Unsupported),
            (json!({"X5T#S256": x5t}), Unsupported),
            (json!({"x5t#s256": x5t}), Unsupported),
            (json!({"x5t#S256 ": x5t}), Unsupported),
            (json!({"unheard-of": true}), Unsupported),
            (json!({"x5t#S256": x5t, "jkt": x5t}), Unsupported),
            (json!({"x5t#S256": x5t, "jwk": {}}), Unsupported),
            (json!({"x5t#S256": x5t, "kid": "k"}), Unsupported),
            (json!({"x5t#S256": x5t, "unheard-of": null}), Unsupported),
            (json!({"x5t#S256": null}), Malformed),
            (json!({"x5t#S256": [x5t]}), Malformed),
            (json!({"x5t#S256": {"a": x5t}}), Malformed),
            (json!({"x5t#S256": 7}), Malformed),
            (json!({"x5t#S256": ""}), Malformed),
            (json!({"x5t#S256": format!("{x5t}=")}), Malformed),
            (json!({"x5t#S256": format!("{x5t} ")}), Malformed),
            (json!({"x5t#S256": x5t.trim_end_matches('0')}), Malformed),
            (json!({"x5t#S256": format!("{}1", x5t.trim_end_matches('0'))}), Malformed), // 0 and 1 differ in unused bits only
            (json!("x5t#S256"), Malformed),
            (json!([]), Malformed),
            (json!([{"x5t#S256": x5t}]), Malformed),
            (json!(true), Malformed),
            (json!(false), Malformed),
            (json!(0), Malformed),
            (json!(""), Malformed),
        ] {
            let claims = claims(json!({"cnf": cnf}));
            for binding in [WhenPresent, Required] {
                assert_eq!(check(&claims, binding, Some(&mine())), Err(fault), "{cnf}");
                assert!(check(&claims, binding, None).is_err(), "{cnf}");
            }
            assert_eq!(check(&claims, DangerouslyIgnore, None), Ok(()), "{cnf}");
        }
    }

    #[test]
    fn refuses_a_token_whose_type_is_bound_but_that_came_as_a_bearer_token() {
        for token_type in ["DPoP", "dpop", "DPOP", "PoP"] {
            for value in [
                json!({"token_type": token_type}),
                json!({"token_type": token_type, "cnf": null}),
                json!({"token_type": token_type, "cnf": {"jkt": RFC_8705_X5T}}),
                json!({"token_type": token_type, "cnf": {"x5t#S256": RFC_8705_X5T}}),
            ] {
                let claims = claims(value);
                for binding in [WhenPresent, Required] {
                    assert_eq!(check(&claims, binding, Some(&mine())), Err(NotBearer), "{claims:?}");
                }
                assert_eq!(check(&claims, DangerouslyIgnore, None), Ok(()));
            }
        }
    }

    #[test]
    fn dangerously_ignore_looks_at_nothing() {
        for certificate in [None, Some(&other())] {
            assert_eq!(check(&bound(), DangerouslyIgnore, certificate), Ok(()));
            assert_eq!(check(&claims(json!({})), DangerouslyIgnore, certificate), Ok(()));
        }
    }

    #[test]
    fn names_are_read_exactly_and_written_alike() {
        assert_eq!(CertificateBinding::default(), WhenPresent);
        for (text, binding) in
            [("when_present", WhenPresent), ("required", Required), ("dangerously_ignore", DangerouslyIgnore)]
        {
            assert_eq!(text.parse(), Ok(binding));
            assert_eq!(binding.to_string(), text);
        }
        for bad in ["", "REQUIRED", " required", "when-present", "ignore", "true", "none"] {
            assert_eq!(bad.parse::<CertificateBinding>(), Err(UnknownCertificateBinding), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn only_the_named_certificate_opens(claimed: [u8; 32], shown: [u8; 32], same: bool) {
            let shown = CertificateThumbprint::from_sha256(if same { claimed } else { shown });
            let x5t = CertificateThumbprint::from_sha256(claimed).to_base64url();
            let claims = claims(json!({"cnf": {"x5t#S256": x5t.clone()}}));
            let opened = check(&claims, WhenPresent, Some(&shown)).is_ok();
            prop_assert_eq!(opened, x5t == shown.to_base64url());
        }
    }
}
