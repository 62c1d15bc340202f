//! The pages: plain HTML without scripts. Every text from outside is escaped by [`text`].

use std::fmt::Write as _;

use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{CONTENT_SECURITY_POLICY, ContentType},
    },
};
use url::Url;

use crate::{
    authorize::AuthorizationRequest,
    choice::{Choice, Format, LIFETIMES},
    grants::AccessToken,
    issuer::{Issuer, unix_time},
};

/// The names that the page suggests, before others were used.
const SUBJECTS: [&str; 3] = ["alice", "bob", "carol"];
/// The most tokens on the page.
const MAX_SHOWN: usize = 50;

/// The page of a login.
pub(crate) fn authorize(issuer: &Issuer, request: &AuthorizationRequest) -> HttpResponse {
    let last = issuer.lock().last_choice.clone();
    let mut choice = last.unwrap_or_else(|| Choice::first(issuer.format));
    if let Some(hint) = &request.login_hint {
        choice.subject.clone_from(hint);
    }
    choice.scopes.clear();
    let mut hidden = String::new();
    for (name, value) in &request.parameters {
        write!(hidden, "<input type=hidden name=\"{}\" value=\"{}\">", text(name), text(value)).ok();
    }
    let body = format!(
        "<h1>Log in to {name}</h1>\
         <dl class=facts><dt>Client</dt><dd><code>{id}</code></dd>\
         <dt>Token for</dt><dd><code>{audience}</code></dd>\
         <dt>Returns to</dt><dd><code>{uri}</code></dd></dl>\
         <form class=card method=post action=/authorize>{hidden}{fields}\
         <div class=buttons><button id=grant class=primary name=decision value=grant>Log in</button>\
         <button id=cancel name=decision value=cancel formnovalidate>Cancel</button></div></form>",
        name = text(&request.client.client_name),
        id = text(&request.client.client_id),
        audience = text(&request.audience.join(" ")),
        uri = text(request.redirect_uri.as_str()),
        fields = fields(issuer, &choice, &request.scopes),
    );
    page(StatusCode::OK, "Log in", &body, &form_target(&request.redirect_uri))
}

/// The page with the tokens.
pub(crate) fn tokens(issuer: &Issuer) -> HttpResponse {
    let mut body = String::new();
    if let Some(notice) = issuer.lock().notice.take() {
        let role = if notice.is_problem { "alert" } else { "status" };
        write!(body, "<p id=notice class=notice role={role}>{}</p>", text(&notice.text)).ok();
    }
    let (rows, count) = {
        let state = issuer.lock();
        let rows: String =
            state.grants.access_tokens().take(MAX_SHOWN).map(|token| row(issuer, token)).collect();
        (rows, state.grants.access_tokens().count())
    };
    write!(body, "<div class=heading><h1>Tokens</h1><a class=button href=/>Reload</a></div>").ok();
    if count == 0 {
        body += "<p class=empty>No token yet. Log in with a client, or issue a token below.</p>";
    } else {
        write!(body, "<ul class=tokens>{rows}</ul>").ok();
    }
    if count > MAX_SHOWN {
        write!(body, "<p class=hint>The newest {MAX_SHOWN} of {count} tokens.</p>").ok();
    }
    let last = issuer.lock().last_choice.clone().unwrap_or_else(|| Choice::first(issuer.format));
    write!(
        body,
        "<h2>Issue a token</h2><p class=hint>Without a client, for example for <code>curl</code>.</p>\
         <form class=card method=post action=/tokens>{fields}\
         <label class=field>Audience<input name=audience value=\"{audience}\" required></label>\
         <div class=buttons><button id=issue class=primary>Issue a token</button></div></form>\
         <h2>Settings of an API</h2><p class=hint>In a shell: \
         <code>eval \"$(cargo run --quiet --example dev_issuer -- --print-env)\"</code></p>\
         <dl class=facts><dt>Issuer</dt><dd><code>{url}</code></dd><dt>Audience</dt><dd><code>{own}</code></dd>\
         <dt>Receivers of events</dt><dd>{events}</dd>\
         <dt>Receivers of logout tokens</dt><dd>{logouts}</dd></dl>",
        fields = fields(issuer, &last, &last.scopes),
        audience = text(&issuer.audience),
        own = text(&issuer.audience),
        url = text(issuer.url()),
        events = receivers(&issuer.event_receivers, "--event-receiver"),
        logouts = receivers(&issuer.logout_receivers, "--logout-receiver"),
    )
    .ok();
    page(StatusCode::OK, "Tokens", &body, "")
}

/// The page of a request that cannot be served.
pub(crate) fn problem(problem: &str) -> HttpResponse {
    let body = format!(
        "<h1>This does not work</h1><p class=notice role=alert>{}</p>\
         <p>Go back and correct it, or look at the <a href=/>tokens</a>.</p>",
        text(problem)
    );
    page(StatusCode::BAD_REQUEST, "Problem", &body, "")
}

pub(crate) async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css").body(include_str!("style.css"))
}

