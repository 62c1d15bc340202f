//! The keys of revocation records. They are digests, so that records contain no tokens and no names of users.

use aws_lc_rs::digest::{Context, SHA256, digest};

use crate::claims::Claims;

/// The digest of an issuer. Records of different issuers have different keys, because a subject is unique only within
/// its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct IssuerKey([u8; 16]);

/// The key of a record: one byte for the kind, and a digest of the issuer, the kind and the value. A collision of two keys
/// would revoke the tokens of another user, so the digest is a cryptographic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RecordKey([u8; 16]);

#[derive(Clone, Copy)]
enum Kind {
    AllTokens,
    Token,
    JwtId,
    Session,
    Subject,
    Client,
}

impl IssuerKey {
    /// Computes the key of an issuer, spelled as in the settings.
    pub(crate) fn new(issuer: &str) -> Self {
        Self(first_half(digest(&SHA256, issuer.as_bytes()).as_ref()))
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn into_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(crate) fn token(&self, token: &str) -> RecordKey {
        self.key(Kind::Token, token)
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

    pub(crate) fn all_tokens(&self) -> RecordKey {
        self.key(Kind::AllTokens, "")
    }

    /// Returns every key under which a record can apply to a token with these claims.
    pub(crate) fn keys_of<'c>(
        &self,
        token: &str,
        claims: impl IntoIterator<Item = &'c Claims>,
    ) -> Vec<RecordKey> {
        let mut keys = vec![self.all_tokens(), self.token(token)];
        for claims in claims {
            let (jti, sid) = claims.jwt_id_and_session();
            keys.extend(jti.map(|jti| self.jwt_id(&jti)));
            keys.extend(sid.map(|sid| self.session(&sid)));
            keys.extend(claims.subject().map(|subject| self.subject(subject)));
            keys.extend(claims.client_id().map(|client_id| self.client(client_id)));
        }
        keys
    }

    fn key(&self, kind: Kind, value: &str) -> RecordKey {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        // The issuer and the kind have a fixed length, so no two triples have the same bytes.
        context.update(&[kind.byte()]);
        context.update(value.as_bytes());
        let mut key = first_half(context.finish().as_ref());
        if let Some(first) = key.first_mut() {
            *first = kind.byte();
        }
        RecordKey(key)
    }
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::AllTokens => 0,
            Self::Token => 1,
            Self::JwtId => 2,
            Self::Session => 3,
            Self::Subject => 4,
            Self::Client => 5,
        }
    }
}

impl RecordKey {
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

fn first_half(digest: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    for (place, byte) in half.iter_mut().zip(digest) {
        *place = *byte;
    }
    half
}
