//! The claims of a token, with one type for JWTs and introspection responses.

mod audience;
mod authentication;
pub(crate) mod claim_path;
mod footprint;
pub(crate) mod object;
pub(crate) mod record_memo;
pub(crate) mod refresh_times;
pub(crate) mod scope;
pub(crate) mod scope_hierarchy;
pub(crate) mod scope_mapping;
mod source;
pub(crate) mod token_type;

pub use self::{
    audience::Audience,
    scope::{Scope, Scopes},
    scope_mapping::ScopeClaim,
};

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Map, Number, Value};

use self::{
    object::{JsonObject, JsonValue},
    record_memo::RecordMemo,
    refresh_times::RefreshTimes,
    source::ClaimsSource,
};

/// The claims of a validated token: the members of an introspection response (RFC 7662 section 2.2) or of a JWT's
/// payload (RFC 9068 section 2.2).
///
/// A clone is cheap (the claims are shared). Serializes to the JSON object as the issuer sent it, without `active`.
#[derive(Clone)]
pub struct Claims(Arc<ClaimsInner>);

/// Claims that every request needs are parsed once. The map of all members is built on first use, because most APIs
/// never use it.
struct ClaimsInner {
    members: OnceLock<Map<String, Value>>,
    source: ClaimsSource,
    footprint: usize,
    issuer: Option<Box<str>>,
    subject: Option<Box<str>>,
    client_id: Option<Box<str>>,
    is_plain_bearer: bool,
    has_cnf: bool,
    audience: Audience,
    scopes: Scopes,
    expires_at: Option<i64>,
    not_before: Option<i64>,
    issued_at: Option<i64>,
    record_memo: RecordMemo,
    refresh_times: RefreshTimes,
}

/// A claim of a wrong form. It contains the name of the claim, never its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MalformedClaim {
    /// The name of the claim.
    pub name: &'static str,
}

impl fmt::Display for MalformedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the claim `{}` is malformed", self.name)
    }
}

impl std::error::Error for MalformedClaim {}

impl Claims {
    /// Takes the members of a claims object and checks the form of the registered ones:
    ///
    /// - `iss`, `sub`, `client_id`, `azp`: strings (`cid` and `appid` may have any form);
    /// - `aud`: a string or an array of strings;
    /// - `exp`, `nbf`, `iat`: numbers from 0 to the end of the year 9999 (a fraction is rounded to the safe side).
    ///   A later `exp` means "never" and is stored as that time;
    /// - `scope` (or `scp` if there is no `scope`): a space-delimited string or an array of strings.
    ///
    /// A member that is `null` is treated as absent. No other check is made: no time, no issuer, no signature.
    ///
    /// # Errors
    /// The first claim of a wrong form.
    pub fn from_members(members: Map<String, Value>) -> Result<Self, MalformedClaim> {
        let inner = ClaimsInner::read(&JsonObject::from_map(&members), ClaimsSource::Map)?;
        Ok(Self(Arc::new(ClaimsInner { members: members.into(), ..inner })))
    }

    /// Creates the claims from the payload of a JWT. `members` are its parsed members.
    pub(crate) fn from_payload(members: &JsonObject<'_>, payload: &[u8]) -> Result<Self, MalformedClaim> {
        Ok(Self(Arc::new(ClaimsInner::read(members, ClaimsSource::Payload(payload.into()))?)))
    }

    /// Creates the claims from an introspection response. `members` are its parsed members.
    pub(crate) fn from_introspection(
        members: &JsonObject<'_>,
        answer: &[u8],
    ) -> Result<Self, MalformedClaim> {
        Ok(Self(Arc::new(ClaimsInner::read(members, ClaimsSource::Answer(answer.into()))?)))
    }

    /// Returns the issuer (`iss`).
    pub fn issuer(&self) -> Option<&str> {
        self.0.issuer.as_deref()
    }

    /// Returns the subject (`sub`): the user, or the client if there is no user. Some servers then send no `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// Returns the client to which the token was issued: the first of `client_id`, `azp`, `cid` (Okta) and `appid`
    /// (Entra) that is present.
    pub fn client_id(&self) -> Option<&str> {
        self.0.client_id.as_deref()
    }

    /// Returns the audiences (`aud`).
    pub fn audience(&self) -> &Audience {
        &self.0.audience
    }

