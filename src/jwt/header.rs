//! The JOSE header of a signed JWT (RFC 7515 section 4). It is not verified yet.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    algorithm::Algorithm,
    claims::{
        object::{JsonObject, strict_object},
        token_type::without_prefix,
    },
};

/// The longest encoded header, in bytes. It has room for a certificate chain in `x5c` (which is ignored).
const MAX_ENCODED: usize = 16 * 1024;

/// The maximum number of members. Real headers have fewer than ten.
const MAX_MEMBERS: usize = 34;

/// The header of a token.
pub(crate) struct JwtHeader {
    /// `alg`, if it is a supported asymmetric signature algorithm.
    pub(crate) algorithm: Option<Algorithm>,
    /// `kid`.
    pub(crate) kid: Option<Box<str>>,
    /// `typ`.
    pub(crate) typ: Typ,
    /// Whether `kid` or `typ` is not a string, there are too many members, or there is one of
    /// [`UNSUPPORTED_HEADER_PARAMS`] or a compression.
    pub(crate) is_malformed: bool,
}

/// The type of a token according to its header (RFC 7519 section 5.1, RFC 9068 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typ {
    /// Absent, `JWT` or `application/jwt`: any kind of JWT.
    Jwt,
    /// `at+jwt` or `application/at+jwt`.
    AccessToken,
    /// `secevent+jwt`: a security event token (RFC 8417 section 2.3).
    SecurityEvent,
    /// `logout+jwt`: a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4).
    Logout,
    /// Any other type.
    Other,
}

/// Members that change the meaning of the others. None is supported: critical extensions (RFC 7515 section 4.1.11,
/// RFC 8725 section 3.10), unencoded payloads (RFC 7797), and encryption (RFC 7516). `zip` is unsupported too,
/// except `"NONE"`: `ForgeRock` writes it in tokens without compression.
const UNSUPPORTED_HEADER_PARAMS: [&str; 3] = ["crit", "b64", "enc"];

impl JwtHeader {
    /// Decodes the first segment of a token. Returns `None` if it is not a JSON object with distinct members and a
    /// string `alg`.
    ///
    /// Members that name or contain a key (`jku`, `x5u`, `jwk`, `x5c`, `x5t`) are ignored like all unknown members:
    /// keys come only from the issuer's key set (RFC 8725 section 3.10).
    pub(crate) fn decode(segment: &str) -> Option<Self> {
        if segment.len() > MAX_ENCODED {
            return None;
        }
        let json = URL_SAFE_NO_PAD.decode(segment).ok()?;
        Self::read(&JsonObject::read(&json).ok()?)
    }

    fn read(members: &JsonObject<'_>) -> Option<Self> {
        let is_absent_or_text = |name| !members.contains(name) || members.text(name).is_some();
        let is_compressed = members.contains("zip") && members.text("zip") != Some("NONE");
        Some(Self {
            algorithm: members.text("alg")?.parse().ok(),
            kid: members.text("kid").map(Into::into),
            typ: members.text("typ").map_or(Typ::Jwt, Typ::from_text),
            is_malformed: is_compressed
                || !is_absent_or_text("kid")
                || !is_absent_or_text("typ")
                || UNSUPPORTED_HEADER_PARAMS.iter().any(|name| members.contains(name))
                || members.iter().count() > MAX_MEMBERS,
        })
    }
}

/// Decodes the header of a JWT **without verifying anything**, for diagnosis only: anybody can write any header. Returns
/// `None` if the first segment is not a JSON object in base64url of at most 16 KiB.
///
/// Never decide by it whether a request is accepted, and do not fetch a key from a URL in it.
///
/// ```
/// let token = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.e30.c2ln";
/// let header = actix_protect_api::unverified_jwt_header(token).expect("a JWT");
/// assert_eq!(header["kid"], "k1");
/// assert!(actix_protect_api::unverified_jwt_header("opaque").is_none());
/// ```
pub fn unverified_jwt_header(token: &str) -> Option<Map<String, Value>> {
    let segment = token.split('.').next().filter(|segment| segment.len() <= MAX_ENCODED)?;
    strict_object(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
}

/// Returns whether a valid token is a JWT whose type is not `at+jwt`.
pub(crate) fn is_jwt_of_another_type(token: &str) -> bool {
    let Some(header) = unverified_jwt_header(token) else { return false };
    header.get("typ").and_then(Value::as_str).map(Typ::from_text) != Some(Typ::AccessToken)
}

impl Typ {
    fn from_text(typ: &str) -> Self {
        // The prefix of a media type is usually omitted (RFC 7515 section 4.1.9).
        match without_prefix(typ, "application/") {
            typ if typ.eq_ignore_ascii_case("JWT") => Self::Jwt,
            typ if typ.eq_ignore_ascii_case("at+jwt") => Self::AccessToken,
            typ if typ.eq_ignore_ascii_case("secevent+jwt") => Self::SecurityEvent,
            typ if typ.eq_ignore_ascii_case("logout+jwt") => Self::Logout,
            _ => Self::Other,
        }
    }
}