/// The fields of a choice.
fn fields(issuer: &Issuer, choice: &Choice, scopes: &[String]) -> String {
    let mut subjects: Vec<String> = SUBJECTS.map(str::to_owned).into();
    for token in issuer.lock().grants.access_tokens().take(MAX_SHOWN) {
        if !subjects.contains(&token.grant.choice.subject) {
            subjects.push(token.grant.choice.subject.clone());
        }
    }
    let subjects = each(subjects, |subject| format!("<option value=\"{}\">", text(&subject)));
    let scopes = each(scopes, |scope| {
        let scope = text(scope);
        format!(
            "<label class=check><input type=checkbox name=granted value=\"{scope}\" checked>{scope}</label>"
        )
    });
    let requested =
        if scopes.is_empty() { String::new() } else { format!("<div class=checks>{scopes}</div>") };
    let formats = [(Format::Opaque, "opaque", "opaque"), (Format::Jwt, "jwt", "JWT")];
    let formats = each(formats, |(format, value, label)| {
        let checked = if format == choice.format { " checked" } else { "" };
        format!("<label class=check><input type=radio name=format value={value}{checked}>{label}</label>")
    });
    let lifetimes = each(LIFETIMES, |(seconds, label)| {
        let selected = if seconds == choice.lifetime { " selected" } else { "" };
        format!("<option value={seconds}{selected}>{label}</option>")
    });
    format!(
        "<div class=columns><label class=field>Subject<span class=hint>anyone: the claim <code>sub</code></span>\
         <input id=subject name=subject value=\"{subject}\" list=subjects required maxlength=255 autocomplete=off>\
         </label><datalist id=subjects>{subjects}</datalist>\
         <label class=field>Groups<span class=hint>separated by commas</span>\
         <input id=groups name=groups value=\"{groups}\" placeholder=\"engineering, admin\" autocomplete=off></label></div>\
         <fieldset><legend>Scopes</legend>{requested}\
         <label class=field><span class=hint>further scopes, separated by spaces</span>\
         <input id=more_scopes name=more_scopes autocomplete=off placeholder=\"posts:read posts:write\"></label></fieldset>\
         <div class=columns><fieldset><legend>Access token</legend><div class=checks>{formats}</div></fieldset>\
         <label class=field>Expires after<select name=lifetime>{lifetimes}</select></label></div>",
        subject = text(&choice.subject),
        groups = text(&choice.groups.join(", ")),
    )
}

/// One token of the list.
fn row(issuer: &Issuer, token: &AccessToken) -> String {
    let choice = &token.grant.choice;
    let remaining = token.expires_at.saturating_sub(unix_time());
    let (class, state) = if token.is_revoked {
        ("revoked", "revoked".to_owned())
    } else if remaining == 0 {
        ("expired", "expired".to_owned())
    } else {
        ("active", format!("active for {}", duration(remaining)))
    };
    let chips = |names: &[String], class: &str| {
        each(names, |name| format!("<span class=\"chip {class}\">{}</span>", text(name)))
    };
    let format = match choice.format {
        Format::Opaque => "opaque",
        Format::Jwt => "JWT",
    };
    let button = |action: &str, label: &str, is_offered: bool| {
        if is_offered {
            let id = text(&token.id);
            format!(
                "<form method=post action=\"/tokens/{id}/{action}\"><button class={action}>{label}</button></form>"
            )
        } else {
            String::new()
        }
    };
    let buttons = [
        button("revoke", "Revoke", class == "active"),
        button("event", "Send event: session revoked", !issuer.event_receivers.is_empty()),
        button("logout", "Send logout token", !issuer.logout_receivers.is_empty()),
    ]
    .concat();
    format!(
        "<li class=\"card token {class}\"><div class=who><strong>{subject}</strong>\
         <span class=hint>{format} for <code>{client}</code></span></div>\
         <div class=what>{scopes}{groups}</div><span class=\"state {class}\">{state}</span>\
         <dl class=facts><dt>Audience</dt><dd><code>{audience}</code></dd></dl>\
         <details><summary>Show the token</summary><code class=value>{value}</code></details>\
         <div class=buttons>{buttons}</div></li>",
        subject = text(&choice.subject),
        client = text(&token.grant.client_id),
        scopes = chips(&choice.scopes, "scope"),
        groups = chips(&choice.groups, "group"),
        audience = text(&token.grant.audience.join(" ")),
        value = text(&token.token),
    )
}

fn receivers(urls: &[Url], option: &str) -> String {
    if urls.is_empty() {
        return format!("<span class=hint>none: start with <code>{option} URL</code></span>");
    }
    let urls: Vec<_> = urls.iter().map(|url| format!("<code>{}</code>", text(url.as_str()))).collect();
    urls.join(" ")
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn page(status: StatusCode, title: &str, body: &str, form_target: &str) -> HttpResponse {
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self' {form_target}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HttpResponse::build(status)
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .content_type(ContentType::html())
        .body(format!(
            "<!doctype html><html lang=en><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\
             <title>{title} – development issuer</title><link rel=stylesheet href=/style.css>\
             <header><a href=/>Development issuer</a><span>Anyone can log in as anyone. For a laptop only.</span>\
             </header><main>{body}</main></html>"
        ))
}

/// Returns the source to which the form may redirect: Chromium applies `form-action` to redirects too.
fn form_target(uri: &Url) -> String {
    let origin = uri.origin().ascii_serialization();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:/".contains(&byte);
    // The policy has no syntax for an IPv6 address. Other characters could end the directive.
    if uri.has_host() && origin != "null" && origin.bytes().all(is_plain) {
        origin
    } else {
        format!("{}:", uri.scheme())
    }
}

fn each<T>(items: impl IntoIterator<Item = T>, html: impl Fn(T) -> String) -> String {
    items.into_iter().fold(String::new(), |all, item| all + &html(item))
}

/// Escapes a text for HTML, also in an attribute with double quotes.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