    /// Returns the granted scopes (`scope`, or `scp`).
    pub fn scopes(&self) -> &Scopes {
        &self.0.scopes
    }

    /// Returns the expiry (`exp`), in seconds since 1970.
    pub fn expires_at(&self) -> Option<i64> {
        self.0.expires_at
    }

    /// Returns the start of validity (`nbf`), in seconds since 1970.
    pub fn not_before(&self) -> Option<i64> {
        self.0.not_before
    }

    /// Returns the time of issue (`iat`), in seconds since 1970.
    pub fn issued_at(&self) -> Option<i64> {
        self.0.issued_at
    }

    /// Returns whether the token is a plain bearer token: it has no `cnf`, and no `token_type` except `Bearer`.
    pub(crate) fn is_plain_bearer(&self) -> bool {
        self.0.is_plain_bearer
    }

    /// Returns whether the token has a `cnf` claim.
    pub(crate) fn has_cnf(&self) -> bool {
        self.0.has_cnf
    }

    /// Returns a claim by name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members().get(name)
    }

    /// Returns a string claim by name.
    pub fn string(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// Returns all members, as the issuer sent them.
    pub fn members(&self) -> &Map<String, Value> {
        self.0.members.get_or_init(|| self.0.source.members())
    }

    /// Returns `jti`, and the session: `sid`, or `session_state` (Keycloak). A claim that is not a string is treated as
    /// absent. Parses the claims, because most requests do not need them.
    pub(crate) fn jwt_id_and_session(&self) -> (Option<String>, Option<String>) {
        let read = |members: &JsonObject<'_>| {
            let text = |name| members.text(name).map(str::to_owned);
            (text("jti"), text("sid").or_else(|| text("session_state")))
        };
        match &self.0.source {
            ClaimsSource::Payload(json) | ClaimsSource::Answer(json) => {
                // These bytes were parsed as an object before, by the same parser.
                JsonObject::read(json).map(|members| read(&members)).unwrap_or_default()
            }
            ClaimsSource::Map => read(&JsonObject::from_map(self.members())),
        }
    }

    /// Returns the result of the last check against the revocation records.
    pub(crate) fn record_memo(&self) -> &RecordMemo {
        &self.0.record_memo
    }

    /// Returns the times at which the verdict with these claims is introspected again.
    pub(crate) fn refresh_times(&self) -> &RefreshTimes {
        &self.0.refresh_times
    }

    /// Estimates the heap memory of the claims in bytes, including the map of all members.
    pub(crate) fn footprint(&self) -> usize {
        self.0.footprint
    }
}

impl ClaimsInner {
    fn read(members: &JsonObject<'_>, source: ClaimsSource) -> Result<Self, MalformedClaim> {
        let text = |name| match members.get(name) {
            None => Ok(None),
            Some(JsonValue::Text(text)) => Ok(Some(&**text)),
            Some(JsonValue::Other(_)) => Err(MalformedClaim { name }),
        };
        let (issuer, subject, client_id, azp) =
            (text("iss")?, text("sub")?, text("client_id")?, text("azp")?);
        // The names of other servers. Elsewhere they may mean something else, so that another form is no fault.
        let client = client_id.or(azp).or_else(|| members.text("cid")).or_else(|| members.text("appid"));
        let audience = match strings(members, "aud")? {
            Strings::None => Audience::default(),
            Strings::One(one) => Audience([one.into()].into()),
            Strings::Many(many) => Audience(many.into_iter().map(Into::into).collect()),
        };
        let scope = if members.get("scope").is_none() { "scp" } else { "scope" };
        let scopes = match strings(members, scope)? {
            Strings::None => Scopes::default(),
            Strings::One(list) => Scopes::parse(list),
            Strings::Many(parts) => Scopes::from_parts(parts),
        };
        Ok(Self {
            members: OnceLock::new(),
            footprint: source.len()
                + footprint::of_map(members)
                + footprint::of_strings(&audience, &scopes, [issuer, subject, client]),
            source,
            issuer: issuer.map(Into::into),
            subject: subject.map(Into::into),
            client_id: client.map(Into::into),
            is_plain_bearer: token_type::is_plain_bearer(members),
            has_cnf: members.get("cnf").is_some(),
            audience,
            scopes,
            expires_at: expiry(members)?,
            not_before: numeric_date(members, "nbf", f64::ceil)?,
            issued_at: numeric_date(members, "iat", f64::floor)?,
            record_memo: RecordMemo::default(),
            refresh_times: RefreshTimes::default(),
        })
    }
}

