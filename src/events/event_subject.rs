//! The subject of an event (RFC 9493, Shared Signals Framework 1.0 section 3).

use serde_json::Value;

use crate::revocation::is_blank;

/// The maximum number of identifiers of one subject (`aliases`) that are read.
const MAX_ALIASES: usize = 16;

/// The tokens that a subject identifier names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventSubject<'e> {
    /// A session: `sid`. The issuer is that of the user, if the identifier names the user too.
    Session { id: &'e str, issuer: Option<&'e str> },
    /// A user: `iss` and `sub`.
    User { issuer: &'e str, subject: &'e str },
    /// One token: `iss` and `jti`.
    JwtId { issuer: &'e str, id: &'e str },
    /// An identifier that no token contains, such as an email address or a device.
    Unusable,
    /// An identifier with an empty value. The event is malformed.
    Blank,
}

impl<'e> EventSubject<'e> {
    /// Parses an identifier. Drafts of the framework name the format in `subject_type`, or have no format for a complex
    /// subject. `opaque_is_session` is whether an opaque identifier names a session. Of several aliases, the first one is used that
    /// names no other issuer than that of the tokens (`is_target`).
    pub(super) fn parse(
        identifier: &'e Value,
        opaque_is_session: bool,
        is_target: &dyn Fn(&str) -> bool,
    ) -> Self {
        match format(identifier) {
            Some("complex") | None => Self::parse_complex(identifier, is_target),
            Some(_) => Self::parse_aliases(identifier, opaque_is_session, is_target),
        }
    }

    /// Returns the issuer of the subject, if the identifier names it.
    pub(super) fn issuer(&self) -> Option<&'e str> {
        match *self {
            Self::Session { issuer, .. } => issuer,
            Self::User { issuer, .. } | Self::JwtId { issuer, .. } => Some(issuer),
            Self::Unusable | Self::Blank => None,
        }
    }

    /// Parses a simple identifier, or several ones of the same subject.
    fn parse_aliases(
        identifier: &'e Value,
        opaque_is_session: bool,
        is_target: &dyn Fn(&str) -> bool,
    ) -> Self {
        if format(identifier) != Some("aliases") {
            return Self::parse_simple(identifier, opaque_is_session);
        }
        let aliases = identifier.get("identifiers").and_then(Value::as_array).into_iter().flatten();
        let simple = aliases.take(MAX_ALIASES).map(|alias| Self::parse_simple(alias, opaque_is_session));
        let simple: Vec<_> = simple.collect();
        let is_usable = |subject: &&Self| match subject {
            Self::Unusable | Self::Blank => false,
            subject => subject.issuer().is_none_or(is_target),
        };
        let is_blank = simple.contains(&Self::Blank);
        let otherwise = if is_blank { Self::Blank } else { Self::Unusable };
        simple.iter().find(is_usable).copied().unwrap_or(otherwise)
    }

    fn parse_simple(identifier: &'e Value, opaque_is_session: bool) -> Self {
        let text = |name: &str| identifier.get(name).and_then(Value::as_str);
        let required: &[&str] = match format(identifier) {
            Some("iss_sub" | "iss-sub") => &["iss", "sub"],
            Some("jwt_id" | "jwt-id") => &["iss", "jti"],
            Some("opaque") if opaque_is_session => &["id"],
            _ => &[],
        };
        if required.iter().any(|name| text(name).is_some_and(is_blank)) {
            return Self::Blank;
        }
        let usable = match format(identifier) {
            Some("iss_sub" | "iss-sub") => {
                text("iss").zip(text("sub")).map(|(issuer, subject)| Self::User { issuer, subject })
            }
            Some("jwt_id" | "jwt-id") => {
                text("iss").zip(text("jti")).map(|(issuer, id)| Self::JwtId { issuer, id })
            }
            Some("opaque") if opaque_is_session => text("id").map(|id| Self::Session { id, issuer: None }),
            _ => None,
        };
        usable.unwrap_or(Self::Unusable)
    }

    /// A complex subject is the intersection of its members. The session is more exact than the user. Other members, such as
    /// the device, are ignored, because tokens do not name them: all tokens of the user are meant then.
    fn parse_complex(identifier: &'e Value, is_target: &dyn Fn(&str) -> bool) -> Self {
        let member = |name, is_session| {
            identifier.get(name).map(|value| Self::parse_aliases(value, is_session, is_target))
        };
        let user = member("user", false);
        let session = member("session", true);
        match (session, user) {
            (Some(Self::Blank), _) | (_, Some(Self::Blank)) => Self::Blank,
            (Some(Self::Session { id, .. }), Some(Self::User { issuer, .. })) => {
                Self::Session { id, issuer: Some(issuer) }
            }
            (Some(usable @ (Self::Session { .. } | Self::JwtId { .. })), _) => usable,
            (_, Some(user)) => user,
            (_, None) => Self::Unusable,
        }
    }
}

