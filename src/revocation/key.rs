//! The keys of revocation records. They are digests, so that records contain no tokens and no names of users.

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::claims::{Claims, object::JsonObject};

/// The digest of an issuer. Records of different issuers have different keys, because a subject is unique only within
/// its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct IssuerKey([u8; 16]);

/// The key of a record: one byte for the kind, and a digest of the kind, the issuer and the value. A collision of two keys
/// would revoke the tokens of another user, so the digest is a cryptographic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RecordKey([u8; 16]);

#[derive(Clone, Copy)]
enum Kind {
    Everything,
    AllTokens,
    Token,
    JwtId,
    Session,
    Subject,
    Client,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Everything => 0,
            Self::AllTokens => 1,
            Self::Token => 2,
            Self::JwtId => 3,
            Self::Session => 4,
            Self::Subject => 5,
            Self::Client => 6,
        }
    }
}

impl IssuerKey {
    /// The key of records whose issuer is not known.
    pub(crate) const NONE: Self = Self([0; 16]);

    /// Computes the key of an issuer. A slash at the end makes no difference, as in the settings.
    pub(crate) fn new(issuer: &str) -> Self {
        let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
        Self(first_half(digest(&SHA256, issuer.as_bytes()).as_ref()))
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn into_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns the key of a record for all tokens of the issuer; for those of all issuers if the issuer is not known.
    pub(crate) fn all_tokens(&self) -> RecordKey {
        if *self == Self::NONE { RecordKey::everything() } else { self.key(Kind::AllTokens, "") }
    }

    pub(crate) fn jwt_id(&self, jti: &str) -> RecordKey {
        self.key(Kind::JwtId, jti)
    }

    pub(crate) fn session(&self, sid: &str) -> RecordKey {
        self.key(Kind::Session, sid)
    }

    pub(crate) fn subject(&self, subject: &str) -> RecordKey {
        self.key(Kind::Subject, subject)
    }

    pub(crate) fn client(&self, client_id: &str) -> RecordKey {
        self.key(Kind::Client, client_id)
    }

    fn key(self, kind: Kind, value: &str) -> RecordKey {
        RecordKey::new(kind, self, value)
    }
}

impl RecordKey {
    fn new(kind: Kind, issuer: IssuerKey, value: &str) -> Self {
        let mut context = Context::new(&SHA256);
        // The kind and the issuer have a fixed length, so no two triples have the same bytes.
        context.update(&[kind.byte()]);
        context.update(&issuer.0);
        context.update(value.as_bytes());
        let mut key = first_half(context.finish().as_ref());
        if let Some(first) = key.first_mut() {
            *first = kind.byte();
        }
        Self(key)
    }

    /// Returns the key of a record for all tokens of all issuers.
    pub(crate) fn everything() -> Self {
        Self([Kind::Everything.byte(); 16])
    }

    /// Returns the key of one token, which needs no issuer. The signature of a JWT is not part of it: an ECDSA signature can
    /// be changed into another valid one.
    pub(crate) fn token(token: &str) -> Self {
        let text = JwtText::of(token).map_or(token, |jwt| jwt.signed);
        Self::new(Kind::Token, IssuerKey::NONE, text)
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn into_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns one bit for the kind of the record.
    pub(crate) fn kind_bit(&self) -> u8 {
        self.0.first().map_or(0, |kind| 1_u8.checked_shl(u32::from(*kind)).unwrap_or(0))
    }
}

/// A token in the form of a JWT. Nothing about it is verified: its claims can only cause a rejection.
#[derive(Clone, Copy)]
pub(super) struct JwtText<'t> {
    /// The header and the payload.
    signed: &'t str,
    payload: &'t str,
}

impl<'t> JwtText<'t> {
    /// Returns `None` for an opaque token: one that has not three segments, of which the first is an object in base64url.
    pub(super) fn of(token: &'t str) -> Option<Self> {
        let (signed, _signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let is_object = header.starts_with(['e']) && matches!(header.as_bytes().get(1), Some(b'w'..=b'z'));
        (is_object && !payload.contains('.')).then_some(Self { signed, payload })
    }

    /// Returns the unverified claims; `None` if they are malformed.
    pub(super) fn claims(self) -> Option<Claims> {
        let payload = URL_SAFE_NO_PAD.decode(self.payload).ok()?;
        let members = JsonObject::read(&payload).ok()?;
        Claims::from_payload(&members, &payload).ok()
    }
}

/// Returns every key under which a record can apply to a token. `claims` are those of the JWT and of the introspection response,
/// which may name two issuers. `default` is the issuer if they name none.
pub(super) fn keys_of(token: &str, default: IssuerKey, claims: &[&Claims]) -> Vec<RecordKey> {
    let mut keys = vec![RecordKey::everything(), RecordKey::token(token)];
    let named = claims.iter().filter_map(|claims| claims.issuer());
    let mut issuers: Vec<_> = named.map(IssuerKey::new).collect();
    if issuers.is_empty() {
        issuers.push(default);
    }
    for issuer in issuers {
        keys.push(issuer.all_tokens());
        for claims in claims {
            let (jti, sid) = claims.jwt_id_and_session();
            keys.extend(jti.map(|jti| issuer.jwt_id(&jti)));
            keys.extend(sid.map(|sid| issuer.session(&sid)));
            keys.extend(claims.subject().map(|subject| issuer.subject(subject)));
            keys.extend(claims.client_id().map(|client_id| issuer.client(client_id)));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn first_half(digest: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    for (place, byte) in half.iter_mut().zip(digest) {
        *place = *byte;
    }
    half
}