/// Prints the names of the claims. Their values are personal data and are not printed.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claims").field(&self.members().keys().collect::<Vec<_>>()).finish()
    }
}

impl PartialEq for Claims {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.members() == other.members()
    }
}

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.members().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_members(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

enum Strings<'a> {
    None,
    One(&'a str),
    Many(Vec<&'a str>),
}

fn strings<'a>(members: &'a JsonObject<'_>, name: &'static str) -> Result<Strings<'a>, MalformedClaim> {
    match members.get(name) {
        None => Ok(Strings::None),
        Some(JsonValue::Text(one)) => Ok(Strings::One(one)),
        Some(JsonValue::Other(Value::Array(many))) => many
            .iter()
            .map(|one| one.as_str().ok_or(MalformedClaim { name }))
            .collect::<Result<_, _>>()
            .map(Strings::Many),
        Some(JsonValue::Other(_)) => Err(MalformedClaim { name }),
    }
}

/// The last second of the year 9999. Servers use no later time as a real time. Sums with this time cannot overflow.
const MAX_NUMERIC_DATE: i64 = 253_402_300_799;

/// Returns the expiry. Servers that send an `exp` after [`MAX_NUMERIC_DATE`] mean "never".
fn expiry(members: &JsonObject<'_>) -> Result<Option<i64>, MalformedClaim> {
    match members.get("exp") {
        Some(JsonValue::Other(Value::Number(number))) if is_beyond_latest(number) => {
            Ok(Some(MAX_NUMERIC_DATE))
        }
        _ => numeric_date(members, "exp", f64::floor),
    }
}

fn is_beyond_latest(number: &Number) -> bool {
    let is_beyond = |float: f64| float >= 253_402_300_800.0;
    number
        .as_i64()
        .map_or_else(|| number.as_f64().is_some_and(is_beyond), |seconds| seconds > MAX_NUMERIC_DATE)
}

/// Returns a time in seconds since 1970; a fraction is rounded with this function.
pub(crate) fn numeric_date(
    members: &JsonObject<'_>,
    name: &'static str,
    round: fn(f64) -> f64,
) -> Result<Option<i64>, MalformedClaim> {
    let number = match members.get(name) {
        None => return Ok(None),
        Some(JsonValue::Other(Value::Number(number))) => number,
        Some(_) => return Err(MalformedClaim { name }),
    };
    let seconds = number.as_i64().or_else(|| number.as_f64().and_then(|float| whole_seconds(round(float))));
    match seconds {
        Some(seconds) if (0..=MAX_NUMERIC_DATE).contains(&seconds) => Ok(Some(seconds)),
        _ => Err(MalformedClaim { name }),
    }
}