fn format(identifier: &Value) -> Option<&str> {
    identifier.get("format").or_else(|| identifier.get("subject_type")).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const USER: EventSubject<'_> = EventSubject::User { issuer: "https://i", subject: "alice" };

    fn is_target(issuer: &str) -> bool {
        issuer == "https://i"
    }

    #[test]
    fn identifiers_of_every_format_are_read_or_unusable() {
        let user = json!({ "format": "iss_sub", "iss": "https://i", "sub": "alice" });
        let session = json!({ "format": "opaque", "id": "s" });
        let device = json!({ "format": "opaque", "id": "d" });
        let elsewhere = json!({ "format": "iss_sub", "iss": "https://elsewhere", "sub": "alice" });
        let blank = json!({ "format": "opaque", "id": "" });
        let aliases = |all: &[&Value]| json!({ "format": "aliases", "identifiers": all });
        let session_of_user = EventSubject::Session { id: "s", issuer: Some("https://i") };
        let any_session = EventSubject::Session { id: "s", issuer: None };
        for (identifier, expected) in [
            (user.clone(), USER),
            (json!({ "subject_type": "iss-sub", "iss": "https://i", "sub": "alice" }), USER),
            (session.clone(), any_session),
            (json!({ "format": "complex", "user": user, "session": session }), session_of_user),
            (json!({ "user": user, "session": session }), session_of_user),
            (json!({ "format": "complex", "session": session }), any_session),
            (json!({ "format": "complex", "user": user, "device": device }), USER),
            (json!({ "format": "complex", "device": device }), EventSubject::Unusable),
            (
                json!({ "format": "jwt_id", "iss": "https://i", "jti": "j" }),
                EventSubject::JwtId { issuer: "https://i", id: "j" },
            ),
            (aliases(&[&json!({ "format": "email", "email": "a@b" }), &elsewhere, &user]), USER),
            (aliases(&[&elsewhere]), EventSubject::Unusable),
            (json!({ "format": "complex", "user": aliases(&[&elsewhere, &user]) }), USER),
            (json!({ "format": "email", "email": "a@b" }), EventSubject::Unusable),
            (json!({ "format": "account", "uri": "acct:a@b" }), EventSubject::Unusable),
            (json!({ "format": "iss_sub", "iss": "https://i" }), EventSubject::Unusable),
            (json!({ "format": "iss_sub", "iss": "https://i", "sub": "" }), EventSubject::Blank),
            (json!({ "format": "iss_sub", "iss": " ", "sub": "alice" }), EventSubject::Blank),
            (json!({ "format": "iss_sub", "sub": "\t" }), EventSubject::Blank),
            (json!({ "format": "jwt_id", "iss": "https://i", "jti": " " }), EventSubject::Blank),
            (blank.clone(), EventSubject::Blank),
            (aliases(&[&blank, &user]), USER),
            (aliases(&[&elsewhere, &blank]), EventSubject::Blank),
            (json!({ "format": "complex", "user": user, "session": blank }), EventSubject::Blank),
            (json!({ "format": "complex", "session": aliases(&[&blank]) }), EventSubject::Blank),
            (json!({ "format": "complex", "user": user, "device": blank }), USER),
            (json!({ "format": "opaque", "id": 7 }), EventSubject::Unusable),
            (json!({}), EventSubject::Unusable),
            (json!("alice"), EventSubject::Unusable),
            (json!(null), EventSubject::Unusable),
        ] {
            assert_eq!(EventSubject::parse(&identifier, true, &is_target), expected, "{identifier}");
        }
        assert_eq!(EventSubject::parse(&session, false, &is_target), EventSubject::Unusable);
    }

    proptest! {
        #[test]
        fn any_text_can_be_parsed(text in ".*") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _ = EventSubject::parse(&value, true, &is_target);
            }
            let value = json!({ "format": text, "user": text, "session": { "format": "opaque", "id": text } });
            let _ = EventSubject::parse(&value, true, &is_target);
        }
    }
}
