//! The choices on the page: subject, scopes, groups, format and lifetime of the token.

use crate::params::Params;

const MAX_SUBJECT: usize = 255;
/// The most names in a list of scopes or groups, and their greatest length together, in bytes.
const MAX_NAMES: usize = 50;
const MAX_LENGTH: usize = 2000;

/// The lifetimes that the page offers, in seconds.
pub(crate) const LIFETIMES: [(u64, &str); 5] =
    [(30, "30 seconds"), (300, "5 minutes"), (3600, "1 hour"), (86_400, "1 day"), (604_800, "7 days")];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Opaque,
    Jwt,
}

impl Format {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "opaque" => Some(Self::Opaque),
            "jwt" => Some(Self::Jwt),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Choice {
    pub(crate) subject: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) format: Format,
    /// In seconds.
    pub(crate) lifetime: u64,
}

impl Choice {
    /// The choice before anyone has chosen.
    pub(crate) fn first(format: Format) -> Self {
        Self { subject: "alice".to_owned(), scopes: Vec::new(), groups: Vec::new(), format, lifetime: 3600 }
    }

    pub(crate) fn from_params(params: &Params) -> Result<Self, String> {
        let subject = params.get("subject").unwrap_or_default().trim().to_owned();
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.contains(char::is_control) {
            return Err(format!("the subject must have 1 to {MAX_SUBJECT} bytes, and no control characters"));
        }
        let mut scopes = Vec::new();
        for list in params.all("granted").chain(params.get("more_scopes")) {
            for scope in parse_scopes(list)? {
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
        limit("scopes", &scopes)?;
        let groups = params.get("groups").unwrap_or_default().split(',').map(str::trim);
        let groups: Vec<_> = groups.filter(|group| !group.is_empty()).map(str::to_owned).collect();
        limit("groups", &groups)?;
        if groups.iter().any(|group| group.contains(char::is_control)) {
            return Err("a group must not have control characters".to_owned());
        }
        let format =
            params.get("format").and_then(Format::parse).ok_or("expected the format opaque or jwt")?;
        let lifetime = params.get("lifetime").and_then(|seconds| seconds.parse().ok());
        let lifetime = lifetime.filter(|seconds| LIFETIMES.iter().any(|(offered, _)| offered == seconds));
        Ok(Self {
            subject,
            scopes,
            groups,
            format,
            lifetime: lifetime.ok_or("expected one of the lifetimes")?,
        })
    }
}

/// Parses a list of scopes (RFC 6749 section 3.3).
pub(crate) fn parse_scopes(list: &str) -> Result<Vec<String>, String> {
    let scopes: Vec<_> = list.split_ascii_whitespace().map(str::to_owned).collect();
    let is_valid = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if scopes.iter().any(|scope| !scope.bytes().all(is_valid)) {
        return Err("a scope must have visible ASCII characters without \" and \\".to_owned());
    }
    limit("scopes", &scopes)?;
    Ok(scopes)
}

fn limit(what: &str, names: &[String]) -> Result<(), String> {
    if names.len() > MAX_NAMES || names.iter().map(String::len).sum::<usize>() > MAX_LENGTH {
        return Err(format!("expected at most {MAX_NAMES} {what} with {MAX_LENGTH} bytes together"));
    }
    Ok(())
}