fn whole_seconds(float: f64) -> Option<i64> {
    // Every whole number below 2^53 is exact as a float, so the conversion is exact. NaN fails the comparison.
    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "the range is checked first")]
    (0.0..=9_007_199_254_740_991.0).contains(&float).then_some(float as i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Result<Claims, MalformedClaim> {
        let Value::Object(members) = value else { panic!("not an object") };
        Claims::from_members(members)
    }

    #[test]
    fn reads_what_real_servers_send() {
        let c = claims(json!({
            "iss": "https://as.example.test", "sub": "alice", "client_id": "app", "aud": ["a", "b"],
            "scope": "read write", "exp": 1_900_000_000, "iat": 1_800_000_000.9, "nbf": 1_800_000_000.1, "groups": ["x"]
        }))
        .unwrap();
        assert_eq!(c.issuer(), Some("https://as.example.test"));
        assert_eq!(c.subject(), Some("alice"));
        assert_eq!(c.client_id(), Some("app"));
        assert!(c.audience().contains("b") && !c.audience().contains("B"));
        assert!(c.scopes().contains("write"));
        assert_eq!(c.expires_at(), Some(1_900_000_000));
        assert_eq!(c.issued_at(), Some(1_800_000_000));
        assert_eq!(c.not_before(), Some(1_800_000_001));
        assert_eq!(c.get("groups"), Some(&json!(["x"])));
    }

    #[test]
    fn scope_is_a_string_or_an_array_and_scp_stands_in() {
        assert!(claims(json!({"scope": ["a", "b"]})).unwrap().scopes().contains("b"));
        assert!(claims(json!({"scp": "a b"})).unwrap().scopes().contains("b"));
        assert!(claims(json!({"scp": ["a"], "scope": null})).unwrap().scopes().contains("a"));
        assert!(!claims(json!({"scp": ["a"], "scope": "b"})).unwrap().scopes().contains("a"));
        assert!(claims(json!({})).unwrap().scopes().is_empty());
    }

    #[test]
    fn null_counts_as_absent() {
        let c = claims(json!({"iss": null, "sub": null, "aud": null, "exp": null, "scope": null})).unwrap();
        assert_eq!((c.issuer(), c.subject(), c.expires_at()), (None, None, None));
        assert!(c.audience().is_empty());
    }

    #[test]
    fn azp_names_the_client_where_client_id_is_missing() {
        assert_eq!(claims(json!({"azp": "spa"})).unwrap().client_id(), Some("spa"));
        assert_eq!(claims(json!({"azp": "spa", "client_id": "app"})).unwrap().client_id(), Some("app"));
    }

    #[test]
    fn a_plain_bearer_token_says_nothing_of_a_proof_of_possession() {
        for plain in [
            json!({}),
            json!({"token_type": "Bearer"}),
            json!({"token_type": "bearer", "cnf": null}),
            json!({"token_type": null}),
        ] {
            assert!(claims(plain.clone()).unwrap().is_plain_bearer(), "{plain}");
        }
        for other in [
            json!({"token_type": "DPoP"}),
            json!({"token_type": ""}),
            json!({"token_type": 7}),
            json!({"cnf": {}}),
            json!({"cnf": false}),
            json!({"token_type": "Bearer", "cnf": {"x5t#S256": "A"}}),
        ] {
            assert!(!claims(other.clone()).unwrap().is_plain_bearer(), "{other}");
        }
    }

    #[test]
    fn refuses_odd_shapes_and_names_the_claim() {
        for (value, name) in [
            (json!({"iss": ["https://evil", "https://good"]}), "iss"),
            (json!({"sub": 7}), "sub"),
            (json!({"client_id": {}}), "client_id"),
            (json!({"aud": 1}), "aud"),
            (json!({"aud": ["a", 1]}), "aud"),
            (json!({"scope": 1}), "scope"),
            (json!({"scope": ["a", null]}), "scope"),
            (json!({"scp": true}), "scp"),
            (json!({"exp": "1900000000"}), "exp"),
            (json!({"exp": -1}), "exp"),
            (json!({"exp": -0.5}), "exp"),
            (json!({"exp": i64::MIN}), "exp"),
            (json!({"exp": -1e300}), "exp"),
            (json!({"nbf": 1e300}), "nbf"),
            (json!({"nbf": 253_402_300_800_i64}), "nbf"),
            (json!({"nbf": u64::MAX}), "nbf"),
            (json!({"iat": i64::MAX}), "iat"),
            (json!({"nbf": true}), "nbf"),
            (json!({"iat": [1]}), "iat"),
        ] {
            assert_eq!(claims(value.clone()).unwrap_err(), MalformedClaim { name }, "{value}");
        }
    }

    #[test]
    fn an_exp_after_the_year_9999_means_never() {
        for never in [
            json!(253_402_300_799_i64),
            json!(253_402_300_800_i64),
            json!(253_402_300_799.5),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1e300),
        ] {
            assert_eq!(
                claims(json!({ "exp": never })).unwrap().expires_at(),
                Some(MAX_NUMERIC_DATE),
                "{never}"
            );
        }
        assert_eq!(claims(json!({"exp": 1.9e9})).unwrap().expires_at(), Some(1_900_000_000));
        assert_eq!(claims(json!({"exp": -0.0})).unwrap().expires_at(), Some(0));
    }

    #[test]
    fn debug_shows_names_only() {
        let c = claims(json!({"sub": "alice", "email": "alice@example.test"})).unwrap();
        assert_eq!(format!("{c:?}"), r#"Claims(["email", "sub"])"#);
    }
}
